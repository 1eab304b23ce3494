"""What white-box layers do to tokens: rates inside and outside their subspaces, how sparse their codes are, and what
their heads tell apart."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from trainer.subspace.rates import rate, unit

PRESENT = 1e-6
"""An entry of a code counts from here on; exact zeros are counted apart."""
DRAWS, LEVEL = 200, 0.95
"""Of the permutation null."""


class Layer:
    """One layer over the sequences seen so far. Rates are of a sequence's tokens and averaged over sequences."""

    def __init__(self) -> None:
        self._sequences, self._tokens = 0, 0
        self._rates = np.zeros(4)
        self._zeros = self._present = 0.0
        self._use: np.ndarray | float = 0.0
        self._energies: list[np.ndarray] = []

    def add(self, read: np.ndarray, moved: np.ndarray, directions: np.ndarray, code: np.ndarray) -> None:
        """More sequences.

        Args:
            read, moved: (B, N, d) tokens before and after the attention, under the norm that its heads read through.
            directions: (h, p, d) rows that span each head's subspace.
            code: (B, n, atoms) sparse codes of the tokens that were computed.
        """
        bases = np.linalg.qr(np.swapaxes(directions, 1, 2))[0]  # (h, d, p)
        found = []
        for number, tokens in enumerate((unit(read), unit(moved))):
            inside = tokens[:, None] @ bases  # (B, h, N, p)
            found += [rate(tokens).sum(), rate(inside).sum()]
            if number == 0:
                self._energies.append(np.square(inside).sum(3).transpose(0, 2, 1))
        self._rates += found
        self._sequences += len(read)
        self._tokens += code.shape[0] * code.shape[1]
        active = np.abs(code) > PRESENT
        self._zeros += (code == 0).sum() / code.shape[2]
        self._present += active.sum() / code.shape[2]
        self._use = self._use + active.sum((0, 1))

    def rates(self) -> np.ndarray:
        """(4,) nats: R(Z) and R^c(Z|U) before the attention, both after it."""
        return self._rates / self._sequences

    def use(self) -> np.ndarray:
        """(atoms,) share of the tokens in whose code each atom is."""
        return np.asarray(self._use) / self._tokens

    def sparsity(self) -> np.ndarray:
        """(4,) |z|_0 over the number of atoms, share of exact zeros, share of atoms in no token's code, and entropy of
        the atoms' use over that of equal use (0 where no atom is used)."""
        use = self.use()
        share = use[use > 0] / max(use.sum(), 1e-300)
        entropy = -(share * np.log(share)).sum() / np.log(len(use)) if len(use) > 1 else 0.0
        return np.array([self._present / self._tokens, self._zeros / self._tokens, (use == 0).mean(), entropy])

    def energies(self) -> np.ndarray:
        """(n, N, h) of every token the share of its length, squared, that lies in each head's subspace."""
        return np.concatenate(self._energies)


class Specialised(NamedTuple):
    """R^2 of each head's energy (h, targets), and of the best head's under permutation (draws, targets)."""

    r2: np.ndarray
    null: np.ndarray

    def best(self) -> np.ndarray:
        """(3, targets): R^2 of the best head, the null's 95 % quantile of it, and its z-score against the null."""
        best, spread = self.r2.max(0), self.null.std(0)
        z = np.divide(best - self.null.mean(0), spread, out=np.zeros_like(best), where=spread > 0)
        return np.stack([best, np.quantile(self.null, LEVEL, axis=0), z])


def specialised(energies: np.ndarray, targets: np.ndarray, seed: int = 0) -> Specialised:
    """How much of a head's energy a target explains.

    Args:
        energies: (n, T, h) of T tokens of n sequences.
        targets: (n, T, P) float: each component as a parabola, since energies are squares; or (n,) integer classes.
        seed: of the permutations, which move whole sequences: tokens of one are not independent.
    """
    n, count, heads = energies.shape
    components = targets.ndim == 3
    bases = [_parabola(one) for one in np.moveaxis(targets, 2, 0)] if components else [_classes(targets, count)]
    rows = (energies - energies.mean((0, 1))).reshape(n, count * heads)
    total = np.square(rows.reshape(-1, heads)).sum(0)

    def explained(order: np.ndarray) -> np.ndarray:
        moved = rows[order].reshape(-1, heads)
        found = np.stack([np.square(basis.T @ moved).sum(0) for basis in bases], 1)
        return np.divide(found, total[:, None], out=np.zeros_like(found), where=total[:, None] > 0)

    rng = np.random.default_rng(seed)
    null = np.stack([explained(rng.permutation(n)).max(0) for _ in range(DRAWS)])
    return Specialised(explained(np.arange(n)), null)


def _parabola(values: np.ndarray) -> np.ndarray:
    """Orthonormal columns that span a component (n, T) and its square, centred."""
    flat = values.reshape(-1)
    columns = np.stack([flat, np.square(flat)], 1)
    columns = columns - columns.mean(0)
    u, s, _ = np.linalg.svd(columns, full_matrices=False)
    return u[:, s > 1e-9 * max(s[0], 1e-300)]


def _classes(labels: np.ndarray, count: int) -> np.ndarray:
    """Orthonormal columns that tell classes apart, each sequence's ``count`` times."""
    repeated = np.repeat(labels, count)
    columns = (repeated[:, None] == np.unique(labels)[None]).astype(float)
    return columns / np.sqrt(columns.sum(0))
