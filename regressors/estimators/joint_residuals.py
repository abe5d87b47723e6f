"""Kriging of a joint law's residuals: what the law misses in trained runs persists in larger and longer ones.

A mixture that ends lower than the law says at one size does so at the next one, and the curves of all mixtures depart
from the law alike. Residuals are a Gaussian process (Rasmussen & Williams 2006) with three parts of equal variance: of
the scale alone, of mixture and size, and of all of them. A run's own departure, which no other run shares, and noise
are two more, with variances of the highest evidence.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Self

import numpy as np

from regressors.law import Array
from regressors.laws.mixing import TRACE

# Length scales, chosen by predicting larger models and later checkpoints on published tables; errors are flat around.
MIXTURES = 0.3  # Euclidean distance of the roots of shares
SIZES = 2.0  # ln parameters
TOKENS = 1.5  # ln tokens
RUN, NOISE = (0.0, 0.3, 1.0, 3.0), (0.1, 0.3, 1.0)  # variances tried, in units of a part's
SAME_RUN = 1e-9  # squared distance of mixtures and of ln sizes
MAX_ROWS, EVIDENCE_ROWS = 1500, 400  # time grows with the cube
OUTLIER = 10.0  # robust standard deviations; further out, one mistyped loss would bend all that is near it


@dataclass(frozen=True)
class Residuals:
    """rows (n_rows, n_domains + 2): roots of shares, ln parameters, ln tokens; pull (n_targets, n_rows): the solved
    weights of the rows; run, noise: variances in units of a part's."""

    rows: Array
    pull: Array
    run: float
    noise: float

    @classmethod
    def fit(cls, inputs: Mapping[str, Array], R: Array) -> Self:
        """Of residuals R (n_rows, n_targets), nan where missing, at inputs w, params and tokens as a joint law's."""
        rows, middle = features(inputs), np.nanmedian(R, axis=0)
        far = OUTLIER * 1.4826 * np.nanmedian(np.abs(R - middle), axis=0)
        R = np.clip(R, middle - far, middle + far)
        order = np.lexsort(rows.T)  # the rows' own, whatever theirs in the table is
        rows, R = (part[order[spaced(len(order), MAX_ROWS)]] for part in (rows, R))
        some = spaced(len(rows), EVIDENCE_ROWS)
        shared, own = kernel(rows[some], rows[some]), same_run(rows[some])
        run, noise = max(product(RUN, NOISE), key=lambda pair: evidence(covariance(shared, own, *pair), R[some]))
        pull = np.zeros(R.T.shape)
        for targets, known, lower in factors(covariance(kernel(rows, rows), same_run(rows), run, noise), R):
            solved = np.linalg.solve(lower.T, np.linalg.solve(lower, R[np.ix_(known, targets)]))
            pull[np.ix_(targets, known)] = solved.T
        return cls(rows, pull, run, noise)

    def predict(self, inputs: Mapping[str, Array]) -> Array:
        """Expected residuals, (n_points, n_targets)."""
        return kernel(features(inputs), self.rows) @ self.pull.T

    def to_dict(self) -> dict[str, Any]:
        return {"rows": self.rows.tolist(), "pull": self.pull.tolist(), "run": self.run, "noise": self.noise}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        return cls(np.array(stored["rows"]), np.array(stored["pull"]), stored["run"], stored["noise"])


def features(inputs: Mapping[str, Array]) -> Array:
    return np.column_stack([np.sqrt(inputs["w"] + TRACE), np.log(inputs["params"]), np.log(inputs["tokens"])])


def spaced(rows: int, most: int) -> Array:
    """Places of at most so many rows, evenly."""
    return np.unique(np.linspace(0, rows - 1, min(rows, most)).round().astype(int))


def square(A: Array, B: Array) -> Array:
    """Squared distances, (n, m), of rows of A (n, d) and B (m, d); not of their absolutes: complex steps go through."""
    return (A**2).sum(axis=1)[:, None] + (B**2).sum(axis=1) - 2 * A @ B.T


def kernel(A: Array, B: Array) -> Array:
    """The prior covariance of what rows share, (n, m), in units of a part's variance."""
    reach = np.sqrt(3) * np.abs(np.real(A[:, -1:]) - B[:, -1]) / TOKENS
    tokens = (1 + reach) * np.exp(-reach)
    mixtures = np.exp(-square(A[:, :-2], B[:, :-2]) / (2 * MIXTURES**2))
    return np.exp(-square(A[:, -2:-1], B[:, -2:-1]) / (2 * SIZES**2)) * (tokens + mixtures + mixtures * tokens)


def same_run(rows: Array) -> Array:
    return square(rows[:, :-2], rows[:, :-2]) + square(rows[:, -2:-1], rows[:, -2:-1]) < SAME_RUN


def covariance(shared: Array, own: Array, run: float, noise: float) -> Array:
    return shared + run * own + noise * np.eye(len(shared))


def factors(K: Array, R: Array) -> Iterator[tuple[Array, Array, Array]]:
    """Targets that miss the same rows, the known rows, and those rows' Cholesky factor of K."""
    patterns, which = np.unique(np.isfinite(R), axis=1, return_inverse=True)
    for k, known in enumerate(patterns.T):
        rows = np.flatnonzero(known)
        yield np.flatnonzero(which.reshape(-1) == k), rows, np.linalg.cholesky(K[np.ix_(rows, rows)])


def evidence(K: Array, R: Array) -> float:
    """The log likelihood of residuals, sum over targets, each at its best overall variance."""
    total = 0.0
    for targets, known, lower in factors(K, R):
        squares = (np.linalg.solve(lower, R[np.ix_(known, targets)]) ** 2).mean(axis=0) if len(known) else np.ones(1)
        total -= (0.5 * len(known) * np.log(squares + 1e-300) + np.log(np.diag(lower)).sum()).sum()
    return total
