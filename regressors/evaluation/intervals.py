"""Prediction intervals by cross-validation (CV+, conformal), without a model of the noise.

`cv_plus` is CV+ (Barber et al. 2021, Predictive inference with the jackknife+, Annals of Statistics 49(1),
arXiv:1905.02928, section 3): for runs that are exchangeable with the fitted ones, an interval of level 1 - a holds the
loss with a chance of at least 1 - 2a - sqrt(2/n), and of about 1 - a in practice.

That chance is a mean over all runs. Where losses are low, predictors err by less: fitted to 64 runs of RegMix's table,
80% intervals held 94% of the runs in the lowest tenth and 55% of those in the highest. `scaled_cv_plus` measures errors
in units of what is usual among runs of about the same predicted loss (locally weighted conformal prediction, Lei et al.
2018, arXiv:1604.04173, section 5.2): 89% and 71% at the same mean width, and no more fits
(`benchmarks/calibration.py`).

A mixture found by search is no such run, as it was chosen for its low prediction: see `regressors.evaluation.optimism`.
"""

from math import ceil

import numpy as np

from regressors.law import Array

NEIGHBOURHOOD = 0.25  # share of the runs, those of the nearest predicted loss, that say how large errors are there
MIN_NEIGHBOURS = 10  # runs that say so
PRIOR_RUNS = 5  # weight, in runs, of the prior that errors are as large as everywhere


def cv_plus(residual: Array, fold: Array, at_new: Array, level: float) -> tuple[Array, Array]:
    """Bounds of the loss at new points, (n_points,) each, nats/token; infinite where too few runs support `level`.

    residual: (n_runs,) measured less held-out prediction (only its size counts); nan where a loss is missing.
    fold: (n_runs,) which fold's estimator made it. at_new: (n_folds, n_points), each fold's predictions at the new
    points (`HeldOut.at`, one target). level: 0 to 1, the share of intervals that should hold the loss.
    Raises ValueError when shapes don't fit or level isn't between 0 and 1.
    """
    residual, fold, at_new = _checked(residual, fold, at_new, level)
    known = np.isfinite(residual)
    return _bounds(at_new[fold[known]], np.abs(residual[known])[:, None], level)


def scaled_cv_plus(residual: Array, predicted: Array, fold: Array, at_new: Array, level: float) -> tuple[Array, Array]:
    """As `cv_plus`, but wider where held-out errors are larger: at a new point, by those of runs predicted like it.

    predicted: (n_runs,) held-out predictions; the other arguments and what is raised as there.
    """
    residual, fold, at_new = _checked(residual, fold, at_new, level)
    known = np.isfinite(residual)
    residual, predicted, fold = residual[known], np.asarray(predicted, dtype=float)[known], fold[known]
    usual = local_error(np.abs(residual), predicted)
    here = local_error(np.abs(residual), predicted, at=np.median(at_new, axis=0))
    return _bounds(at_new[fold], (np.abs(residual) / usual)[:, None] * here, level)


def held_out_bounds(residual: Array, predicted: Array, fold: Array, level: float) -> tuple[Array, Array]:
    """Bounds of every run's loss, (n_runs,) each, from the errors of the other folds alone: to see what they cover.

    Arguments as `scaled_cv_plus`. Like a new run's, a run's bounds know neither its own loss nor its fold's. They lie
    around its one held-out prediction, where CV+ has all the folds' at a new point.
    """
    residual, fold, predicted = _checked(residual, fold, np.asarray(predicted, dtype=float)[None], level)
    low, high = np.full(len(residual), -np.inf), np.full(len(residual), np.inf)
    known = np.isfinite(residual)
    for k in np.unique(fold[known]):
        out, others = fold == k, known & (fold != k)
        centre, size = predicted[0, others], np.abs(residual[others])
        rank = _high_rank(len(size), level)
        if len(size) and rank <= len(size):
            scaled = np.sort(size / local_error(size, centre))[rank - 1]
            width = scaled * local_error(size, centre, at=predicted[0, out])
            low[out], high[out] = predicted[0, out] - width, predicted[0, out] + width
    return low, high


def local_error(size: Array, predicted: Array, *, at: Array | None = None) -> Array:
    """What size of error is usual where this loss is predicted, (n_points,), nats/token and above 0.

    size, predicted: (n_runs,) absolute held-out errors and predictions. at: (n_points,) predictions at new points;
    None: the runs themselves, each judged by the others.
    The mean over a quarter of the runs, those next in rank of prediction, drawn towards the mean of all.
    """
    runs, mean = len(size), size.mean()
    order = np.argsort(predicted, kind="stable")
    count = min(max(MIN_NEIGHBOURS, round(NEIGHBOURHOOD * runs)), runs - (at is None))
    wide = count + (at is None)  # a run lies in its own neighbourhood, and is taken out of it again
    cumulative = np.append(0.0, np.cumsum(size[order]))
    if at is None:
        place = np.empty(runs)
        place[order] = np.arange(runs)
    else:
        place = np.searchsorted(predicted[order], at) - 0.5
    first = np.clip(np.ceil(place - wide / 2), 0, runs - wide).astype(int)
    near = cumulative[first + wide] - cumulative[first] - (size if at is None else 0.0)
    return np.maximum((near + PRIOR_RUNS * mean) / (count + PRIOR_RUNS), 1e-12 + 1e-6 * mean)


def _checked(residual: Array, fold: Array, at_new: Array, level: float) -> tuple[Array, Array, Array]:
    residual, fold, at_new = np.asarray(residual, dtype=float), np.asarray(fold), np.asarray(at_new, dtype=float)
    if residual.ndim != 1 or fold.shape != residual.shape or at_new.ndim != 2:
        raise ValueError(f"got residual {residual.shape}, fold {fold.shape}, at_new {at_new.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level = {level} must be between 0 and 1")
    return residual, fold, at_new


def _bounds(centre: Array, size: Array, level: float) -> tuple[Array, Array]:
    """The quantiles of centre - size and centre + size, (n_runs, n_points) each, that make an interval of `level`."""
    runs, points = centre.shape
    high_rank = _high_rank(runs, level)
    low_rank = runs + 1 - high_rank
    low, high = np.full(points, -np.inf), np.full(points, np.inf)
    if low_rank >= 1:
        low = np.sort(centre - size, axis=0)[low_rank - 1]
    if high_rank <= runs:
        high = np.sort(centre + size, axis=0)[high_rank - 1]
    return low, high


def _high_rank(runs: int, level: float) -> int:
    """Which of the sorted errors bounds `level` of new ones; more than `runs` where they are too few."""
    return ceil(level * (runs + 1) - 1e-9)  # .8 * 5 must count as 4 where it's a rounding above it
