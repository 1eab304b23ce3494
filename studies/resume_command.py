"""The command that continues the study at hand."""

from __future__ import annotations

import shlex
import sys


def resume_command() -> str:
    return shlex.join(["python", *sys.argv, *([] if "--resume" in sys.argv else ["--resume"])])
