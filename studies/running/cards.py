"""Which GPUs a study trains on, for the note that earlier runs were recorded on others."""

from __future__ import annotations

from studies.engine.plan import Plan


def cards(plan: Plan) -> list[str]:
    """Models of the GPUs that train here; none where nothing is on record that could be of others."""
    if not plan.resources.gpus or not (plan.folder / "runs").is_dir():
        return []
    from studies.doctor.accelerators import ask_driver  # only here: most studies need not ask

    return list(dict.fromkeys(gpu.name for gpu in ask_driver()[0])) or ["of unknown model"]
