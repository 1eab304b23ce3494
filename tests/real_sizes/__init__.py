"""Every preset at its published sizes: ``make presets`` measures them all, ``tests/test_real_sizes.py`` goes through
them blindly."""
