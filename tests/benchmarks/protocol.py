"""What a whole study decides, search and verdict together, under two protocols. Run by hand:
``python tests/benchmarks/protocol.py [SET ...] [--orders 500]``.

Searches are replayed from the recorded curves with the study's own stopping rules. What follows them is simulated: the
record has one seed per arm, so an arm's true value is drawn from its posterior, given the recorded value, a seed's s.d.
of 2.4 points (measured on digits) and the spread of the arms of its level; race and verdict values are the true value
plus noise. The reference of an arm has the mean of the recorded arms without the rate. Decisions are those of
``analysis.statistics.family`` on three contrasts. A null study is the same with curves and values that are noise alone.

old: asha that only stops, the best three of each level on 3 seeds. new: gates, three race on one seed, the winner on 4.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from analysis.statistics.family import BETTER, WORSE, decide
from analysis.statistics.paired import paired
from studies.engine.stopping import RULES, Rule
from studies.replay.curves import METRIC, Recorded, read_curves
from studies.replay.schedulers import Ruled
from studies.replay.simulate import Machine, simulate
from studies.replay.trials import Pool, Trials

RECORDED = Path(__file__).resolve().parents[2] / "studies" / "replay" / "recorded"
SEED_SD, EPOCHS, TRIALS, LEVEL = 2.4, 30, 24, "objective.teacher"
RATE = "objective.weights.rate"


@dataclass(frozen=True)
class Protocol:
    name: str
    rule: Callable[[], Rule]
    top: int
    race: int
    seeds: int


PROTOCOLS = (
    Protocol("old: asha-stop, top 3 x 3 seeds", lambda: RULES["asha-stop"](EPOCHS), 3, 0, 3),
    Protocol("asha, race, 4 seeds", lambda: RULES["asha"](EPOCHS), 3, 1, 4),
    Protocol("new: gate, race, 4 seeds", lambda: RULES["gate"](EPOCHS), 3, 1, 4),
)


@dataclass(frozen=True)
class World:
    """Arms of a set: recorded curves, levels, whether they may be chosen, and what is believed of their true values."""

    pool: Pool
    eligible: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    zero: dict[str, float]

    @classmethod
    def of(cls, recorded: Recorded, rates: dict[str, float]) -> World:
        pool = Pool(recorded, 1.0)
        final = np.where(np.isfinite(pool.final), pool.final, np.nanmin(pool.final))
        rate = np.array([rates[curve.run] for curve in recorded.curves])
        mean, sd, zero = np.empty(len(final)), np.empty(len(final)), {}
        for level in set(pool.brackets):
            here = pool.brackets == level
            spread = max(final[here].var(ddof=1) - SEED_SD**2, 0.1)
            weight = spread / (spread + SEED_SD**2)
            mean[here] = weight * final[here] + (1 - weight) * final[here].mean()
            sd[here] = np.sqrt(weight) * SEED_SD
            zero[level] = float(mean[here & (rate == 0)].mean())
        return cls(pool, rate > 0, mean, sd, zero)


def study(world: World, protocol: Protocol, random: np.random.Generator, null: bool) -> tuple[float, ...]:
    """(epochs, mean true regret of the levels, share within 1 point, share of repairs resolved, any verdict word)."""
    rows = random.permutation(len(world.eligible))[:TRIALS]
    truth = world.mean[rows] + world.sd[rows] * random.standard_normal(TRIALS)
    pool = world.pool
    values = pool.values[rows]
    if null:
        truth = np.full(TRIALS, 50.0)
        values = truth[:, None] + SEED_SD * random.standard_normal(values.shape)
    levels = [str(level) for level in pool.brackets[rows]]
    seconds, length = [1.0] * TRIALS, [EPOCHS] * TRIALS
    trials = Trials(values, length, [False] * TRIALS, seconds, levels, truth)
    out = simulate(trials, Ruled(trials, protocol.rule()), Machine(2), "0")
    names, regrets, family, best = sorted(set(levels)), [], [], {}
    draw = lambda value, n: dict(enumerate(value + SEED_SD * random.standard_normal(n)))  # noqa: E731
    for level in names:
        own = [n for n in range(TRIALS) if levels[n] == level and world.eligible[rows[n]]]
        own.sort(key=lambda n: (-out.at[n], -values[n, out.at[n]]))
        top = own[: protocol.top]
        if protocol.race:
            whole = all(out.at[n] == EPOCHS for n in top)
            raced = {n: [*draw(truth[n], protocol.race).values()] + [values[n, -1]] * whole for n in top}
            top = sorted(top, key=lambda n: -float(np.mean(raced[n])))
        chosen = top[0]
        regrets.append(truth[own].max() - truth[chosen])
        best[level] = draw(truth[chosen], protocol.seeds)
        family.append(paired(best[level], draw(50.0 if null else world.zero[level], protocol.seeds)))
    family.append(paired(best[names[1]], best[names[0]]))
    words = [one.verdict in (BETTER, WORSE) for one in decide(family)]
    arms = len(names) * ((1 if protocol.race else protocol.top) + 1) + 1
    runs = len(names) * protocol.top * protocol.race + arms * protocol.seeds
    within = float(np.mean([regret <= 1 for regret in regrets]))
    return out.epochs + runs * EPOCHS, float(np.mean(regrets)), within, float(np.mean(words[:2])), float(any(words))


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("sets", nargs="*", default=["rotation", "affine", "colour"])
    p.add_argument("--folder", type=Path, default=RECORDED)
    p.add_argument("--orders", type=int, default=500)
    o = p.parse_args()
    print(f"{'set':<9} {'protocol':<32} epochs  regret [95 %]      P(<=1)  P(resolved)  false word")
    for name in o.sets:
        read = [read_curves([o.folder / f"{name}.jsonl.gz"], METRIC, EPOCHS, None, by) for by in (LEVEL, RATE)]
        world = World.of(read[0], {curve.run: float(curve.bracket) for curve in read[1].curves})
        for protocol in PROTOCOLS:
            rows = np.array([study(world, protocol, np.random.default_rng([1, k]), False) for k in range(o.orders)])
            null = np.array([study(world, protocol, np.random.default_rng([2, k]), True) for k in range(o.orders)])
            epochs, regret, within, resolved, _ = rows.mean(0)
            half = 1.96 * rows[:, 1].std(ddof=1) / np.sqrt(len(rows))
            print(
                f"{name:<9} {protocol.name:<32} {epochs:>6.0f}  {regret:.2f} [{regret - half:.2f}, {regret + half:.2f}]"
                f"  {within:>6.2f}  {resolved:>11.2f}  {null[:, 4].mean():>10.3f}"
            )


if __name__ == "__main__":
    main()
