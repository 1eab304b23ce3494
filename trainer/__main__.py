"""``python -m trainer --preset digits``: train one configuration and print its gate verdict.

Several workers, without Ray: ``torchrun --nproc-per-node 2 -m trainer --preset digits``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from trainer import presets
from trainer.cli import Parser, add_data_options, data_settings, split_overrides
from trainer.config import RunConfig
from trainer.errors import EXIT_USAGE, RecordError, UsageError
from trainer.results import check_name, folder, writable


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 trained and gate passed (or no gate), 1 gate failed or diverged, 2 wrong command or configuration."""
    parser = Parser(prog="python -m trainer", description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="digits", help=f"one of {', '.join(presets.names())}, or a YAML file")
    parser.add_argument("--seed", type=int, help="default: the preset's, 0")
    parser.add_argument("--epochs", type=int, help="where to stop; the schedule keeps its horizon")
    parser.add_argument("--gate", help="judge this gate, and stop at its epoch unless --epochs is given (default: the latest one reached; none to skip)")
    parser.add_argument("--results-dir", type=folder, default=Path("results"), help="default: ./results")
    parser.add_argument("--study", default="single", help="name of the folder in the results directory")
    add_data_options(parser)
    parser.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"])
    parser.add_argument("--across-commits", action="store_true", help="continue a run that another commit has recorded")
    parser.add_argument("--dry-run", action="store_true", help="print the resolved configuration and stop")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example optim.lr=0.01 objective.teacher=ema")
    try:
        arguments = parser.parse_args(split_overrides(sys.argv[1:] if argv is None else argv))
        return _run(arguments)
    except (UsageError, RecordError, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return EXIT_USAGE
    except KeyboardInterrupt:
        print("\ninterrupted; the same command continues from the last checkpoint", file=sys.stderr)
        return 130


def _run(arguments) -> int:
    import yaml

    from trainer.data.sets import require_present
    from trainer.gates import judge, latest
    from trainer.identity import run_id

    settings = {"seed": arguments.seed, "epochs": arguments.epochs, "runtime.device": arguments.device}
    settings = {key: value for key, value in settings.items() if value is not None}
    if arguments.across_commits:
        settings["runtime.across_commits"] = True
    runtime = presets.load(arguments.preset, arguments.overrides, settings).runtime
    settings |= data_settings(arguments, runtime.data_root, runtime.cache_dir)
    config = presets.load(arguments.preset, arguments.overrides, settings)
    gate = arguments.gate or latest(config) or "none"
    if gate != "none":
        if gate not in config.gates:
            raise UsageError(f"--gate {gate!r}: must be one of {', '.join([*config.gates, 'none'])}")
        if arguments.epochs is None and arguments.gate:
            config = presets.load(arguments.preset, arguments.overrides, settings | {"epochs": config.gates[gate].epoch})
    place = arguments.results_dir.absolute() / check_name(arguments.study)
    writable(place)
    if arguments.dry_run:
        try:
            require_present(config)
        except UsageError as error:
            print(f"# data absent, this run would not start: {error}")
        print(f"# run {run_id(config)} in {place / 'runs' / run_id(config)}")
        print(yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False), end="")
        return 0

    require_present(config)

    import torch
    import torch.distributed as dist

    from trainer import world
    from trainer.identity import unknown_commit
    from trainer.loop import train
    from trainer.record_lines import read_run
    from trainer.runtime import pick_device

    if note := unknown_commit():
        print(f"note: {note}", file=sys.stderr)
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:  # started by torchrun
        cuda = pick_device(config).type == "cuda"
        if cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("nccl" if cuda else "gloo")
    first = world.rank() == 0
    try:
        judged = None if gate == "none" else gate
        result = train(config, place / "runs", arguments.study, report=_print_epoch, gate=judged, baselines=True)
        if dist.is_initialized():
            dist.barrier()  # a worker that leaves early can abort one that is still writing
        if not first:
            return 0
        records = place / "runs" / run_id(config) / "records.jsonl"
        print(f"run {run_id(config)}: {result['stopped']}; records in {records}")
        if result["stopped"] != "completed":
            return 1
        if judged is None:
            return 0
        verdict = judge(config, gate, read_run(records, run_id(config)))
        print(f"gate {gate}: {'PASSED' if verdict.passed else 'FAILED'}")
        for reason in verdict.reasons:
            print(f"  {reason}")
        return 0 if verdict.passed else 1
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _print_epoch(report: dict) -> None:
    if not report:  # a worker other than the first
        return
    values = {name.partition("@")[0]: value for name, value in report.items() if isinstance(value, float)}
    live = "  ".join(
        f"{label} {values.get(name, float('nan')):{form}}"
        for label, name, form in (
            ("predict", "predict_live/z_hat", ".4f"),
            ("linacc", "linacc_live/z_agg", "5.1f"),
            ("rank z", "rank_pr_live/z", "5.1f"),
            ("z_agg", "rank_pr_live/z_agg", "5.1f"),
        )
    )
    probed = f"   probed: linacc {report['score']:.1f}" if report["probe_epoch"] == report["epoch"] and report['score'] is not None else ""
    print(f"epoch {report['epoch']:>4}  {live}{probed}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
