"""How well a predictor does on mixtures that it hasn't seen."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from regressors.law import Array

NEAR = 0.01  # of the tokens; two printings of one mixture with 3 decimals and 20 domains can differ by so much


@dataclass(frozen=True)
class Rehearsal:
    """The choice of a mixture, rehearsed: fitted to one half of the mixtures, over and over, and asked for the other.

    `regressors.optimism` reads from it how far the favourites of a fit fall short of what it predicts.
    """

    rows: list[Array]  # one a rehearsal: (n_asked,) the runs of the other half
    predicted: list[Array]  # (n_asked, n_targets) nats/token; nan where the fitted half had too few losses

    def to_dict(self) -> dict[str, Any]:
        """JSON-able numbers."""
        predicted = [[[x if np.isfinite(x) else None for x in row] for row in half.tolist()] for half in self.predicted]
        return {"rows": [rows.tolist() for rows in self.rows], "predicted": predicted}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuilds what `to_dict` gave."""
        return cls(
            rows=[np.array(rows, dtype=int) for rows in stored["rows"]],
            predicted=[np.array(half, dtype=float) for half in stored["predicted"]],  # None becomes nan
        )


@dataclass(frozen=True)
class Beside:
    """Runs that share mixtures with the judged ones and are predicted beside them, such as those of other pools.

    X, Y as `cross_validate` takes them; groups (n,), the same labels as the judged runs have. fitted: whether an
    estimator may learn from them, but for those of mixtures that it is to predict.
    """

    X: Array
    Y: Array
    groups: Array
    fitted: bool

    def with_others(self, X: Array, Y: Array, without: Array) -> tuple[Array, Array]:
        """What to fit: judged runs X, Y and, where they may be learnt from, these but for the groups in `without`."""
        if not self.fitted:
            return X, Y
        kept = ~np.isin(self.groups, without)
        return np.vstack([X, self.X[kept]]), np.concatenate([Y, self.Y[kept]])


@dataclass(frozen=True)
class HeldOut:
    """Predictions of every run by an estimator that never saw its mixture."""

    predicted: Array  # (n_runs, n_targets) nats/token
    fold: Array  # (n_runs,) which estimator predicted the run
    estimators: list[Any]  # one a fold, fitted to the other folds' runs
    rehearsal: Rehearsal | None = None
    beside: Array | None = None  # (n, n_targets) alike for the runs beside; nan where no judged run has the mixture

    def at(self, W: Array) -> Array:
        """Every fold's prediction at new points W (n_points, n_domains): (n_folds, n_points, n_targets)."""
        return np.stack([as_columns(estimator.predict(W)) for estimator in self.estimators])


def as_columns(Y: Array) -> Array:
    """Y (n_runs,) or (n_runs, n_targets) as (n_runs, n_targets)."""
    Y = np.asarray(Y)
    return Y[:, None] if Y.ndim == 1 else Y


def near_groups(W: Array, *, tolerance: float = NEAR) -> Array:
    """A label for every run, (n_runs,) from 0: mixtures that are as good as one share it.

    W (n_runs, n_domains), each row scaled to sum to 1 first; tolerance: a share of the tokens (total variation). Runs
    go in order to the first group whose first run is no further than that. So runs within `tolerance` of each other
    that are apart from all others share a label, and a fine grid of mixtures is cut up, not chained into one group.
    """
    W = np.asarray(W, dtype=float)
    W = W / W.sum(axis=1, keepdims=True)
    label = np.full(len(W), -1)
    for group in range(len(W)):
        left = np.flatnonzero(label < 0)
        if not len(left):
            break
        apart = 0.5 * np.abs(W[left] - W[left[0]]).sum(axis=1)
        label[left[apart <= tolerance + 1e-9]] = group
    return label


def ordered_splits(values: Array, *, least: int = 1) -> list[tuple[Array, Array]]:
    """Rolling origin: (rows to fit, rows to predict) for every size, from all that are smaller.

    values: (n_runs,) what is extrapolated, parameters or training tokens; equal ones are predicted together.
    least: how many distinct values a fit needs. Raises ValueError for a value that isn't finite.
    """
    values = np.asarray(values, dtype=float)
    if not np.isfinite(values).all():
        raise ValueError("a run's size isn't known: leave the run out")
    return [(np.flatnonzero(values < v), np.flatnonzero(values == v)) for v in np.unique(values)[least:]]


def assign_folds(groups: Array, *, folds: int, seed: int | Sequence[int]) -> Array:
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
    make: Callable[[], Any],
    W: Array,
    Y: Array,
    groups: Array,
    *,
    folds: int = 5,
    seed: int = 0,
    beside: Beside | None = None,
) -> HeldOut:
    """Fits a fresh estimator to all folds but one, and predicts that one, for every fold.

    make() gives an unfitted estimator. W (n_runs, n_domains), or what else the estimator takes; Y (n_runs,) or
    (n_runs, n_targets), nan where a loss is missing; groups (n_runs,): runs with the same label are never on both sides
    of a split, whether they are judged or beside those.
    Raises ValueError as `assign_folds`, and when lengths differ.
    """
    W, Y = np.asarray(W, dtype=float), np.asarray(Y, dtype=float)
    if not len(W) == len(Y) == len(groups):
        raise ValueError(f"W, Y and groups must be as long, got {len(W)}, {len(Y)} and {len(groups)}")
    fold = assign_folds(groups, folds=folds, seed=seed)
    predicted = np.empty(as_columns(Y).shape)
    near = None if beside is None else np.full(as_columns(beside.Y).shape, np.nan)
    estimators = []
    for k in range(folds):
        out = fold == k
        X_rest, Y_rest = W[~out], Y[~out]
        if beside is not None:
            X_rest, Y_rest = beside.with_others(X_rest, Y_rest, groups[out])
        estimators.append(make().fit(X_rest, Y_rest))
        predicted[out] = as_columns(estimators[-1].predict(W[out]))
        if beside is not None and near is not None and (also := np.isin(beside.groups, groups[out])).any():
            near[also] = as_columns(estimators[-1].predict(beside.X[also]))
    return HeldOut(predicted=predicted, fold=fold, estimators=estimators, beside=near)


def rehearse(
    make: Callable[[], Any],
    W: Array,
    Y: Array,
    groups: Array,
    *,
    rehearsals: int = 8,
    seed: int = 0,
    beside: Beside | None = None,
) -> Rehearsal:
    """Fits a fresh estimator to half of the mixtures and predicts the other half, `rehearsals` times.

    Arguments as `cross_validate`. Without 8 distinct mixtures there is nothing to rehearse, and it is empty.
    """
    W, Y = np.asarray(W, dtype=float), as_columns(np.asarray(Y, dtype=float))
    found = Rehearsal(rows=[], predicted=[])
    if len(np.unique(groups)) < 8:
        return found
    for i in range(rehearsals):
        asked = assign_folds(groups, folds=2, seed=[seed, i]) == 1
        fitted = np.isfinite(Y[~asked]).sum(axis=0) >= 2
        predicted = np.full((asked.sum(), Y.shape[1]), np.nan)
        if fitted.any():
            X_rest, Y_rest = W[~asked], Y[~asked]
            if beside is not None:
                X_rest, Y_rest = beside.with_others(X_rest, Y_rest, groups[asked])
            predicted[:, fitted] = as_columns(make().fit(X_rest, Y_rest[:, fitted]).predict(W[asked]))
        found.rows.append(np.flatnonzero(asked))
        found.predicted.append(predicted)
    return found
