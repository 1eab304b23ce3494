"""Weights & Biases as a mirror of the record: losing it loses nothing, and a server that does not answer costs
seconds."""

from __future__ import annotations

import os
import re
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.config import RunConfig
from trainer.errors import UsageError
from trainer.mirrors.wandb_key import has_key
from trainer.record.identity import arm_id, run_id

if TYPE_CHECKING:
    import pandas as pd

    from trainer.mirrors.mirror import Report

MODES = ("online", "offline", "off")
PROJECT = "seq-jepa-studies"
ANSWER_SECONDS, INIT_SECONDS, FINISH_SECONDS = 3, 10, 10
ASK_AGAIN_SECONDS = 600
_FROM_ENVIRONMENT = {
    "disabled": "off",
    "dryrun": "offline",
    "run": "online",
    "shared": "online",
    "online": "online",
    "offline": "offline",
}
_silent: dict[str, float] = {}
"""When each server last failed to answer: the next run of this process need not wait for it as well."""


class WandbMirror:
    """One W&B run per run_id; resumed runs continue it. W&B's own environment variables are obeyed, except those
    that name the one run (WANDB_RUN_ID, WANDB_RESUME): a study has many.

    Args:
        run: the run's folder.
        role: what the run is in its study.
        shown: what is shown, if it is not the run itself.

    Attributes:
        since: the first epoch it has not got yet.
        trouble: one line if it is not what was asked for, else None.
    """

    def __init__(self, mode: str, config: RunConfig, study: str, label: str, run: Path, role: str,
                 shown: str | None = None):  # fmt: skip
        # the client reports on itself to the same server, also offline, and would wait 10 s for it at the process's end
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        from trainer.certificates import trust_system

        trust_system(config.runtime.system_certs)
        folder = Path(os.environ.get("WANDB_DIR") or (run.parent if shown else run.parent.parent) / "wandb")
        folder.mkdir(parents=True, exist_ok=True)
        os.environ.setdefault("WANDB_DATA_DIR", str(folder))  # or an artefact's files would wait in the home folder
        name = f"{study}-{shown or run_id(config)}"
        self.trouble: str | None = None
        if mode == "online":
            server = wandb.setup().settings.base_url
            if (why := unanswered(server)) is not None:
                mode, self.trouble = (
                    "offline",
                    (
                        f"W&B at {server} {why}: runs are kept offline, send them later with: wandb sync"
                        f" {folder}/wandb/offline-*"
                    ),
                )
        earlier = mode == "offline" and any((folder / "wandb").glob(f"offline-run-*-{name}"))
        given = {} if os.environ.get("WANDB_NAME") else {"name": label}
        given |= {} if os.environ.get("WANDB_RUN_GROUP") else {"group": study}
        given |= {} if os.environ.get("WANDB_JOB_TYPE") else {"job_type": role}
        who = {"study": study, "role": role, "log_names_split": config.data.select_on}
        who |= {} if shown else {"arm_id": arm_id(config)}
        given |= {} if os.environ.get("WANDB_PROJECT") else {"project": PROJECT}
        self._run = wandb.init(
            **given,
            id=name,
            config=config.model_dump(mode="json") | who,
            dir=str(folder),
            mode=mode,
            resume="allow",
            reinit="finish_previous",
            settings=wandb.Settings(
                silent=True, console="off", init_timeout=INIT_SECONDS, finish_timeout=FINISH_SECONDS
            ),
        )
        self.since = _epochs_on_record(run) if earlier else self._run.step

    def log(self, epoch: int, values: dict[str, float]) -> None:
        self._run.log(values, step=epoch)

    def verdict(self, epoch: int, passed: bool, gate: str, reasons: list[str]) -> None:
        self._run.summary.update({"gate/name": gate, "gate/passed": passed, "gate/reasons": reasons})

    def figure(self, name: str, path: Path) -> None:
        import wandb

        self._run.log({name: wandb.Image(str(path))})

    def report(self, report: Report) -> None:
        """Tables and files of a study, as artefacts of the run; what it says, in the run's summary."""
        import wandb

        self._run.log({f"tables/{name}": _table(frame) for name, frame in report.tables.items() if len(frame)})
        self._run.summary.update(report.said)
        kept = wandb.Artifact(re.sub(r"[^\w.-]", "_", self._run.id)[:128], type="report")
        for file in report.files:
            kept.add_file(str(file))
        self._run.log_artifact(kept)

    def close(self) -> None:
        self._run.finish()


def _table(frame: pd.DataFrame) -> Any:
    """A frame as W&B shows it; what is missing is empty."""
    import wandb

    rows = frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    return wandb.Table(columns=list(frame.columns), data=rows, allow_mixed_types=True)


def unanswered(server: str) -> str | None:
    """Why a W&B server counts as silent, None if it answers; asked in a thread, since a name look-up has no time
    limit."""
    if time.monotonic() - _silent.get(server, float("-inf")) < ASK_AGAIN_SECONDS:
        return "did not answer a moment ago"
    found: list[str | None] = []
    asking = threading.Thread(target=lambda: found.append(_ask(server)), daemon=True)
    asking.start()
    asking.join(ANSWER_SECONDS + 1)
    why = found[0] if found else f"did not answer within {ANSWER_SECONDS} s"
    if why is not None:
        _silent[server] = time.monotonic()
    return why


def _ask(server: str) -> str | None:
    question = urllib.request.Request(
        f"{server.rstrip('/')}/graphql",
        data=b'{"query": "query { __typename }"}',
        headers={"Content-Type": "application/json"},
    )
    try:
        urllib.request.urlopen(question, timeout=ANSWER_SECONDS).close()
    except urllib.error.HTTPError:
        return None  # an answer: it wants a key, or another question
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            return f"did not answer within {ANSWER_SECONDS} s"
        if type(reason).__name__.startswith("SSL"):
            return None  # W&B's client has certificates of its own
        return f"cannot be reached ({getattr(reason, 'strerror', None) or type(reason).__name__})"
    return None


def resolve_mode(asked: str | None, without_key: str = "offline") -> str:
    """What ``--wandb`` says, or else WANDB_MODE; without either ``online`` if there is a key, otherwise
    ``without_key``.

    Raises:
        UsageError: online without a key, or a WANDB_MODE that W&B does not know.
    """
    said = os.environ.get("WANDB_MODE", "").strip().lower()
    if asked is None and os.environ.get("WANDB_DISABLED", "").strip().lower() in ("1", "true", "yes"):
        return "off"
    if asked is None and said:
        if said not in _FROM_ENVIRONMENT:
            raise UsageError(
                f"WANDB_MODE={said}: must be one of {', '.join(_FROM_ENVIRONMENT)}; or give --wandb {'|'.join(MODES)}"
            )
        asked = _FROM_ENVIRONMENT[said]
    key = has_key()
    if asked == "online" and not key:
        raise UsageError("--wandb online needs a key: set WANDB_API_KEY or run `wandb login`; or use --wandb offline")
    return asked or ("online" if key else without_key)


def _epochs_on_record(run: Path) -> int:
    """Epochs an earlier attempt has recorded; its own offline files hold them."""
    from trainer.record.run import read

    return 1 + max(
        (line["epoch"] or 0 for line in read(run / "records.jsonl") if line["event"] in ("epoch", "eval")), default=-1
    )
