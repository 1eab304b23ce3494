"""Records full-length learning curves for the replay. Run by hand: ``python tests/benchmarks/record_curves.py --set
rotation``.

Arms are drawn at random from the search space of step 2, teachers alternating, and trained to the end on one seed:
nothing is stopped, so any stopping rule can be tried on them afterwards. What a replay or a reader needs goes into one
small file, ``studies/replay/recorded/<set>.jsonl.gz``; the full records stay under ``--out``. Ctrl-C and the same
command again continues. 54 arms of one set take 10 to 25 minutes on two cores.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import pickle
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from studies.step2_rate import STUDY
from trainer import presets
from trainer.config import RunConfig
from trainer.record.identity import run_id
from trainer.record.run import read, write_atomically

RECORDED = Path(__file__).resolve().parents[2] / "studies" / "replay" / "recorded"
SEED = 1000
PROBED = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 18, 20, 24, 27, 30)
COLOURED = Path("results") / "coloured_digits"  # a relative path: it is part of every record
COLOUR: dict[str, Any] = {
    "data.name": "cifar10",
    "data.transform": "augment",
    "data.sizes": [1100, 300, 397],
    "data.canvas": 24,  # from 21 on the blur has more than one pixel to work with
    "data.content": None,
    "data.max_angle": None,
    "data.augment": {"crop_scale": [0.4, 1.0], "flip": 0.0},
    "optim.lr": 1e-3,  # at the preset's 2e-3 the accuracy with rate 0.1 had gained nothing by epoch 10
    "runtime.data_root": str(COLOURED),
    "runtime.own_files": True,
}
QUARTER: dict[str, Any] = {
    "data.name": "cifar10",
    "data.angle_steps": 4,
    "data.sizes": [1100, 300, 397],
    "data.canvas": 12,
    "data.content": 12,
    "model.encoder.width": 10,
    "runtime.data_root": str(COLOURED),
    "runtime.own_files": True,
}
SETS: dict[str, dict[str, Any]] = {
    "rotation": {},
    "affine": {"data.transform": "affine"},
    "colour": COLOUR,
    "quarter": QUARTER,
}
"""What differs from the preset digits. colour: the same digits in random colours, read as CIFAR-10 and cropped,
jittered
and blurred: other images, another transformation and nine action components instead of one or four. quarter: those
images again under quarter turns, with a wider encoder; recorded after the default stopping rule had been chosen."""

KEPT = ("linacc/", "r2_action.", "rank_pr/", "predict/")


def draws(count: int) -> list[dict[str, Any]]:
    """The first ``count`` points of a seeded random search over the space; the teacher is not the sampler's to
    choose."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=SEED))
    points = []
    for number in range(count):
        study.enqueue_trial(STUDY.stratum(number))
        points.append(STUDY.space(study.ask()))
    return points


def config(name: str, point: dict[str, Any], seed: int = SEED) -> RunConfig:
    """The full-length run of a point on a set; on another seed it is probed at its end only, as a value to compare
    with."""
    fixed = {
        "seed": seed,
        "epochs": 30,
        "eval.probe_epochs": list(PROBED if seed == SEED else PROBED[-1:]),
        "runtime.device": "cpu",
        "runtime.threads": 1,
    }
    return presets.load("digits", (), {**SETS[name], **point, **fixed})


def record(run: RunConfig, runs: Path, study: str) -> dict[str, Any]:
    """Train one run in this process, or finish it."""
    from trainer.loop import train

    return train(run, runs, study)


def write_coloured_digits(root: Path) -> None:
    """scikit-learn's digits in CIFAR-10's format: enlarged to 32 pixels, bright ink on dark paper of random tints.

    The first 1,400 images stand for CIFAR's training batches and the last 397 for its test batch. Colours say nothing
    of the class.
    """
    from PIL import Image
    from sklearn.datasets import load_digits

    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True, exist_ok=True)
    digits, random = load_digits(), np.random.default_rng(0)
    rows = []
    for pixels in digits.images:
        ink = np.asarray(Image.fromarray(np.uint8(pixels * 255 / 16)).resize((32, 32), Image.Resampling.BILINEAR)) / 255
        # always bright on dark: with any two colours this small encoder stayed at chance, and with paler ones (up to
        # 90, from 150) it learnt the colours and forgot the digits
        paper, colour = random.uniform(0, 40, 3), random.uniform(180, 255, 3)
        rows.append(np.round(paper[:, None, None] + (colour - paper)[:, None, None] * ink).astype(np.uint8).reshape(-1))
    _pickle(folder / "batches.meta", {"label_names": [str(digit) for digit in range(10)]})
    for name, first, last in [
        *((f"data_batch_{k + 1}", 280 * k, 280 * (k + 1)) for k in range(5)),
        ("test_batch", 1400, 1797),
    ]:
        _pickle(folder / name, {"data": np.stack(rows[first:last]), "labels": digits.target[first:last].tolist()})


def _pickle(path: Path, content: dict[str, Any]) -> None:
    temporary = path.with_suffix(".part")
    temporary.write_bytes(pickle.dumps(content, protocol=2))
    os.replace(temporary, path)


def small(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of one run that a replay or a reader needs: its validation rows and how it ended."""
    for line in read(path):
        if line["event"] == "stop" or (line["event"] == "eval" and line["split"] == "validation"):
            # time is kept for every epoch, so that a replay's clock is right; metrics where the probes ran
            line["metrics"] = {
                name: value if value is None else round(value, 4)
                for name, value in line["metrics"].items()
                if name.startswith(KEPT)
            }
            if "seconds" in line:
                line["seconds"] = {"all": round(sum(line["seconds"].values()), 2)}
            if "provenance" in line:
                line["provenance"] = {key: value for key, value in line["provenance"].items() if key != "host"}
            for key in ("core_seconds", "samples_seen", "gate", "compiled", "workers"):
                line.pop(key, None)
            yield line


def pack(runs: Path, names: list[str], path: Path) -> int:
    """Write the completed runs into one file, equal bytes for equal records; returns how many there were."""
    text, done = [], 0
    for name in names:
        lines = list(small(runs / name / "records.jsonl"))
        if lines and lines[-1]["event"] == "stop":
            text += [json.dumps(line, separators=(",", ":")) + "\n" for line in lines]
            done += 1
    write_atomically(path, gzip.compress("".join(text).encode(), 9, mtime=0))
    return done


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--set", required=True, choices=SETS)
    p.add_argument("--arms", type=int, default=54)
    p.add_argument("--seed", type=int, default=SEED, help="of the runs; the arms stay (default: 1000)")
    p.add_argument("--processes", type=int, default=2)
    p.add_argument("--out", type=Path, default=Path("results") / "curves", help="folder of the full records")
    p.add_argument("--packed", type=Path, default=RECORDED, help="folder of the small file")
    o = p.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    if SETS[o.set].get("data.name") == "cifar10" and not (COLOURED / "cifar-10-batches-py" / "test_batch").exists():
        write_coloured_digits(COLOURED)
    runs, study = o.out / o.set / "runs", f"curves_{o.set}"
    planned = [config(o.set, point, o.seed) for point in draws(o.arms)]
    with ProcessPoolExecutor(o.processes, get_context("spawn"), os.nice, (5,)) as pool:
        started = {pool.submit(record, run, runs, study): run for run in planned}
        for number, future in enumerate(as_completed(started), start=1):
            run, last = started[future], future.result()
            print(f"{number}/{o.arms} {run_id(run)} {run.objective.teacher} rate {run.objective.weights.rate:.4g}: "
                  f"{last['score']} ({last['stopped']})", flush=True)  # fmt: skip
    path = o.packed / f"{o.set}{'' if o.seed == SEED else f'_seed{o.seed}'}.jsonl.gz"
    done = pack(runs, [run_id(run) for run in planned], path)
    print(f"{done} runs, {path.stat().st_size / 1024:.0f} KiB: {path}")


if __name__ == "__main__":
    main()
