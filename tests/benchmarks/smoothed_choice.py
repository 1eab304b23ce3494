"""Does choosing by smoothed scores lose less than choosing the best one? On the recorded curves, both sides in one
script.

    python tests/benchmarks/smoothed_choice.py [--orders 200] [--noise 2.4] [--other-seed FILE ...]

24 of a set's 54 arms in a random order; the best of each teacher is chosen, by its score at epoch 30 or by
``studies/engine/smoothing.py``, and what it gives up is told in true points. What is true is not on record, so three
answers are given: the recorded value itself, to which a score adds seed noise (it holds one seed's luck, which no
surface can know: this is against smoothing); the surface fitted to all recorded values (of the kernel that smooths:
this is for it); and, with --other-seed, the same arms on another seed (``record_curves.py --seed``), where neither is
favoured: what the chosen arm is worth there.
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from search_spaces.step2_rate import ZERO_FROM  # noqa: E402
from studies.engine import spaces  # noqa: E402
from studies.engine.smoothing import LEAST, smoothed  # noqa: E402
from studies.replay.runs import read_runs  # noqa: E402
from studies.replay.schedulers import Strategy, strategies  # noqa: E402
from studies.replay.simulate import Machine, simulate  # noqa: E402
from studies.replay.trials import Trials  # noqa: E402
from studies.step2_rate import STUDY  # noqa: E402

RECORDED = ROOT / "studies" / "replay" / "recorded"
SETS = ("rotation", "affine", "colour")
EPOCHS, TRIALS = 30, 24
VARIANTS = spaces.variants(STUDY.space)


class Arms:
    """A set's arms: raw points, curves (arms, epochs + 1) and teachers."""

    def __init__(self, path: Path):
        runs, _, _ = read_runs([path], "linacc/z_agg@M")
        self.names = [run.arm for run in runs]
        self.raws = [_raw(run.config) for run in runs]
        self.curves = np.array([[run.values.get(epoch, math.nan) for epoch in range(EPOCHS + 1)] for run in runs])
        self.teachers = np.array([raw["teacher"] for raw in self.raws])


def _raw(config: dict) -> dict:
    objective, schedule = config["objective"], config["schedule"]
    raw = {"teacher": objective["teacher"], "lambda_rate": objective["weights"]["rate"] or ZERO_FROM}
    raw |= {"schedule": schedule["name"], "warmup_epochs": schedule["warmup_epochs"]}
    return raw | ({"ema_half_life": objective["ema"]["half_life"]} if objective["ema"] else {})


def chosen(arms: Arms, order: np.ndarray, scores: np.ndarray, rule: Strategy) -> tuple[dict[str, list[int]], bool]:
    """Per teacher the places in ``order`` chosen by raw and by smoothed scores, and whether there were enough to
    smooth."""
    curves = arms.curves[order] + (scores - arms.curves[order, EPOCHS])[:, None]
    n, teachers = len(order), arms.teachers[order]
    trials = Trials(curves, [EPOCHS] * n, [False] * n, [1.0] * n, teachers.tolist(), scores)
    reached = np.array(simulate(trials, rule.make(trials), Machine(workers=2)).at)
    there = np.flatnonzero(reached == EPOCHS)
    enough = len(there) >= LEAST
    surface = dict(zip(there, scores[there], strict=True))
    if enough:
        points = [arms.raws[order[place]] for place in there]
        surface = dict(zip(there, smoothed(VARIANTS, points, scores[there].tolist()), strict=True))
    found = {}
    for teacher in sorted(set(teachers)):
        mine = [place for place in there if teachers[place] == teacher]
        if mine:
            found[teacher] = [max(mine, key=lambda place: scores[place]), max(mine, key=surface.__getitem__)]
    return found, enough


def compare(arms: Arms, truth: np.ndarray, observed: np.ndarray, noise: float, rule: Strategy, orders: int) -> str:
    """A row's cells: what raw and smoothed choices give up, their difference over orders, and how often one was
    smoothed."""
    lost, smooth = [], 0
    for number in range(orders):
        random = np.random.default_rng(number)
        order = random.permutation(len(truth))[:TRIALS]
        scores = observed[order] + noise * random.standard_normal(len(order))
        found, enough = chosen(arms, order, scores, rule)
        smooth += enough
        pairs = []
        for teacher, places in found.items():
            best = truth[order][arms.teachers[order] == teacher].max()
            pairs.append([best - truth[order[place]] for place in places])
        lost.append(np.mean(pairs, axis=0))
    raw, by_surface = np.mean(lost, axis=0)
    gain = np.subtract(*np.transpose(lost))
    half = 1.96 * gain.std(ddof=1) / math.sqrt(orders)
    return f"{raw:.2f} | {by_surface:.2f} | {-gain.mean():+.2f} ± {half:.2f} | {100 * smooth / orders:.0f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--orders", type=int, default=200)
    parser.add_argument("--noise", type=float, default=2.4, help="s.d. over seeds, points (default: 2.4)")
    parser.add_argument("--other-seed", type=Path, action="append", default=[], help="<set>_seed<n>.jsonl.gz")
    o = parser.parse_args()
    rules = strategies(EPOCHS, ("full", "asha"), (3,), (4,), (), ())
    others = {path.name.partition("_")[0]: path for path in o.other_seed}
    print(f"{o.orders} orders of {TRIALS} arms; ± over orders of the same arms, not over arms\n")
    print("| set | stopping | what is true | raw gives up | smoothed | smoothed - raw | smoothed at all |")
    print("|---" * 7 + "|")
    for name in SETS:
        arms = Arms(RECORDED / f"{name}.jsonl.gz")
        ends = arms.curves[:, EPOCHS]
        surface = np.array(smoothed(VARIANTS, arms.raws, ends.tolist()))
        for rule in rules:
            for words, truth in (("recorded value", ends), ("fitted surface", surface)):
                print(f"| {name} | {rule.name} | {words} | {compare(arms, truth, truth, o.noise, rule, o.orders)} |")
            if name in others:
                again = Arms(others[name])
                common = [place for place, arm in enumerate(arms.names) if arm in again.names]
                truth = np.array([again.curves[again.names.index(arms.names[place]), EPOCHS] for place in common])
                part = _part(arms, common)
                cells = compare(part, truth, part.curves[:, EPOCHS], 0.0, rule, o.orders)
                print(f"| {name} | {rule.name} | another seed, {len(common)} arms | {cells} |", flush=True)


def _part(arms: Arms, places: list[int]) -> Arms:
    part = Arms.__new__(Arms)
    part.names, part.raws = [arms.names[place] for place in places], [arms.raws[place] for place in places]
    part.curves, part.teachers = arms.curves[places], arms.teachers[places]
    return part


if __name__ == "__main__":
    main()
