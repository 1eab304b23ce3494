"""Where the numbers come from: code, machines, data split, seeds, and the rule of decision."""

from __future__ import annotations

from analysis.page.facts import Facts
from analysis.page.records import first_line
from analysis.recorded.registered import registered


def trust(facts: Facts) -> list[tuple[str, str]]:
    """(what, value), leaving out what is not on record."""
    study = facts.study
    runs = [study.runs[run_id] for run_id in facts.of_run if run_id in study.runs]
    runs = runs or list(study.runs.values())
    ids = [run_id for run_id in facts.of_run if run_id in study.runs] or list(study.runs)
    lines = [
        first_line(study.folder / "runs" / run_id / "records.jsonl").get("provenance") or {} for run_id in ids[:50]
    ]
    versions = {f"{name} {version}" for one in lines for name, version in (one.get("versions") or {}).items()}
    versions |= {f"python {one['python']}" for one in lines if one.get("python")}
    dirty = sum(bool(run.dirty) for run in runs)
    info = study.info
    seeds = ", ".join(map(str, info.get("seeds") or []))
    asked = len(study.declared.contrasts)
    rows = [
        ("code", _listed({commit[:12] for run in runs if run.commit for commit in run.commit.split("+")})),
        ("uncommitted changes", f"in {dirty} of {len(runs)} runs" if runs else ""),
        ("libraries", _listed(versions)),
        ("machines", _listed({str(one["host"]) for one in lines if one.get("host")})),
        ("processors", _listed({kind for run in runs for kind in run.processors})),
        ("devices", _listed({str(run.started["device"]) for run in runs if run.started.get("device")})),
        ("data", f"{info.get('preset', '')} {' '.join(map(str, info.get('overrides') or []))}".strip()),
        ("split", _listed({str(run.started["split_hash"])[:16] for run in runs if run.started.get("split_hash")})),
        ("search seed", str(info.get("search_seed", "")) if info.get("num_trials") else ""),
        ("verdict seeds", seeds),
        (
            "adjusted for",
            f"{asked} primary contrast{'' if asked == 1 else 's'}, Holm, 5 %" if asked else "nothing",
        ),
        ("declaration", " ".join(registered(study))),
        ("begun", str(info.get("created", ""))),
    ]
    return [(name, value) for name, value in rows if value]


def _listed(values: set[str]) -> str:
    return ", ".join(sorted(values))
