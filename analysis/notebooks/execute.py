"""Write the notebooks anew from their sources: ``python analysis/notebooks/execute.py [NAME ...]``.

A notebook is its source beside it (``NAME.py``, jupytext's ``py:percent``) and what its cells gave; of the machine and
the time nothing is kept.
"""

from __future__ import annotations

import base64
import io
import os
import sys
import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

HERE = Path(__file__).resolve().parent
NAMES = ("results", "subspace", "gate_validity")
SECONDS = 120
"""For one cell; the slowest takes five on two busy cores."""


def source(name: str):
    """The notebook of a source, without outputs and with the same ids each time."""
    import jupytext

    notebook = jupytext.read(HERE / f"{name}.py")
    for number, cell in enumerate(notebook.cells):
        cell["id"], cell["metadata"] = f"{name}-{number}", {}
    notebook.metadata = {
        "jupytext": {"formats": "ipynb,py:percent"},
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def executed(name: str, study: str | Path | None = None):
    """The same with outputs.

    Args:
        study: folder or packed study in place of the one that the source names.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell raised.
    """
    from nbclient import NotebookClient

    notebook = source(name)
    if study is not None:
        _point_to(notebook, study)
    with _nobodys_settings():
        place, quiet = {"metadata": {"path": str(HERE)}}, ["--log-level=ERROR"]
        NotebookClient(notebook, timeout=SECONDS, record_timing=False, resources=place, extra_arguments=quiet).execute()
    for cell in notebook.cells:
        cell["metadata"] = {}
        for data in (output.get("data", {}) for output in cell.get("outputs", ())):
            if "image/png" in data:
                data["image/png"] = _small(data["image/png"])
    notebook.metadata["language_info"] = {"name": "python"}  # a kernel adds its version
    return notebook


def text_of(notebook) -> list[str]:
    """What each code cell wrote, printed and shown, without pictures."""
    texts = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            parts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
            texts.append("\n".join("".join(part) for part in parts))
    return texts


def _small(png: str) -> str:
    """The picture in 256 colours, half of the bytes."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")
    picture.quantize(256, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode()


def _point_to(notebook, study: str | Path) -> None:
    for cell in notebook.cells:
        lines = cell.source.splitlines()
        found = [number for number, line in enumerate(lines) if line.startswith("STUDY = ")]
        for number in found:
            lines[number] = f"STUDY = {str(study)!r}"
        if found:
            cell.source = "\n".join(lines)
            return
    raise ValueError("no cell sets STUDY")


@contextmanager
def _nobodys_settings():
    """Neither read nor write what belongs to the person at this machine: start-up files, history, styles."""
    with tempfile.TemporaryDirectory() as folder:
        own = {"IPYTHONDIR": folder, "JUPYTER_RUNTIME_DIR": folder, "MATPLOTLIBRC": os.devnull, "COLUMNS": "110"}
        with mock.patch.dict(os.environ, own):
            yield


def main(names: list[str]) -> int:
    if missing := next((one for one in ("jupytext", "nbclient", "nbformat") if find_spec(one) is None), None):
        line = f"error: {missing} is not installed for {sys.executable}; make study sets everything up, and"
        print(f"{line} . .venv/bin/activate enters it", file=sys.stderr)
        return 2
    import nbformat

    unknown = sorted(set(names) - set(NAMES))
    if unknown:
        print(f"error: {', '.join(unknown)}: no such notebook; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    for name in names or NAMES:
        path = HERE / f"{name}.ipynb"
        nbformat.write(executed(name), path)
        print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
