"""A file called ``analysis.py`` beside a study's own hides our package of that name, until the report at the very
end."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("trainer", "analysis", "search_spaces")
ROOT = Path(__file__).resolve().parents[2]


def refuse_hidden() -> None:
    """End the program with one line and exit code 2 where another module is found under the name of a package of
    ours."""
    for name in PACKAGES:
        spec = find_spec(name)
        if spec is None:
            continue
        # a folder alone has no origin
        found = Path(spec.origin or next(iter(spec.submodule_search_locations or ()), ""))
        package = found.parent if found.name == "__init__.py" else found
        if package.resolve() != ROOT / name:
            print(
                f"error: {package} hides the package {name!r} of {ROOT}; rename it, or move the study elsewhere",
                file=sys.stderr,
            )
            raise SystemExit(2)
