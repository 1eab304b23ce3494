"""The sub-commands of ``python -m analysis``, each a module with ``main(argv) -> exit code``."""
