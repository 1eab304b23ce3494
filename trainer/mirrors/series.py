"""What a run's record gives to W&B and TensorBoard: its own series, and the research log's names for the same
quantities.

The table of names is in COMPATIBILITY.md, with what the log's other names correspond to and why they are not written.
"""

from __future__ import annotations

from typing import Any

from trainer.config import RunConfig

LOG_PREFIX = "log/"


def log_names(config: RunConfig) -> dict[str, str]:
    """Our series by the research log's name; only quantities with the same definition."""
    m, scale = config.data.observed_views, config.data.action_scale
    return {
        "online_linacc_test": f"online_linacc_live/z_agg@{m}",
        "online_r2_test": f"online_r2_action_live.{scale}/z_pair@2",
        "ep_loss": "loss/total",
        "rank_eq_eff": f"rank_sv_live/z@{m}",
        "rank_inv_eff": f"rank_sv_live/z_agg@{m}",
        "gate_pass": "gate/passed",
    }


def values(line: dict[str, Any], config: RunConfig) -> dict[str, float]:
    """The series of one line of the record; nothing that was not finite."""
    found = dict(line["metrics"])
    if line["event"] == "epoch":
        found |= {
            "lr": line.get("lr"),
            "ema_decay": line.get("ema_decay"),
            "step": line["step"],
            "samples_seen": line["samples_seen"],
        }
    if line["event"] == "stop" and line.get("gate"):
        found["gate/passed"] = float(line["gate"]["passed"])
    found |= {LOG_PREFIX + name: found[ours] for name, ours in log_names(config).items() if ours in found}
    return {name: float(value) for name, value in found.items() if value is not None}
