"""Which tests need a machine that can be rented here."""

import shutil

import pytest

from vast_emulator.container import possible

_WHY = possible()
rents = pytest.mark.skipif(bool(_WHY), reason=str(_WHY))
"""Namespaces with a real ssh; ``make test`` in CI installs what they need."""
rents_with_tmux = pytest.mark.skipif(bool(_WHY or not shutil.which("tmux")), reason=_WHY or "tmux is not installed")
