"""Train one seq-JEPA configuration, with or without Ray.

Layers, each importing only from those before it: ``config`` - ``data``, ``blocks``, ``losses``, ``probes``,
``subspace`` - ``families`` - ``step``, ``loop`` - ``workers`` (a study's trial; the only module that knows Ray).
``record`` and ``mirrors`` stand beside the loop, ``command`` above it.
"""

import sys
from importlib.util import find_spec

for _name in ("pydantic", "rich", "pandas", "torch"):
    if find_spec(_name) is None:  # another Python than the one that was set up: the first mistake there is to make
        print(
            f"error: {_name} is not installed for {sys.executable}; make study sets everything up, and"
            " . .venv/bin/activate enters it",
            file=sys.stderr,
        )
        raise SystemExit(2)
