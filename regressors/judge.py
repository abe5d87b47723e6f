"""How well a predictor does on mixtures that it hasn't seen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from regressors.law import Array


@dataclass(frozen=True)
class HeldOut:
    """Predictions of every run by an estimator that never saw its mixture."""

    predicted: Array  # (n_runs, n_targets) nats/token
    fold: Array  # (n_runs,) which estimator predicted the run
    estimators: list[Any]  # one a fold, fitted to the other folds' runs

    def at(self, W: Array) -> Array:
        """Every fold's prediction at new points W (n_points, n_domains): (n_folds, n_points, n_targets)."""
        return np.stack([as_columns(estimator.predict(W)) for estimator in self.estimators])


def as_columns(Y: Array) -> Array:
    """Y (n_runs,) or (n_runs, n_targets) as (n_runs, n_targets)."""
    Y = np.asarray(Y)
    return Y[:, None] if Y.ndim == 1 else Y


def assign_folds(groups: Array, *, folds: int, seed: int) -> Array:
    """A fold for every run, (n_runs,) from 0: a group's runs share one, and folds are as even as groups allow.

    groups: (n_runs,) labels, the same for repeats of one mixture. seed decides who meets whom.
    Raises ValueError when there are fewer groups than folds, or fewer than 2 folds.
    """
    _, label, size = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if not 2 <= folds <= len(size):
        raise ValueError(f"folds = {folds} needs to be 2 or more and at most the {len(size)} distinct mixtures")
    shuffled = np.random.default_rng(seed).permutation(len(size))
    filled = np.zeros(folds, dtype=int)
    fold_of = np.empty(len(size), dtype=int)
    for group in sorted(shuffled, key=lambda g: -size[g]):  # largest first; sorted is stable, so the shuffle stays
        fold_of[group] = filled.argmin()
        filled[fold_of[group]] += size[group]
    return fold_of[label.reshape(-1)]


def cross_validate(
    make: Callable[[], Any], W: Array, Y: Array, groups: Array, *, folds: int = 5, seed: int = 0
) -> HeldOut:
    """Fits a fresh estimator to all folds but one, and predicts that one, for every fold.

    make() gives an unfitted estimator. W (n_runs, n_domains); Y (n_runs,) or (n_runs, n_targets), nan where a loss is
    missing; groups (n_runs,): runs with the same label are never on both sides of a split.
    Raises ValueError as `assign_folds`, and when lengths differ.
    """
    W, Y = np.asarray(W, dtype=float), np.asarray(Y, dtype=float)
    if not len(W) == len(Y) == len(groups):
        raise ValueError(f"W, Y and groups must be as long, got {len(W)}, {len(Y)} and {len(groups)}")
    fold = assign_folds(groups, folds=folds, seed=seed)
    predicted = np.empty(as_columns(Y).shape)
    estimators = []
    for k in range(folds):
        out = fold == k
        estimators.append(make().fit(W[~out], Y[~out]))
        predicted[out] = as_columns(estimators[-1].predict(W[out]))
    return HeldOut(predicted=predicted, fold=fold, estimators=estimators)
