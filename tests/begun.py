"""A run as the public command sets it up, taken from it before it measures or trains."""

from __future__ import annotations

import contextlib
import io
from tempfile import TemporaryDirectory
from typing import Any
from unittest import mock

from trainer import families
from trainer.__main__ import main


class Refused(Exception):
    """The command's one line."""


class _Begun(BaseException):
    """Passes through whatever would put an error on record or in words."""


def begun(family: str, words: list[str]) -> tuple[Any, Any, Any]:
    """Configuration, source and method of ``python -m trainer WORDS``.

    Raises:
        Refused: it is a mistake.
    """

    def stop(config: Any, images: Any, source: Any, method: Any, device: Any) -> None:
        raise _Begun(config, source, method.train())

    said = io.StringIO()
    with mock.patch.object(families.load(family), "probes", stop), TemporaryDirectory() as folder:
        try:
            with contextlib.redirect_stderr(said):
                code = main([*words, "--results-dir", folder])
        except _Begun as found:
            return found.args
    *notes, line = said.getvalue().splitlines() or [""]
    assert code == 2 and line.startswith("error: ") and not notes, said.getvalue()
    raise Refused(line)
