"""Faster ways to take the same step, for ``runtime.compile``: behind :mod:`trainer.fast.door`, and nothing outside
needs to know which."""
