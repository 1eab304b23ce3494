"""The main job with a decision record that is full from the first finished run on: no disk of its own, so no right to
mount."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from studies import step2_rate  # noqa: E402
from studies.engine.decisions import Decisions  # noqa: E402

append = Decisions.append


def append_until_full(self: Decisions, event: str, **fields: Any) -> dict[str, Any]:
    if event == "finish":
        self._lines._file = open("/dev/full", "ab", buffering=0)
    return append(self, event, **fields)


if __name__ == "__main__":
    Decisions.append = append_until_full
    sys.exit(step2_rate.main())
