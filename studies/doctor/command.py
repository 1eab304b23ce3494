"""The command line of the doctor: which checks run, in which order."""

from __future__ import annotations

import os
import resource
import sys
from argparse import Namespace
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from studies.running.capacity import trials_at_once
from studies.running.processors import check_sizes, container_limits, processors_here
from trainer import presets
from trainer.command.cli import Parser, add_data_options, data_settings, split_overrides
from trainer.config import RunConfig, members
from trainer.mirrors.wandb_mirror import MODES

ABOUT = (
    "What would go wrong with a study on this machine or cluster, told beforehand: one line per check, ok, warn or"
    " FAIL, with why it matters and what to do. Exit code 0 if nothing FAILs, 1 otherwise, 2 for a wrong command."
)
EXAMPLES = (
    "python -m studies doctor",
    "python -m studies doctor --preset cifar100_aug_30 --data-root ~/data --gpus-per-trial 1",
    "python -m studies doctor --address auto --results-dir /shared/results",
)


def parser() -> Parser:
    p = Parser(prog="python -m studies doctor", description=ABOUT, examples=EXAMPLES)
    p.add_argument(
        "--preset",
        default="digits",
        help="a name from python -m trainer --list-presets, or a YAML file (default: digits)",
    )
    p.add_argument("--address", help="of a running Ray cluster (default: a study on this machine)")
    p.add_argument("--cpus-per-trial", type=int, default=1, help="per worker (default: 1)")
    p.add_argument("--gpus-per-trial", type=float, default=0.0, help="per worker; a fraction shares a GPU (default: 0)")
    p.add_argument(
        "--workers-per-trial", type=int, default=1, help="processes that train one run together (default: 1)"
    )
    p.add_argument("--results-dir", type=Path, default=Path("results"), help="default: ./results")
    p.add_argument("--wandb", choices=MODES, help="the mirror a study would be asked for")
    p.add_argument("--checksums", action="store_true", help="read all decoded images, also above 4 GB")
    add_data_options(p)
    p.add_argument(
        "overrides", nargs="*", metavar="key=value", help="settings of the study, for example data.name=cifar10"
    )
    return p


def main(argv: list[str]) -> int:
    """Print one line per check; returns 0, or 1 if any of them is a FAIL.

    Raises:
        UsageError: a wrong option, preset or override.
    """
    o = parser().parse_args(split_overrides(argv))
    check_sizes(o)
    base = presets.load(o.preset, o.overrides)
    config = presets.load(o.preset, o.overrides, data_settings(o, base.runtime.data_root, base.runtime.cache_dir))

    from studies.doctor.finding import ok, summary

    changed = f" with {' '.join(o.overrides)}" if o.overrides else ""
    sets = ", ".join(one.name for one in members(config.data))
    findings = [ok("preset", f"{o.preset}{changed}: data {sets}, {config.epochs} epochs")]
    print(findings[0].line, flush=True)
    for finding in _findings(o, config):
        findings.append(finding)
        print(finding.line, flush=True)  # as they come: a cluster may take a while
    print(f"\n{summary(findings)}")
    return int(any(finding.level == "FAIL" for finding in findings))


def _findings(o: Namespace, config: RunConfig) -> Iterator:
    from studies.doctor import inputs, local_ray, software, storage

    python, requirements, pins = software.declared()
    yield software.python(".".join(map(str, sys.version_info[:3])), python)
    yield from software.packages(requirements, pins, software.installed_version)
    vision = metadata.requires("torchvision") if software.installed_version("torchvision") else None
    yield from software.torch_pair(software.installed_version("torch"), vision or [])
    if not o.address:
        yield from _machine(o, config)
    results = o.results_dir.absolute()
    yield storage.results(results, storage.file_system(results), bool(o.address))
    yield storage.space("results", results)
    temporary = storage.temp_folder()
    yield storage.temp_path(temporary)
    yield storage.space("temp", temporary)
    yield local_ray.other_ray(local_ray.servers(), bool(o.address))
    if not o.address:
        yield local_ray.dashboard_port(local_ray.port_taken())
    yield local_ray.token(os.environ, local_ray.user_home(), bool(o.address))
    if not o.address:
        yield inputs.data(config)
        yield from inputs.shards(config, o.checksums)
    mirror = inputs.wandb(o.wandb)
    yield mirror
    if o.address:
        yield from _cluster(o, config, results, mirror.value.startswith("online"))


def _machine(o: Namespace, config: RunConfig) -> Iterator:
    from studies.doctor import accelerators, machine

    have = processors_here()  # as a study counts them
    yield machine.cpus(os.cpu_count() or 1, have, o.cpus_per_trial, o.workers_per_trial)
    gpus = o.gpus_per_trial * o.workers_per_trial
    present = any(Path("/dev").glob("nvidia[0-9]*"))
    found, fault = accelerators.ask_driver()
    at_once = max(
        1, trials_at_once([{"CPU": have, "GPU": len(found)}], o.cpus_per_trial, o.gpus_per_trial, o.workers_per_trial)
    )
    yield machine.memory(
        *machine.memory_now(), container_limits()[1], machine.image_bytes(config), o.workers_per_trial, at_once
    )
    yield machine.shared_memory(machine.shm_free())
    yield machine.open_files(*resource.getrlimit(resource.RLIMIT_NOFILE))
    needed = bool(gpus) or config.runtime.device == "cuda"
    yield from accelerators.devices(found, fault, max(gpus, float(config.runtime.device == "cuda")), present)
    if found:
        yield accelerators.torch_agrees(*accelerators.ask_torch(), len(found), needed)
    yield from accelerators.fraction(o.gpus_per_trial, found)


def _cluster(o: Namespace, config: RunConfig, results: Path, online: bool) -> Iterator:
    from studies.doctor import cluster, local_ray, storage
    from studies.doctor.finding import fail

    place = cluster.resolve(o.address, os.environ, storage.temp_folder(), bool(local_ray.servers()))
    reached = None if place is None else cluster.reach(place)
    if reached is not None and reached.level != "ok":
        yield reached
        return
    try:
        found = cluster.ask(place or o.address, results, config.model_dump(mode="json"))
    except OSError as error:
        yield fail(
            "cluster",
            "nodes were not asked",
            f"the results folder cannot be written ({error.strerror})",
            "mend that first",
        )
        return
    if "error" in found:
        yield cluster.refused(o.address, found["error"])
        return
    yield from cluster.judge(found, o.cpus_per_trial, o.gpus_per_trial, o.workers_per_trial, results, online)
