"""The default stopping rule against another on recorded curves, with an interval over arms. Run by hand:
``python tests/benchmarks/judge_rule.py SET [--rule gate] [--against asha]``.

Orders of the same arms say little about other arms, so arms are drawn with replacement; each drawn set is searched in
several orders of 24 trials, teachers apart, by both rules. Printed are epochs and regret of both, and the difference of
the regrets with its 95 % percentile interval over the drawn sets.

The default was chosen on rotation, affine and colour; ``quarter`` was recorded afterwards to judge it once.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from studies.engine.stopping import RULES
from studies.replay.compare import regret
from studies.replay.curves import METRIC, read_curves
from studies.replay.schedulers import Ruled
from studies.replay.simulate import Machine, simulate
from studies.replay.trials import Pool

RECORDED = Path(__file__).resolve().parents[2] / "studies" / "replay" / "recorded"


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("set")
    p.add_argument("--rule", choices=RULES, default="gate")
    p.add_argument("--against", choices=RULES, default="asha")
    p.add_argument("--folder", type=Path, default=RECORDED)
    p.add_argument("--draws", type=int, default=300)
    p.add_argument("--orders", type=int, default=10)
    p.add_argument("--trials", type=int, default=24)
    o = p.parse_args()
    pool = Pool(read_curves([o.folder / f"{o.set}.jsonl.gz"], METRIC, 30, None, "objective.teacher"), 1.0)
    rows = []
    for draw in range(o.draws):
        random = np.random.default_rng([0, draw])
        arms = random.integers(len(pool.arms), size=len(pool.arms))
        for _ in range(o.orders):
            chosen = random.choice(arms, size=o.trials, replace=False)
            trials = pool._trials(chosen, pool.values[chosen], pool.truth[chosen])
            out = [simulate(trials, Ruled(trials, RULES[name](30)), Machine(2)) for name in (o.rule, o.against)]
            rows.append([draw, *(value for one in out for value in (one.epochs, regret(trials, one.picks)))])
    table = np.array(rows)
    by_draw = np.array([table[table[:, 0] == draw, 1:].mean(0) for draw in range(o.draws)])
    difference = by_draw[:, 1] - by_draw[:, 3]
    low, high = np.percentile(difference, [2.5, 97.5])
    epochs, lost, other_epochs, other_lost = table[:, 1:].mean(0)
    print(f"{o.set}, {o.trials} trials, {o.draws} draws of {len(pool.arms)} arms, {o.orders} orders each")
    print(f"{o.rule:<10} {epochs:.0f} epochs, regret {lost:.2f}")
    print(f"{o.against:<10} {other_epochs:.0f} epochs, regret {other_lost:.2f}")
    print(f"regret of {o.rule} minus {o.against}: {difference.mean():+.2f} [{low:+.2f}, {high:+.2f}]")


if __name__ == "__main__":
    main()
