"""Held-out evaluation: splits by mixture, size, length, share and region, and predictions of what they leave out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, Self

import numpy as np

from regressors.law import Array

MAX_DISTANCE = 0.01  # of the tokens, within a mixture: rounding to 3 decimals can make so much with 20 domains
MAX_SIZE_RATIO = 1.3  # sizes within this factor of the bin's smallest one are one size
MIN_HOLDOUT_MIXTURES = 8  # for a repeated holdout


@dataclass(frozen=True, eq=False)
class Split:
    """Rows to fit and rows to predict, (n_rows,) bool each."""

    kind: str  # what sets the predicted rows apart: "mixture", "size", "tokens", "both", "share" or a region's name
    fitted: Array
    predicted: Array


def by_mixture(groups: Array, *, folds: int, seed: int | Sequence[int]) -> list[Split]:
    """Cross-validation: each fold from all others, folds as `assign_folds` makes them. Raises ValueError as there."""
    fold = assign_folds(groups, folds=folds, seed=seed)
    return [Split("mixture", fold != k, fold == k) for k in range(folds)]


def by_shuffled_mixture(groups: Array, *, folds: int, rng: np.random.Generator) -> list[Split]:
    """The same with groups, labels (n_rows,) from 0, shuffled into folds whatever their sizes are."""
    count = int(groups.max()) + 1
    fold = (rng.permutation(count) % folds)[groups]
    return [Split("folds", fold != k, fold == k) for k in range(min(folds, count))]


def by_size(sizes: Array, *, most: int | None = 1, smaller: int = 2) -> list[Split]:
    """Rolling origin: each of the `most` largest sizes from all that are smaller, where so many smaller ones stay.

    sizes: (n_rows,) what is extrapolated; equal ones are predicted together. most: None for every size.
    Raises ValueError for a size that isn't finite.
    """
    sizes = np.asarray(sizes)
    if not np.isfinite(sizes).all():
        raise ValueError("a run's size isn't known: leave the run out")
    distinct = np.unique(sizes)
    first = smaller if most is None else max(smaller, len(distinct) - most)
    return [Split("size", sizes < v, sizes == v) for v in distinct[first:]]


def by_size_and_length(
    sizes: Array, tokens: Array, *, cut: float, most: int | None = 1, smaller: int = 2, counts: int = 3
) -> list[Split]:
    """Rolling origin: later checkpoints of each of the `most` largest sizes from earlier ones of all smaller sizes.

    sizes: (n_rows,) labels from 0, as for `by_size`; cut and counts: as for `by_length`, of every size's own tokens.
    """
    found = []
    for length in by_length(tokens, cuts=(cut,), within=sizes, counts=counts):
        for size in by_size(sizes, most=most, smaller=smaller):
            fitted, predicted = length.fitted & size.fitted, length.predicted & size.predicted
            if len(np.unique(tokens[fitted])) >= counts and predicted.any():
                found.append(Split("both", fitted, predicted))
    return found


def by_length(
    tokens: Array, *, cuts: Sequence[float], within: Array | None = None, counts: int = 3, ahead: float = inf
) -> list[Split]:
    """Rolling origin: later checkpoints from earlier ones, where so many token counts stay; cuts that split alike once.

    tokens: (n_rows,). cuts: shares of the most tokens up to which rows are fitted, the most of the row's own group of
    `within` (n_rows,), labels from 0. ahead: rows beyond so many times the most tokens fitted are left out.
    """
    group = np.zeros(len(tokens), dtype=int) if within is None else within
    longest = np.array([tokens[group == k].max() for k in range(group.max() + 1)])[group]
    found: dict[bytes, Split] = {}
    for cut in cuts:
        early = tokens <= cut * longest
        if len(np.unique(tokens[early])) < counts:
            continue
        later = ~early & (tokens <= ahead * tokens[early].max() * (1 + 1e-9))
        if later.any():
            found.setdefault(early.tobytes(), Split("tokens", early, later))
    return list(found.values())


def by_last(tokens: Array, curves: Array, *, least: int = 3) -> list[Split]:
    """The longest run of every curve, (n_rows,) labels from 0, that has `least` of them, all together."""
    longest = np.array([tokens[curves == k].max() for k in range(curves.max() + 1)])[curves]
    last = (tokens == longest) & (np.bincount(curves)[curves] >= least)
    return [Split("longest", ~last, last)] if last.any() else []


def by_share(shares: Array) -> list[Split]:
    """Each share left out, (n_rows,), where two others stay."""
    distinct = np.unique(shares)
    return [Split("share", shares != share, shares == share) for share in distinct] if len(distinct) > 2 else []


def by_region(measures: Mapping[str, Array], groups: Array, *, share: float, least: int) -> list[Split]:
    """The runs that have most of a measure, such a share of them, where `least` groups and two values stay.

    measures: name of the region -> (n_rows,); groups: (n_rows,) labels.
    """
    found = []
    for kind, values in measures.items():
        out = values > np.quantile(values, 1 - share) * (1 + 1e-9)
        if out.any() and len(np.unique(groups[~out])) >= least and len(np.unique(values[~out])) > 1:
            found.append(Split(kind, ~out, out))
    return found


def predict_splits(
    make: Callable[[], Any],
    X: Array,
    Y: Array,
    splits: Sequence[Split],
    *,
    losses: int = 0,
    auxiliary: "Auxiliary | None" = None,
    groups: Array | None = None,
) -> Iterator[tuple[Split, Any, Array]]:
    """Fits a fresh estimator to what each split keeps, and predicts what it leaves out.

    make() gives an unfitted estimator. X (n_rows, n_columns); Y (n_rows,) or (n_rows, n_targets), nan where missing.
    losses: a target with fewer losses among the fitted rows is left out, and predicted as nan. auxiliary: with groups
    (n_rows,), runs that may be fitted besides. Yields the split, the estimator (None where nothing could be fitted) and
    (n_predicted, n_targets) predictions.
    """
    for split in splits:
        X_fit, Y_fit = X[split.fitted], Y[split.fitted]
        enough = np.isfinite(as_columns(Y_fit)).sum(axis=0) >= losses
        predicted = np.full((int(split.predicted.sum()), len(enough)), np.nan)
        if losses and (len(X_fit) < 2 or not enough.any()):
            yield split, None, predicted
            continue
        if auxiliary is not None and groups is not None:
            X_fit, Y_fit = auxiliary.added_to(X_fit, Y_fit, without=groups[split.predicted])
        estimator = make().fit(X_fit, Y_fit if enough.all() else Y_fit[:, enough])
        predicted[:, enough] = as_columns(estimator.predict(X[split.predicted]))
        yield split, estimator, predicted


@dataclass(frozen=True)
class RepeatedHoldout:
    """Predictions of half of the mixtures by fits to the other half, over and over.

    `regressors.evaluation.optimism` reads from it how far the mixtures chosen by a fit fall short of its predictions.
    """

    rows: list[Array]  # one a repeat: (n_predicted,) the runs of the other half
    predicted: list[Array]  # (n_predicted, n_targets) nats/token; nan where the fitted half had too few losses

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
class Auxiliary:
    """Runs that share mixtures with the judged ones and are predicted as well, such as those of other pools.

    X, Y as `cross_validate` takes them; groups (n,), the same labels as the judged runs have. fitted: whether an
    estimator may learn from them, but for those of mixtures that it is to predict.
    """

    X: Array
    Y: Array
    groups: Array
    fitted: bool

    def added_to(self, X: Array, Y: Array, *, without: Array) -> tuple[Array, Array]:
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
    repeated_holdout: RepeatedHoldout | None = None
    auxiliary: Array | None = None  # (n, n_targets) alike for auxiliary runs; nan where no judged run has the mixture

    def at(self, W: Array) -> Array:
        """Every fold's prediction at new points W (n_points, n_domains): (n_folds, n_points, n_targets)."""
        return np.stack([as_columns(estimator.predict(W)) for estimator in self.estimators])


def cross_validate(
    make: Callable[[], Any],
    W: Array,
    Y: Array,
    groups: Array,
    *,
    folds: int = 5,
    seed: int = 0,
    auxiliary: Auxiliary | None = None,
) -> HeldOut:
    """Fits a fresh estimator to all folds but one, and predicts that one, for every fold.

    make() gives an unfitted estimator. W (n_runs, n_domains), or what else the estimator takes; Y (n_runs,) or
    (n_runs, n_targets), nan where a loss is missing; groups (n_runs,): runs with the same label are never on both sides
    of a split, whether they are judged or auxiliary.
    Raises ValueError as `assign_folds`, and when lengths differ.
    """
    W, Y = np.asarray(W, dtype=float), np.asarray(Y, dtype=float)
    if not len(W) == len(Y) == len(groups):
        raise ValueError(f"W, Y and groups must be as long, got {len(W)}, {len(Y)} and {len(groups)}")
    groups = np.asarray(groups)
    fold, predicted = np.empty(len(W), dtype=int), np.empty(as_columns(Y).shape)
    near = None if auxiliary is None else np.full(as_columns(auxiliary.Y).shape, np.nan)
    estimators: list[Any] = []
    splits = by_mixture(groups, folds=folds, seed=seed)
    for split, estimator, values in predict_splits(make, W, Y, splits, auxiliary=auxiliary, groups=groups):
        fold[split.predicted], predicted[split.predicted] = len(estimators), values
        estimators.append(estimator)
        if auxiliary is not None and near is not None:
            also = np.isin(auxiliary.groups, groups[split.predicted])
            if also.any():
                near[also] = as_columns(estimator.predict(auxiliary.X[also]))
    return HeldOut(predicted=predicted, fold=fold, estimators=estimators, auxiliary=near)


def repeated_holdout(
    make: Callable[[], Any],
    W: Array,
    Y: Array,
    groups: Array,
    *,
    repeats: int = 8,
    seed: int = 0,
    auxiliary: Auxiliary | None = None,
) -> RepeatedHoldout:
    """Fits a fresh estimator to half of the mixtures and predicts the other half, so many times.

    Arguments as `cross_validate`. With fewer than MIN_HOLDOUT_MIXTURES distinct ones it is empty.
    """
    W, Y = np.asarray(W, dtype=float), as_columns(np.asarray(Y, dtype=float))
    if len(np.unique(groups)) < MIN_HOLDOUT_MIXTURES:
        return RepeatedHoldout(rows=[], predicted=[])
    splits = [by_mixture(groups, folds=2, seed=[seed, i])[1] for i in range(repeats)]
    found = predict_splits(make, W, Y, splits, losses=2, auxiliary=auxiliary, groups=np.asarray(groups))
    pairs = [(np.flatnonzero(split.predicted), predicted) for split, _, predicted in found]
    return RepeatedHoldout(rows=[rows for rows, _ in pairs], predicted=[predicted for _, predicted in pairs])


def as_columns(Y: Array) -> Array:
    """Y (n_runs,) or (n_runs, n_targets) as (n_runs, n_targets)."""
    Y = np.asarray(Y)
    return Y[:, None] if Y.ndim == 1 else Y


def configurations(X: Array) -> Array:
    """Which runs are repeats of one configuration, a row of X: (n_runs,) labels from 0."""
    return np.unique(X, axis=0, return_inverse=True)[1].reshape(-1)


def near_groups(W: Array, *, tolerance: float = MAX_DISTANCE) -> Array:
    """A label for every run, (n_runs,) from 0: mixtures that are next to equal share it.

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


def size_bins(params: Array) -> Array:
    """Which size a run is of, (n_runs,) from 0 for the smallest."""
    sizes = np.unique(params)
    bins = np.zeros(len(sizes), dtype=int)
    first = sizes[0]
    for k in range(1, len(sizes)):
        bins[k] = bins[k - 1]
        if sizes[k] > MAX_SIZE_RATIO * first:
            bins[k] += 1
            first = sizes[k]
    return bins[np.searchsorted(sizes, params)]
