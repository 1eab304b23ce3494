"""Everything that only a GPU can say, in one command of at most 8 minutes, without Ray and without a network.

    python tests/gpu/verify.py --out report              # writes report.md and report.json
    torchrun --nproc-per-node 2 tests/gpu/verify.py --workers    # several GPUs: speed, and the same numbers as one

Needs torch 2.11 or newer, torchvision, pydantic, PyYAML, scikit-learn and pytest; images are generated. A part that
fails is reported and the next one runs; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent / "benchmarks"), str(ROOT)]

import torch  # noqa: E402
from attention_cost import KINDS, TOKENS, costs, exponent  # noqa: E402
from training import WAYS, Training, paper  # noqa: E402

from trainer import presets  # noqa: E402

CUDA_TESTS = ["tests/test_rendering.py", "tests/test_store.py", "tests/test_memory.py", "tests/test_captured.py"]
IMAGES = 50_000
"""Of an epoch of the paper's run."""
Rows = dict[str, Any]


def card() -> Rows:
    """What was measured on."""
    driver = subprocess.run(
        ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True
    )
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    seconds = min(_seconds(lambda: torch.mm(a, b)) for _ in range(10))
    source, target = (torch.empty(2**30, device="cuda", dtype=torch.uint8) for _ in range(2))
    copying = min(_seconds(lambda: target.copy_(source)) for _ in range(10))
    return {
        "card": torch.cuda.get_device_name(),
        "driver": driver.stdout.strip().splitlines()[0] if driver.stdout else "unknown",
        "torch": torch.__version__,
        "cuDNN": torch.backends.cudnn.version(),
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "bf16 GEMM TFLOP/s": 2 * 8192**3 / seconds / 1e12,
        "copy TB/s": 2 * 2**30 / copying / 1e12,
    }


def cuda_tests() -> Rows:
    """The tests that CI skips."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-rA", *CUDA_TESTS, "-k", "cuda"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    outcomes = re.findall(r"^(PASSED|FAILED|ERROR|SKIPPED) (\S+)", run.stdout, re.MULTILINE)
    if run.returncode:
        raise RuntimeError("\n".join(run.stdout.splitlines()[-30:]))
    return {test: outcome.lower() for outcome, test in outcomes}


def reference() -> Rows:
    """The same step written the usual way: transforms per image in loader processes, fp32."""
    cores = os.cpu_count() or 1
    command = [
        sys.executable,
        str(HERE.parent / "benchmarks" / "reference_loop.py"),
        "1",
        str(cores),
        "20",
        "cuda",
        "512",
    ]
    speed = float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.split()[-1])
    return {"loader processes": cores, "sequences/s": speed, "s/epoch": IMAGES / speed}


def step() -> dict[str, Rows]:
    """The paper's step in three ways: time, launches, memory, and where the kernels' time goes."""
    found = {}
    for way in WAYS:
        torch.cuda.reset_peak_memory_stats()
        clock = time.perf_counter()
        training = Training(paper(), way, torch.device("cuda"))
        training.run(6)
        torch.cuda.synchronize()
        ready = time.perf_counter() - clock
        milliseconds = training.milliseconds(40)
        count, kernels, rows = training.launches()
        found[way] = {
            "ready after s": ready,
            "ms/step": milliseconds,
            "sequences/s": 512e3 / milliseconds,
            "s/epoch without probes": IMAGES // 512 * milliseconds / 1e3,
            "kernels/step": count,
            "kernel ms/step": kernels,
            "device idle %": max(0.0, 100 * (1 - kernels / milliseconds)),
            "peak GiB": torch.cuda.max_memory_allocated() / 2**30,
            **{f"{part} ms": value for part, value in _parts(rows).items()},
        }
        del training
        torch.cuda.empty_cache()
    return found


def live_probes() -> Rows:
    """What the metrics at the end of an epoch cost."""
    from trainer.families.seq_jepa.probing.features import Harvest

    training = Training(paper(), "plain", torch.device("cuda"))
    probes, seconds = training.probes, []
    for _ in range(3):
        harvest = Harvest()
        for _ in range(4):
            kept, _ = training.step(training.done)
            harvest.add(kept, kept["labels"])
            training.done += 1
        seconds.append(_seconds(lambda: probes.health.live(training.method, harvest, probes.online)))  # noqa: B023
    full = _seconds(lambda: probes.health.probe(training.method))
    return {"first live s": seconds[0], "live s": min(seconds[1:]), "all probes s": full}


def curves() -> Rows:
    """Losses of the captured step against the plain one over 200 steps: they may differ by at most 2 % of the loss's
    start."""
    settings = ["model.dropout=0", "optim.batch_size=256"]
    losses = {
        way: torch.stack(Training(paper(*settings), way, torch.device("cuda")).run(200)).cpu()
        for way in ("plain", "captured")
    }
    means = {way: values.view(10, 20).mean(1) for way, values in losses.items()}
    worst = float((means["captured"] - means["plain"]).abs().max() / losses["plain"][0])
    first = float((losses["captured"][:3] - losses["plain"][:3]).abs().max() / losses["plain"][0])
    if worst > 0.02:
        raise RuntimeError(f"means over 20 steps differ by {100 * worst:.2f} % of the first loss, at most 2 % may be")
    return {
        "first 3 steps differ by %": 100 * first,
        "means over 20 steps differ by at most %": 100 * worst,
        "last": float(losses["captured"][-1]),
    }


def digits() -> Rows:
    """The digits run, whole: plain, captured, and two captured ones at once on this card."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:

        def start(name: str, compiled: str) -> subprocess.Popen:
            command = [
                sys.executable,
                "-m",
                "trainer",
                "--preset",
                "digits",
                "--device",
                "cuda",
                "--gate",
                "none",
                "--epochs",
                "30",
            ]
            out = open(Path(folder) / f"{name}.log", "w")  # noqa: SIM115
            return subprocess.Popen(
                [*command, f"runtime.compile={compiled}", "--results-dir", f"{folder}/{name}"],
                cwd=ROOT,
                stdout=out,
                stderr=out,
            )

        for name, compiled, count in (
            ("plain", "false", 1),
            ("captured", "true", 1),
            ("two captured at once", "true", 2),
        ):
            clock = time.perf_counter()
            runs = [start(f"{name.replace(' ', '-')}-{i}", compiled) for i in range(count)]
            codes = [run.wait(timeout=120) for run in runs]
            if any(codes):
                raise RuntimeError("\n".join(path.read_text()[-1500:] for path in Path(folder).glob("*.log")))
            found[f"{name}: whole command s"] = time.perf_counter() - clock
            lines = [
                json.loads(line)
                for line in next(Path(folder).glob(f"{name.replace(' ', '-')}-0/*/runs/*/records.jsonl")).open()
            ]
            seconds = [line["seconds"] for line in lines if line["event"] == "eval" and line["epoch"]]
            found[f"{name}: training ms/epoch"] = 1e3 * sorted(s["train"] for s in seconds)[len(seconds) // 2]
            found[f"{name}: probes ms/epoch"] = 1e3 * sorted(s["probes"] for s in seconds)[len(seconds) // 2]
            found[f"{name}: linacc at the end"] = [
                line["metrics"].get("linacc/z_agg@3") for line in lines if line["event"] == "eval"
            ][-1]
    return found


def workers() -> Rows:
    """Under torchrun: sequences/s of all GPUs together, and two steps equal to one GPU's in double precision."""
    import torch.distributed as dist

    from trainer import world
    from trainer.loop import train

    torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl")
    with tempfile.TemporaryDirectory() as folder:
        box = [folder]
        dist.broadcast_object_list(box, src=0)
        run = presets.load(
            "digits",
            ["precision=fp64", "eval.probe_epochs=[1]", "objective.teacher=ema", "objective.ema.half_life=0.1"],
            {"epochs": 1},
        )
        together = train(run, Path(box[0]) / "together")
    speed = _workers_speed()
    size = world.size()
    dist.destroy_process_group()
    if int(os.environ["RANK"]):
        return {}
    with tempfile.TemporaryDirectory() as folder:
        alone = train(run, Path(folder))
    name = "predict/z_hat@3"
    difference = abs(together[name] - alone[name])
    if difference > 1e-9:
        raise RuntimeError(f"{size} GPUs and one differ by {difference:.1e} in {name}; at most 1e-9 may be")
    return {"GPUs": size, "sequences/s": speed, "difference to one GPU": difference}


def _workers_speed() -> float:
    from functools import partial

    from trainer import world
    from trainer.data.images import load_images
    from trainer.data.views import Views
    from trainer.families.seq_jepa.method import SeqJEPA
    from trainer.step import distributed, make_optimiser, optimise

    device = torch.device("cuda", torch.cuda.current_device())
    config = paper(f"optim.batch_size={512 * world.size()}")
    views = Views(config, load_images(config).to(device, 8192), torch.float32, world.rank(), world.size())
    method = SeqJEPA(config, 3, views.action_dim).to(device, memory_format=torch.channels_last)
    model, optimiser = distributed(method), make_optimiser(config, method)
    one = partial(optimise, config)
    for number in range(5):
        one(number, model, method, optimiser, views.next())
    steps = 20
    seconds = _seconds(lambda: [one(number, model, method, optimiser, views.next()) for number in range(5, 5 + steps)])
    return steps * config.optim.batch_size / seconds


def _parts(rows: list[tuple[str, float, float]]) -> dict[str, float]:
    """Kernel milliseconds by kind, from the kernels' names."""
    kinds = {
        "reductions (triton)": r"^triton_(red|per)",
        "pointwise (triton)": r"^triton_poi",
        "convolutions and products": r"xmma|cutlass|gemm|nvjet|cudnn|convolution",
        "batch-norm": r"batch_norm",
        "optimiser": r"multi_tensor",
    }
    parts = dict.fromkeys([*kinds, "rest"], 0.0)
    for name, milliseconds, _ in rows:
        parts[next((kind for kind, pattern in kinds.items() if re.search(pattern, name)), "rest")] += milliseconds
    return parts


def _seconds(action: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    clock = time.perf_counter()
    action()
    torch.cuda.synchronize()
    return time.perf_counter() - clock


def attention(device: str = "cuda") -> dict[str, Rows]:
    """One layer of width 640 and 4 heads, fp32, batch 1: ms forward and backward, and MiB, by kind and tokens."""
    found: dict[str, Rows] = {name: {} for name in KINDS}
    times: dict[str, list[float]] = {name: [] for name in KINDS}
    for tokens, name, (forward, backward, peak) in costs(device, width=640, heads=4, repeats=5):
        times[name].append(forward + backward)
        found[name][f"{tokens} tokens"] = f"{1e3 * forward:.3f} + {1e3 * backward:.3f} ms, {peak:.1f} MiB"
    for name, seconds in times.items():
        found[name][f"exponent over {TOKENS[-3]} to {TOKENS[-1]} tokens"] = exponent(seconds)
    return found


def markdown(report: dict[str, Any]) -> str:
    lines = ["# GPU report", "", f"`python tests/gpu/verify.py`, {report['at']}, {report['seconds']:.0f} s", ""]
    for name, part in report["parts"].items():
        lines += [f"## {name}", ""]
        if "failed" in part:
            lines += ["**Failed:**", "", "```", *str(part["failed"]).splitlines(), "```", ""]
            continue
        nested = part if part and all(isinstance(value, dict) for value in part.values()) else {"": part}
        names = list(dict.fromkeys(key for column in nested.values() for key in column))
        lines += [f"| | {' | '.join(nested)} |", "|---|" + "---|" * len(nested)]
        lines += [
            f"| {key} | " + " | ".join(_shown(column.get(key)) for column in nested.values()) + " |" for key in names
        ] + [""]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=Path("gpu-report"), help="path without suffix (default: ./gpu-report)"
    )
    parser.add_argument("--workers", action="store_true", help="under torchrun: only the several-GPU figures")
    parser.add_argument("--only", nargs="*", default=[], help="names of parts")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print(
            f"torch {torch.__version__} sees no CUDA device: run this on a machine with an NVIDIA GPU and a CUDA build"
            " of torch"
        )
        return 2
    parts = (
        [workers] if options.workers else [card, cuda_tests, step, reference, live_probes, attention, curves, digits]
    )
    parts = [part for part in parts if not options.only or part.__name__ in options.only]
    begun, report = time.perf_counter(), {"at": time.strftime("%Y-%m-%d"), "parts": {}}
    for part in parts:
        clock = time.perf_counter()
        try:
            report["parts"][part.__name__] = part()
        except Exception as error:  # one part's failure is its report, not the end of the others
            report["parts"][part.__name__] = {
                "failed": f"{type(error).__name__}: {error}\n{traceback.format_exc(limit=-3)}".replace(f"{ROOT}/", "")
            }
        print(f"{part.__name__}: {time.perf_counter() - clock:.0f} s", file=sys.stderr, flush=True)
        report["seconds"] = time.perf_counter() - begun
        if not int(os.environ.get("RANK", 0)):
            options.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
            options.out.with_suffix(".md").write_text(markdown(report))
    if not int(os.environ.get("RANK", 0)):
        print(markdown(report))
    return int(any("failed" in part for part in report["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
