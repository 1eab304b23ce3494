"""``python -m trainer.evaluate --checkpoint RUN/checkpoint.pt``: measure a trained model with every probe.

Appends one line to ``evaluation.jsonl`` beside the checkpoint and prints it as tables. ``--split test`` makes this the
one
command that reads test images: for a final report, never for a choice between arms, and no study reads these lines.
"""

from __future__ import annotations

import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from trainer import families, presets
from trainer.command.cli import Parser, add_data_options, data_settings, guarded
from trainer.config import RunConfig
from trainer.data.sets import require_present
from trainer.errors import UsageError

VIEWS, MOST_VIEWS = [1, 2, 3, 4, 5, 6, 7, 8], 8
SETTABLE = (
    "runtime.threads", "runtime.resident_mib", "runtime.saliency_file", "eval.probe_bn", "eval.pair_target",
    "eval.subspace.anchors", "eval.subspace.steps", "eval.subspace.views",
)  # fmt: skip
"""What --set may change; what was learnt is given by the checkpoint, and the rest has no meaning here."""

RUN = "results/single/runs/1a2b3c4d5e-s0"
EXAMPLES = (
    f"python -m trainer.evaluate --checkpoint {RUN}",
    f"python -m trainer.evaluate --checkpoint {RUN} --protocol ridge --views 1 3 5 --subspace",
    f"python -m trainer.evaluate --checkpoint {RUN} --split test      # once, for the final report",
)
EXITS = {0: "evaluated", 2: "wrong command, checkpoint or record", 130: "interrupted; nothing was recorded"}


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 evaluated, 2 wrong command, checkpoint or record."""
    parser = Parser(
        prog="python -m trainer.evaluate", description=__doc__.splitlines()[0], examples=EXAMPLES, exits=EXITS
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, required=True, help="RESULTS/STUDY/runs/RUN/checkpoint.pt, or its folder")
    splits, probes = ["validation", "test"], ["paper", "ridge", "both"]
    add("--split", choices=splits, default="validation", help="what is scored (default: validation)")
    add(
        "--views",
        type=int,
        nargs="+",
        default=VIEWS,
        help=f"views to aggregate, 1 to {MOST_VIEWS} (default: all of them)",
    )
    add("--protocol", choices=probes, default="both", help="the paper's probes, those of training, or both (default)")
    add(
        "--epochs",
        type=int,
        default=300,
        help="of the paper's probes (default: 300; linear regressors take at most 50)",
    )
    add("--subspace", action="store_true", help="also the subspace diagnostics on factor sweeps")
    add("--out", type=Path, help="record file to append to (default: evaluation.jsonl beside the checkpoint)")
    add("--device", choices=["auto", "cpu", "cuda", "mps"], help="default: the run's")
    add_data_options(parser)
    extend = {"nargs": "+", "action": "extend", "default": []}
    add("--set", dest="overrides", metavar="key=value", help=f"one of {', '.join(SETTABLE)}", **extend)
    return guarded(
        lambda: _run(parser.parse_args(sys.argv[1:] if argv is None else argv)), "interrupted; nothing was recorded"
    )


def _run(options: Namespace) -> int:
    from trainer.checkpoint import NAME
    from trainer.record.evaluation import append_line, check_out, recorded_config

    given = options.checkpoint
    if given.name != NAME and given.is_file():
        raise UsageError(
            f"--checkpoint {given}: a run's checkpoint is named {NAME} and lies beside its records.jsonl, which says"
            f" how it was trained; give RESULTS/STUDY/runs/RUN/{NAME} or its folder"
        )
    folder = given.parent if given.name == NAME else given
    path = folder / NAME
    if not path.is_file():
        raise UsageError(
            f"--checkpoint {options.checkpoint}: there is no file {path}; give a run's {NAME} or its folder"
        )
    tree, first = recorded_config(folder)
    config = _overridden(tree, options)
    _check(config, options)
    out = options.out or folder / "evaluation.jsonl"
    if out.name == "records.jsonl":
        raise UsageError(f"--out {out}: evaluations never enter a run's own record, which studies select by; rename it")
    check_out(out)
    clock = time.perf_counter()
    line = measure(config, folder, first, options, out)
    line["seconds"] = {"evaluation": time.perf_counter() - clock}
    append_line(out, line)

    from trainer.command.terminal import Terminal

    console = Terminal(width=None if sys.stdout.isatty() else 120)
    for table in families.load(config.family).tables(line["metrics"], config):
        console.print(table)
    who = f"run {line['run_id']}, epoch {line['epoch']}, split={line['split']}"
    console.print(f"{who}; all metrics in {out}", highlight=False, soft_wrap=True)
    return 0


def measure(config: RunConfig, folder: Path, first: dict[str, Any], options: Namespace, out: Path) -> dict[str, Any]:
    """The record line of one evaluation, without ``attempt`` and ``seconds``; writes the subspace arrays if asked.

    Raises:
        RecordError: the checkpoint is damaged, or belongs to another arm than the record.
    """
    from trainer.checkpoint import NAME
    from trainer.method import Evaluation
    from trainer.record.evaluation import sha256
    from trainer.record.identity import provenance, run_id
    from trainer.restored import restored
    from trainer.runtime import card

    run = restored(folder, config)
    step = run.source.step
    epoch = step // config.steps_per_epoch
    wanted = Evaluation(
        split=options.split, views=tuple(options.views), paper=options.protocol != "ridge",
        ridge=options.protocol != "paper",
        epochs=options.epochs,
        subspace=out.with_name(f"evaluation-{options.split}-subspace.npz") if options.subspace else None,
        epoch=epoch, say=_say,
    )  # fmt: skip
    metrics = run.probes.evaluate(run.method, run.untrained, wanted)
    return {
        "schema_version": first["schema_version"], "event": "eval", "study": first["study"], "run_id": run_id(config),
        "arm_id": first["arm_id"], "seed": config.seed, "step": step, "samples_seen": step * config.optim.batch_size,
        "epoch": epoch, "probe_epoch": epoch, "split": options.split, **run.images.on_record,
        "metrics": metrics,
        "settings": {
            "views": sorted(set(options.views)), "protocol": options.protocol, "epochs": options.epochs,
            "subspace": options.subspace, "overrides": list(options.overrides),
        },
        "checkpoint": {"sha256": sha256(folder / NAME)}, "device": str(run.device),
        "provenance": provenance(config.family, card(run.device)),
    }  # fmt: skip


def _overridden(tree: dict[str, Any], options: Namespace) -> RunConfig:
    """The run's configuration with this command's settings for where to compute."""
    import yaml

    from trainer.presets.strict_yaml import parse

    values: dict[str, Any] = {
        "runtime.device": options.device,
        **data_settings(options, tree["runtime"]["data_root"], tree["runtime"].get("cache_dir")),
    }
    for text in options.overrides:
        key, sign, value = text.partition("=")
        if not sign or key not in SETTABLE:
            raise UsageError(
                f"--set {text}: write key=value with a key of {', '.join(SETTABLE)}; the run fixes the rest"
            )
        try:
            values[key] = parse(value)
        except yaml.YAMLError:
            raise UsageError(f"--set {text}: the value is not valid YAML") from None
    for dotted, value in values.items():
        if dotted != "runtime.device" or value is not None:
            *parents, leaf = dotted.split(".")
            node = tree
            for parent in parents:
                node = node.setdefault(parent, {})
            node[leaf] = value
    return presets.build(tree)


def _check(config: RunConfig, options: Namespace) -> None:
    wrong = [k for k in options.views if not 1 <= k <= MOST_VIEWS]
    if wrong:
        raise UsageError(f"--views {wrong[0]}: a number of views must be 1 to {MOST_VIEWS}")
    families.load(config.family).check_evaluation(config, options.views, options.subspace)
    require_present(config)
    if options.epochs < 1:
        raise UsageError(f"--epochs {options.epochs}: must be at least 1; --protocol ridge needs no epochs")


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
