"""Runs that others recorded, as rows of ``runs``, ``epochs`` and ``arms``: to look at, never inside a test."""
