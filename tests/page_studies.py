"""Studies for the page's tests: the usual one, and the four that are not whole."""

from __future__ import annotations

import json
from pathlib import Path

from test_analysis import EPOCHS, Builder, full

HOSTILE = (
    "<script>document.title='owned'</script>", '"><img src=x onerror="document.title=\'owned\'">', "';alert(1)//",
    "</script><script>document.title='owned'</script>", "&lt;b&gt;", "{{ 7*7 }}{% raw %}", "\u202eabc\u202c",
    "\u05d0\u05d1\u05d2", "\U0001f9ea\U0001f468\u200d\U0001f469", "a\u2028b\u2029c", "<!--", "]]>",
    "javascript:alert(1)", "x" * 300, "\\u003cb\\u003e",
)  # fmt: skip


def empty(folder: Path) -> Builder:
    """Its settings, and nothing else."""
    study = Builder(folder, num_trials=24, confirm=["stopgrad", "ema"])
    study.decide({"event": "begin", "t": 0.0, "cores": 2, "concurrent": 2, "workers": 1, "gpus": 0, "cpus": 1,
                  "usd_per_hour": 0, "command": "python studies/demo.py --resume"})  # fmt: skip
    return study


def one_trial(folder: Path) -> Builder:
    study = empty(folder)
    study.trial(0, "stopgrad", 0.1, 60.0)
    study.run("t0", 60.0)
    study.decide({"event": "session", "t": 9.0, "seconds": 9.0, "cores": 2, "finished": False, "budget": None})
    return study


def all_nan(folder: Path) -> Builder:
    """Six runs that gave no number after their first epoch."""
    study = empty(folder)
    for number in range(6):
        study.trial(number, "stopgrad", 0.1, None, 1, "diverged")
        path = study.folder / "runs" / f"t{number}" / "records.jsonl"
        path.parent.mkdir(parents=True)
        common = {"schema_version": 1, "study": "demo", "run_id": f"t{number}", "arm_id": f"t{number}", "seed": 1}
        lines = [
            {"event": "eval", "epoch": epoch, "split": "validation", "probe_epoch": epoch,
             "metrics": dict.fromkeys(("linacc/z_agg@3", "rank_pr/z@3"), None if epoch else 50.0)}
            for epoch in range(2)
        ]  # fmt: skip
        lines[0] |= {"config": {"data": {"observed_views": 3}, "epochs": EPOCHS}}
        path.write_text("".join(json.dumps(common | line) + "\n" for line in lines))
    return study


def half(folder: Path) -> Builder:
    """A study of four seeds of which one is still open."""
    study = Builder(folder, num_trials=4, confirm=["stopgrad"], seeds=[1, 2, 3, 4])
    study.decide({"event": "begin", "t": 0.0, "cores": 2, "concurrent": 2, "workers": 1, "gpus": 0, "cpus": 1,
                  "usd_per_hour": 0, "command": "python studies/demo.py --resume"})  # fmt: skip
    study.arm("s0", "lambda0", "stopgrad", 0.0, [50.0, 51.0, 52.0, "missing"], rank=1.7, gate=False)
    study.arm("s1", "best", "stopgrad", 0.1, [62.0, 64.0, 66.0, "missing"], "s0", 65.0)
    study.trial(0, "stopgrad", 0.1, 65.0)
    study.trial(1, "stopgrad", 0.01, 55.0, 1, "pruned")
    study.trial(2, "stopgrad", 0.5, None, state="unfinished")
    return study


def hostile(folder: Path) -> Builder:
    """Whatever a label, a reason or a name may hold."""
    study = full(folder)
    for number, text in enumerate(HOSTILE, start=12):
        study.trial(number, "stopgrad", 0.1, 40.0 + number / 10, 1, "pruned", reason=text, arm_id=f"h{number}")
        last = study.decided()
        last[-3] |= {"label": text, "source": text}
        (folder / "decisions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in last), encoding="utf-8")
    info = json.loads((folder / "study.json").read_text())
    (folder / "study.json").write_text(json.dumps(info | {"study": HOSTILE[0], "ranges": {HOSTILE[1]: HOSTILE[3]}}))
    return study


STUDIES = {"full": full, "empty": empty, "one_trial": one_trial, "all_nan": all_nan, "half": half, "hostile": hostile}
