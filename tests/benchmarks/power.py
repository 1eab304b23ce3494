"""How often the studies' verdicts are wrong, and what differences they find: the table in analysis/README.md.

    python tests/benchmarks/power.py [--studies 4000]

Simulated seeds go through the functions that make the report's words. Differences are in standard deviations of the
paired difference between two arms, which is 1.4 times that of one arm over seeds where arms vary independently.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from analysis.statistics.family import BETTER, WORSE, decide  # noqa: E402
from analysis.statistics.paired import paired  # noqa: E402
from studies import step2_grid, step2_rate  # noqa: E402
from studies.engine.contrasts import Declaration  # noqa: E402

STUDIES = {one.STUDY.name: one.STUDY.declaration(one.STUDY.fixed_arms(False)) for one in (step2_rate, step2_grid)}
SEEDS = (3, 5, 8)
SHAPES = ("normal", "t3", "unequal variances")


def drawn(shape: str, random: np.random.Generator, size: tuple[int, int, int]) -> np.ndarray:
    """(studies, arms, seeds) of noise, as the test draws it."""
    if shape == "t3":
        return random.standard_t(3, size)
    noise = random.standard_normal(size)
    return noise * 10 ** random.uniform(-0.5, 0.5, (*size[:2], 1)) if shape == "unequal variances" else noise


def verdicts(declaration: Declaration, values: np.ndarray, keys: list[str]) -> list[str]:
    by_key = {key: dict(enumerate(row)) for key, row in zip(keys, values.tolist(), strict=True)}
    return [
        one.verdict for one in decide([paired(by_key[one.arm], by_key[one.reference]) for one in declaration.contrasts])
    ]


def any_word(declaration: Declaration, shape: str, seeds: int, studies: int) -> float:
    """Part of the studies without any difference in which a word is said."""
    keys = _keys(declaration)
    noise = drawn(shape, np.random.default_rng(seeds), (studies, len(keys), seeds))
    return float(np.mean([bool({BETTER, WORSE} & set(verdicts(declaration, one, keys))) for one in noise]))


def found(declaration: Declaration, size: float, seeds: int, studies: int) -> float:
    """Part of the studies that resolve the first contrast, where it alone has a true difference."""
    keys = _keys(declaration)
    noise = np.random.default_rng(seeds).standard_normal((studies, len(keys), seeds)) / np.sqrt(2)
    noise[:, keys.index(declaration.contrasts[0].reference)] -= size  # an arm of no other contrast
    return float(np.mean([verdicts(declaration, one, keys)[0] == BETTER for one in noise]))


def _keys(declaration: Declaration) -> list[str]:
    return sorted({key for one in declaration.contrasts for key in (one.arm, one.reference)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=4000)
    count = parser.parse_args().studies
    print(f"{count} simulated studies a cell\n")
    powers = " | ".join(f"{size:g} s.d., n = {seeds}" for size in (1, 2) for seeds in SEEDS)
    print(f"| study | contrasts | any word, nothing differs (largest of {', '.join(SHAPES)}; n = 3, 5, 8) | {powers} |")
    print("|---" * (3 + 2 * len(SEEDS)) + "|")
    for name, declaration in STUDIES.items():
        wrong = max(any_word(declaration, shape, seeds, count) for shape in SHAPES for seeds in SEEDS)
        cells = [f"{100 * found(declaration, size, seeds, count):.0f} %" for size in (1.0, 2.0) for seeds in SEEDS]
        print(f"| {name} | {len(declaration.contrasts)} | {100 * wrong:.1f} % | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
