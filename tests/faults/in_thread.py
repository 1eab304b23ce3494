"""The one-arm study, its ``main`` called in a thread other than the main one, as a notebook or a server would."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from faults import one_arm  # noqa: E402

if __name__ == "__main__":
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(one_arm.main(sys.argv[1:])))
    thread.start()
    thread.join()
    sys.exit(codes[0] if codes else "main() ended with an exception")
