"""What a command costs by the processor's clock: a busy machine makes it wait, which is no fault of the command."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path


def effort(command: list[str], times: int = 3, **settings) -> tuple[float, str, str]:
    """Least processor time of a command in seconds over some runs, and what its last run printed to stdout and stderr.

    The least, because neighbours on the same caches and threads slow the work itself too.
    """
    spent = []
    for _ in range(times):
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            with out.open("wb") as stdout, err.open("wb") as stderr:
                process = subprocess.Popen(command, stdout=stdout, stderr=stderr, **settings)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            printed = out.read_text(), err.read_text()
        assert process.returncode == 0, printed[1]
        spent.append(usage.ru_utime + usage.ru_stime)
    return min(spent), *printed
