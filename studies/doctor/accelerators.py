"""GPUs as the driver, as torch, and as the trials see them. Both are asked in processes of their own, with a time
limit."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

from studies.doctor.finding import Finding, fail, ok, warn

SECONDS = 30
TORCH = (
    "import json, torch; print(json.dumps({'version': torch.__version__, 'cuda': torch.version.cuda, "
    "'available': torch.cuda.is_available(), 'count': torch.cuda.device_count()}))"
)
TO_MEND = "see that `nvidia-smi` works; in a container give docker run --gpus all"


@dataclass(frozen=True)
class Gpu:
    """One device as nvidia-smi tells: MiB, and the processes that compute on it."""

    index: str
    name: str
    total: float
    free: float
    processes: tuple[str, ...] = field(default=())


def ask_driver() -> tuple[list[Gpu], str | None]:
    """(devices, None), or no devices and why nvidia-smi did not answer."""
    text, fault = _output(
        ["nvidia-smi", "--query-gpu=index,uuid,name,memory.total,memory.free", "--format=csv,noheader,nounits"]
    )
    if fault is not None:
        return [], fault
    # without it the devices are known all the same
    apps, _ = _output(["nvidia-smi", "--query-compute-apps=gpu_uuid,pid", "--format=csv,noheader,nounits"])
    return parse(text, apps), None


def parse(devices: str, apps: str) -> list[Gpu]:
    """nvidia-smi's two lists; a number it does not know ("[N/A]") counts as 0."""
    users: dict[str, list[str]] = {}
    for row in csv.reader(apps.splitlines(), skipinitialspace=True):
        if len(row) == 2:
            users.setdefault(row[0], []).append(row[1])
    rows = [row for row in csv.reader(devices.splitlines(), skipinitialspace=True) if len(row) == 5]
    return [
        Gpu(index, name, _number(total), _number(free), tuple(users.get(uuid, ())))
        for index, uuid, name, total, free in rows
    ]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def ask_torch() -> tuple[dict[str, object], str | None]:
    """What torch sees, or why it could not be asked."""
    text, fault = _output([sys.executable, "-c", TORCH])
    return (json.loads(text.splitlines()[-1]), None) if fault is None else ({}, fault)


def _output(command: list[str]) -> tuple[str, str | None]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    except FileNotFoundError:
        return "", "not installed"
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"no answer in {SECONDS} s" if isinstance(error, subprocess.TimeoutExpired) else str(error)
    said = (done.stderr or done.stdout).strip().splitlines()
    return done.stdout.strip(), (
        None if done.returncode == 0 and done.stdout.strip() else f"{said[-1][:80] if said else 'silent'}"
    )


def devices(found: list[Gpu], fault: str | None, asked: float, present: bool) -> Iterator[Finding]:
    """Each device and its free memory, against what one trial asks.

    Args:
        asked: GPUs per trial, over all its workers.
        present: whether the system has device files of GPUs.
    """
    if not found:
        if asked or present:
            why = (
                f"nvidia-smi: {fault or 'lists none'};"
                f" {f'trials ask for {asked:g}' if asked else 'the device files are there'}"
            )
            yield (fail if asked else warn)("gpus", "none found", why, TO_MEND)
        else:
            yield ok("gpus", "none, and none asked for: trials run on the CPU")
        return
    if asked > len(found):
        yield fail(
            "gpus",
            f"{len(found)}, {asked:g} per trial",
            "not one trial could start",
            "lower --gpus-per-trial or --workers-per-trial",
        )
    for gpu in found:
        value = f"{gpu.index}: {gpu.name}, {gpu.free / 1024:.1f} of {gpu.total / 1024:.1f} GiB free"
        if asked and (gpu.processes or gpu.free < 0.9 * gpu.total):
            users = (
                f"{', '.join(gpu.processes)} compute there, memory may run out"
                if gpu.processes
                else "something holds its memory, it may run out"
            )
            yield warn("gpus", value, f"{users}", "end them, or hide it with CUDA_VISIBLE_DEVICES")
        else:
            yield ok("gpus", value)
    if not asked:
        yield ok("gpus", "not used: trials run on the CPU unless --gpus-per-trial is given")


def torch_agrees(seen: dict[str, object], fault: str | None, expected: int, needed: bool) -> Finding:
    """Whether torch can use the devices that the driver lists."""
    tell = fail if needed else warn
    if fault is not None:
        return tell(
            "gpus",
            "torch could not be asked",
            fault,
            "python -c 'import torch; print(torch.cuda.is_available())' shows all of it",
        )
    about = f"torch {seen['version']} (CUDA {seen['cuda'] or 'none: a CPU build'})"
    if not seen["available"]:
        do = (
            "install the CUDA build of torch, or a newer driver"
            if seen["cuda"] is None
            else "update the driver, or check CUDA_VISIBLE_DEVICES"
        )
        return tell("gpus", f"{about} can use none", "trials would train on the CPU or stop", do)
    if seen["count"] != expected:
        return warn(
            "gpus", f"{about} sees {seen['count']} of {expected}", "the others stay idle", "check CUDA_VISIBLE_DEVICES"
        )
    return ok("gpus", f"{about} sees {'it' if expected == 1 else f'all {expected}'}")


def fraction(asked: float, found: list[Gpu]) -> Iterator[Finding]:
    """What sharing a device means; nothing to say about whole ones."""
    if 0 < asked < 1 and found:
        together = int(1 / asked + 1e-9)
        yield ok(
            "gpus",
            f"{together} trials share one; Ray does not limit memory, a study measures its first trial before it starts"
            " others",
        )
