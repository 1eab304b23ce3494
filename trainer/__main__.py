"""``python -m trainer --preset digits``: train one configuration and print its gate verdict.

Several workers, without Ray: ``torchrun --nproc-per-node 2 -m trainer --preset digits``.
"""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from trainer import families, placing, presets
from trainer.command.cli import Parser, add_data_options, data_settings, guarded, split_overrides
from trainer.command.duration import duration, estimate, measured
from trainer.command.results import check_name, folder, writable
from trainer.errors import UsageError
from trainer.mirrors.wandb_mirror import MODES, resolve_mode

if TYPE_CHECKING:
    from trainer.config import RunConfig

EXAMPLES = (
    "python -m trainer --list-presets",
    "python -m trainer --preset digits",
    "python -m trainer --preset digits objective.teacher=ema objective.ema.half_life=0.02 --seed 1",
    "python -m trainer --preset cifar100_aug_gate --data-root ~/data --download --device cuda",
    "python -m trainer --preset digits --wandb offline --tensorboard",
)
EXITS = {
    0: "trained, and the gate passed (or there is none)",
    1: "the gate failed, or the run diverged",
    2: "wrong command or configuration",
    130: "interrupted; the same command continues from the last checkpoint",
}


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 trained and gate passed (or no gate), 1 gate failed or diverged, 2 wrong command or
    configuration."""
    words = sys.argv[1:] if argv is None else argv
    return guarded(lambda: _run(_options(words)), "interrupted; the same command continues from the last checkpoint")


def _options(argv: list[str]) -> Namespace:
    parser = Parser(prog="python -m trainer", description=__doc__.splitlines()[0], examples=EXAMPLES, exits=EXITS)
    parser.add_argument(
        "--preset", default="digits", help="a name from --list-presets, or a YAML file (default: digits)"
    )
    parser.add_argument(
        "--list-presets", action="store_true", help="print every preset with its data set and length, and exit"
    )
    parser.add_argument("--seed", type=int, help="default: the preset's, 0")
    parser.add_argument("--epochs", type=int, help="where to stop; the schedule keeps its horizon")
    parser.add_argument(
        "--gate",
        help=(
            "judge this gate, and stop at its epoch unless --epochs is given (default: the latest one reached; none to"
            " skip)"
        ),
    )
    parser.add_argument("--results-dir", type=folder, default=Path("results"), help="default: ./results")
    parser.add_argument("--study", default="single", help="name of the folder in the results directory")
    add_data_options(parser)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"])
    parser.add_argument(
        "--wandb", choices=MODES, help="mirror to Weights & Biases (default: online with a key, otherwise offline)"
    )
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write TensorBoard events, to the run's tensorboard folder"
    )
    parser.add_argument("--across-commits", action="store_true", help="continue a run that another commit has recorded")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="for example optim.lr=0.01 objective.teacher=ema"
    )
    return parser.parse_args(split_overrides(argv))


def _run(arguments: Namespace) -> int:
    if arguments.list_presets:
        from trainer.presets import listing

        print("\n".join(listing.lines()))
        return 0
    from trainer.data.sets import require_present
    from trainer.record.identity import run_id

    config, gate = _resolved(arguments)
    place = arguments.results_dir.absolute() / check_name(arguments.study)
    writable(place)
    run = place / "runs" / run_id(config)
    wandb = resolve_mode(arguments.wandb)
    if arguments.dry_run:
        _show(config, arguments.preset, run)
        return 0
    require_present(config)
    return _train(config, gate, run, arguments.study, wandb, arguments.tensorboard)


def _resolved(arguments: Namespace) -> tuple[RunConfig, str | None]:
    """What is to be run, and the gate that judges it."""
    from trainer.gates import latest

    settings = {"seed": arguments.seed, "epochs": arguments.epochs, "runtime.device": arguments.device}
    settings = {key: value for key, value in settings.items() if value is not None}
    if arguments.across_commits:
        settings["runtime.across_commits"] = True
    runtime = presets.load(arguments.preset, arguments.overrides, settings).runtime
    settings |= data_settings(arguments, runtime.data_root, runtime.cache_dir)
    config = presets.load(arguments.preset, arguments.overrides, settings)
    if config.runtime.device != "auto":  # which only torch can tell
        placing.check(config, config.runtime.device, int(os.environ.get("WORLD_SIZE", 1)))
    gate = arguments.gate or latest(config) or "none"
    if gate == "none":
        return config, None
    if gate not in config.gates:
        raise UsageError(f"--gate {gate!r}: must be one of {', '.join([*config.gates, 'none'])}")
    if arguments.epochs is None and arguments.gate:
        config = presets.load(arguments.preset, arguments.overrides, settings | {"epochs": config.gates[gate].epoch})
    return config, gate


def _show(config: RunConfig, preset: str, run: Path) -> None:
    """Print what would run, and for how long."""
    import yaml

    from trainer.data.sets import require_present

    try:
        require_present(config)
    except UsageError as error:
        print(f"# data absent, this run would not start: {error}")
    print(f"# run {run.name} in {run}")
    seconds = measured(config, preset)
    told = (
        estimate(config, config.epochs)
        if seconds is None
        else f"about {duration(seconds * config.epochs)} on one CPU core, at the preset's measured time per step"
    )
    if told is not None:
        print(f"# training {told}")
    print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), end="")


def _train(config: RunConfig, gate: str | None, run: Path, study: str, wandb: str, tensorboard: bool) -> int:
    """Train, and judge what came of it; returns the exit code."""
    from trainer.config import members

    family = families.load(config.family)
    if int(os.environ.get("RANK", 0)) == 0:  # of torchrun
        sets = ", ".join(one.name for one in members(config.data))
        judged = f" (below: of {config.data.name})" if config.data.mixture else ""
        print(f"run {run.name} in {run}: loading torch and {sets}{judged}\n{family.LEGEND}", flush=True)

    import torch
    import torch.distributed as dist

    from trainer import world
    from trainer.gates import judge
    from trainer.loop import train
    from trainer.mirrors.mirror import Mirrors
    from trainer.record.identity import unknown_commit
    from trainer.record.run_lines import parts_in_words, read_run
    from trainer.runtime import pick_device

    if note := unknown_commit():
        print(f"note: {note}", file=sys.stderr)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:  # started by torchrun
        cuda = pick_device(config).type == "cuda"
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if cuda else "gloo")
    first = world.rank() == 0
    mirrors = Mirrors(config, study, run.name, run, wandb if first else "off", tensorboard and first)

    told = ""

    def report(metrics: dict) -> None:
        nonlocal told
        mirrors.follow()
        _print_epoch(metrics, family.COLUMNS)
        # a report repeats what it does not have anew
        if (more := _columns(metrics, getattr(family, "SECOND", ()))) != told:
            told = more
            print(f"{'':>12}so far: {more}", flush=True)

    try:
        result = train(config, run.parent, study, report=report, gate=gate, baselines=True)
        if dist.is_initialized():
            dist.barrier()  # a worker that leaves early can abort one that is still writing
        if not first:
            return 0
        records = run / "records.jsonl"
        lines = list(read_run(records, run.name))
        print(f"run {run.name}: {result['stopped']}; records in {records}")
        if parameters := lines[0].get("parameters"):  # older records do not say
            print(f"trained parameters: {parameters['total']:,} ({parts_in_words(parameters)})")
        if result["stopped"] != "completed":
            return 1
        if gate is None:
            return 0
        verdict = judge(config, gate, lines)
        print(f"gate {gate}: {'PASSED' if verdict.passed else 'FAILED'}")
        for reason in verdict.reasons:
            print(f"  {reason}")
        return 0 if verdict.passed else 1
    finally:
        mirrors.close()
        if dist.is_initialized():
            dist.destroy_process_group()


def _columns(report: dict, columns: Iterable[tuple[str, str, str]], all_of_them: bool = False) -> str:
    """Labels and numbers; one that was not measured is left out, or "-"."""
    values = {name.partition("@")[0]: value for name, value in report.items()}
    shown = []
    for label, name, form in columns:
        value = values.get(name)
        if value is not None:
            shown.append(f"{label} {value:{form}}")
        elif all_of_them:  # what was measured and is not finite is None on record
            shown.append(f"{label} {('nan' if name in values else '-').rjust(len(f'{0.0:{form}}'))}")
    return "  ".join(shown)


def _print_epoch(report: dict, columns: Iterable[tuple[str, str, str]]) -> None:
    """One line, of 80 characters for usual numbers."""
    if not report:  # a worker other than the first
        return
    live = _columns(report, columns, all_of_them=True)
    probed = (
        f"  frozen {report['score']:.1f}"
        if report["probe_epoch"] == report["epoch"] and report["score"] is not None
        else ""
    )
    print(f"epoch {report['epoch']:>4}  {live}{probed}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
