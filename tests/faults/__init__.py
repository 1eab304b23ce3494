"""Faults done to real studies: what is killed, frozen or starved, and what must be the same afterwards.

``study`` runs a driver as a user would, ``processes`` sees and kills what belongs to it, ``moments`` catches a run at a
stated moment, ``compare`` says what differs from an uninterrupted study. ``tests/test_faults.py`` is the part that runs
with the tests; ``python -m faults.matrix`` the whole of it.
"""
