"""The main study, in which one attempt fails with secrets in its message, and Ray's own folder is kept for a look.

leaky.py FILE FOLDER [options]: the message is what FILE holds, the folder is copied to FOLDER before it is removed.
"""

from __future__ import annotations

import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from studies import step2_rate  # noqa: E402
from studies.executors import private_folder
from trainer.workers import ray_worker  # noqa: E402


def leaking(message: str) -> Callable[[dict[str, Any]], None]:
    def trial(task: dict[str, Any]) -> None:
        """The first process that comes here fails; pickled by value, so that it needs nothing of this file."""
        from pathlib import Path

        from trainer import loop
        from trainer.workers import ray_worker

        train, once = loop.train, Path(f"{message}.raised")

        def fail_once(*arguments: Any, **settings: Any) -> Any:
            try:
                once.touch(exist_ok=False)
            except FileExistsError:
                return train(*arguments, **settings)
            try:
                raise OSError(f"inner {Path(message).read_text()}")
            except OSError as error:
                print(f"a library may print {type(error).__name__}")
                raise RuntimeError(f"cannot log in: {Path(message).read_text()}") from error

        loop.train = fail_once
        try:
            ray_worker.trial(task)
        finally:
            loop.train = train

    return trial


def keep(place: str) -> Callable[..., None]:
    def rmtree(folder: Path, **_: Any) -> None:
        if not Path(place).exists():
            # sockets cannot be copied
            shutil.copytree(
                folder,
                place,
                symlinks=True,
                ignore=lambda where, names: [n for n in names if _special(Path(where) / n)],
            )
        shutil.rmtree(folder, ignore_errors=True)

    return rmtree


def _special(path: Path) -> bool:
    mode = path.lstat().st_mode
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode))


if __name__ == "__main__":
    message, kept = sys.argv[1:3]
    ray_worker.trial = leaking(message)
    private_folder.shutil = SimpleNamespace(rmtree=keep(kept))
    sys.exit(step2_rate.main(sys.argv[3:]))
