"""The gate of every compared run, line by line."""

from __future__ import annotations

from analysis.page.facts import Facts


def gate_lines(facts: Facts) -> list[tuple[str, str, bool, list[str]]]:
    """(run, arm and seed, passed, one line per rule), failed ones first."""
    found = []
    for run_id, key in facts.of_run.items():
        run = facts.study.runs.get(run_id)
        gate = (run.stop.get("gate") or {}) if run else {}
        if gate and key[1] != "untrained":
            seed = f" seed {run.seed}" if run.seed is not None else ""
            found.append((run_id, f"{facts.names[key]}{seed}", bool(gate["passed"]), list(gate.get("reasons") or [])))
    return sorted(found, key=lambda one: one[2])
