"""The options every study has, and the defaults of its own. No torch, no ray."""

from __future__ import annotations

import os
import re
import sys
from argparse import SUPPRESS
from pathlib import Path
from typing import Any

from studies.command import exit_codes
from studies.command.search_options import add_search_options
from studies.engine import fields
from studies.engine.question import Question
from trainer.command.cli import Parser, add_data_options
from trainer.command.results import folder
from trainer.errors import UsageError
from trainer.mirrors.wandb_mirror import MODES

EXECUTORS = ("ray", "process")


def parser(study: Question, quick: bool = False) -> Parser:
    """The common options, and those of a search for a study that has one; ``quick``: with its defaults of ``--quick``.

    Raises:
        UsageError: a field of the declaration is not what it should be.
    """
    fields.check(study, quick)
    name, file = study.name, _command(study)
    examples = [
        f"{file} --quick",
        f"{file} --dry-run",
        f"{file} --resume                                   # after Ctrl-C, a kill or a lost machine",
        f"{file} --seeds 5 --preset cifar100_aug_30 --data-root ~/data --gpus-per-trial 1",
        f"{file} --address auto --results-dir /shared/results",
        f"{file} optim.lr=0.001 data.transform=affine --study another_name",
    ]
    p = Parser(prog=file, description=study.question, examples=examples, exits=exit_codes.MEANING)
    p.add_argument(
        "--preset",
        default="digits",
        help="a name from python -m trainer --list-presets, or a YAML file (default: digits)",
    )
    p.add_argument(
        "--seeds",
        help="how many seeds (3 means 0,1,2) or a list (0,4,7); every arm runs on all of them (default: 4)",
    )
    p.add_argument(
        "--noise-floor",
        type=int,
        default=0,
        metavar="N",
        help="first run the reference arm alone on N seeds of its own, for its spread (default: 0)",
    )
    p.add_argument(
        "--until-resolved",
        type=int,
        metavar="N",
        help="add seeds, two at a time up to N, until every primary contrast is resolved (default: no more seeds)",
    )
    p.add_argument("--epochs", type=int, help="epochs per run (default: the preset's; at most 16 with --quick)")
    p.add_argument(
        "--probe-epochs", help="further epochs, as 1,2,5, at which the frozen model is probed, for later replays"
    )
    p.add_argument("--quick", action="store_true", help="few trials and short runs, one of each level compared")
    p.add_argument("--study", help=f"name of the study's folder (default: {name}_<preset>, with _quick)")
    p.add_argument("--results-dir", type=folder, default=Path("results"), help="default: ./results")
    p.add_argument(
        "--resume", action="store_true", help="continue the study if it exists; a complete one only prints its table"
    )
    p.add_argument(
        "--full",
        action="store_true",
        help="at the end, print every table and sentence of the report, not only the answer",
    )
    p.add_argument("--dry-run", action="store_true", help="print the plan and stop")
    p.add_argument(
        "--wandb",
        choices=MODES,
        help="mirror to Weights & Biases (default: online with a key, otherwise offline, with --quick off)",
    )
    p.add_argument(
        "--tensorboard", action="store_true", help="also write TensorBoard events, to runs/<run>/tensorboard"
    )
    p.add_argument("--across-commits", action="store_true", help="re-use runs recorded by other commits")
    add_data_options(p)
    if study.space is not None:
        add_search_options(p, study)
    machine = p.add_argument_group("machine")
    machine.add_argument(
        "--executor",
        choices=EXECUTORS,
        default="ray",
        help="who starts trials: ray, or plain processes on this machine (default: ray)",
    )
    machine.add_argument("--address", help="of a running Ray cluster (default: start Ray on this machine)")
    machine.add_argument("--cpus-per-trial", type=int, default=1, help="per worker (default: 1)")
    machine.add_argument(
        "--gpus-per-trial",
        type=float,
        default=0.0,
        help="per worker; a fraction shares a GPU, once one trial alone has shown that it fits (default: 0)",
    )
    machine.add_argument(
        "--workers-per-trial", type=int, default=1, help="processes that train one run together (default: 1)"
    )
    machine.add_argument(
        "--backend",
        choices=["local", "ray-train"],
        help="local: in the trial's process; ray-train: TorchTrainer (default: local for one worker)",
    )
    machine.add_argument(
        "--max-concurrent",
        type=int,
        help=(
            "trials at once (default: as many as fit; on a cluster a higher number lets one trial wait, so that it may"
            " grow)"
        ),
    )
    machine.add_argument("--dashboard", action="store_true", help="start Ray's dashboard on loopback")
    machine.add_argument("--live", action="store_true", help="serve the study's page on loopback while it runs")
    limits = p.add_argument_group("limits", "change when things run, never what they compute")
    limits.add_argument(
        "--retries",
        type=int,
        default=2,
        help="failures of a run that are forgiven; preemptions are not counted (default: 2)",
    )
    limits.add_argument(
        "--hang-minutes",
        type=float,
        default=30.0,
        help="a run that is silent for longer is killed and tried again (default: 30)",
    )
    limits.add_argument(
        "--budget-hours", type=float, help="wall time of the study, all sessions together; then no new run is started"
    )
    limits.add_argument("--budget-usd", type=float, help="the same in money; needs --usd-per-hour")
    limits.add_argument(
        "--usd-per-hour",
        type=float,
        default=os.environ.get("STUDY_USD_PER_HOUR") or 0.0,
        help="price of everything the study runs on; gives the cost of trials and arms (default: $STUDY_USD_PER_HOUR, "
        "which a rented machine has set)",
    )
    p.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings common to all arms, for example optim.lr=0.001"
    )
    _set_defaults(p, study, quick)
    return p


def _set_defaults(p: Parser, study: Question, quick: bool) -> None:
    """A study's own defaults, read as a command line has them, and what --help says of them. Raises UsageError for one
    that no command could give."""
    known = {action.dest: action for action in p._actions if action.option_strings and action.dest != SUPPRESS}
    for field, values in (("defaults", study.defaults), *([("quick", study.quick)] if quick else [])):
        for name, value in values.items():
            if name not in known:
                raise UsageError(
                    f"{field} {name!r}: is no option of a study; it must be one of {', '.join(sorted(known))}"
                )
            try:
                read = p.parse_args(as_words(name, value, p))
            except UsageError as error:
                raise UsageError(f"{field} {name!r}: {error}") from None
            p.set_defaults(**{name: getattr(read, name)})
    for name in {**study.defaults, **study.quick}:
        head, _, usual = (known[name].help or "").partition(" (default: ")
        usual, _, in_quick = usual.removesuffix(")").partition("; ")
        if name in study.defaults:
            usual, in_quick = _said(study.defaults[name]), ""
        if name in study.quick:
            in_quick = f"{_said(study.quick[name])} with --quick"
        known[name].help = f"{head} (default: {'; '.join(filter(None, (usual, in_quick)))})"


def _said(value: Any) -> str:
    return str(value).replace("%", "%%")


def _command(study: Question) -> str:
    """How the study is started: as one of those that ship here, or as the file that runs."""
    return (
        f"python studies/{study.name}.py"
        if Path(__file__).parents[1].joinpath(f"{study.name}.py").is_file()
        else f"python {Path(sys.argv[0]).name}"
    )


def as_arguments(text: str, study: Question) -> str:
    """A message with the options it names as :meth:`studies.study.Study.run` takes them; commands in it stay."""
    known = {option: action for action in parser(study)._actions for option in action.option_strings}

    def argument(found: re.Match[str]) -> str:
        action = known.get(found[1])
        if action is None:
            return found[0]
        return action.dest + ("=True" if action.nargs == 0 else "=" if found[2] else "")

    text = re.sub(r"see python \S+ --help$", "study.main(['--help']) lists them all", text)
    text = re.sub(r"(?<=unknown option ')--([a-z-]+)", lambda found: found[1].replace("-", "_"), text)
    said = re.sub(r"\bpython -m [^;,]*|\['--help'\]|(--[a-z][a-z-]*)( (?=[\d']))?", argument, text)
    return said.replace("the same command", "the same call")


def as_words(name: str, value: Any, p: Parser | None = None) -> list[str]:
    """An option given from Python (:meth:`studies.study.Study.run`, a study's defaults) as a command line has it.

    Args:
        p: refuses True of an option that takes a value, and a value of one that is on or off.
    """
    option = f"--{name.replace('_', '-')}"
    if option in ("--help", "--version"):
        raise UsageError(f"{name}: is only an option of the command line")
    if "." in name:
        raise UsageError(f"{name}={value!r}: is no option; a setting is given as text, '{name}={value}'")
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays
        value = value.tolist()
    if value is None:
        return []
    action = next((one for one in p._actions if one.dest == name), None) if p is not None else None
    if action is not None and action.nargs == 0 and value not in (False, True):
        raise UsageError(f"{name}={value!r}: is on or off; give True or False")
    if action is not None and action.nargs != 0 and isinstance(value, bool):
        raise UsageError(f"{name}={value!r}: takes a value; give one, or leave {name} out")
    if isinstance(value, bool) or (action is not None and action.nargs == 0):
        return [option] if value else []
    if name == "warm_start" and not isinstance(value, str | os.PathLike):
        return [word for folder in value for word in (option, str(folder))]
    if isinstance(value, tuple | list | range):
        value = "".join(f"{one}," for one in value).rstrip(",") + ("," if len(value) == 1 else "")
    # one word, where the value would look like an option
    return [f"{option}={value}"] if str(value).startswith("-") else [option, str(value)]
