"""Prediction intervals without a model of the noise: CV+ (Barber et al. 2021, Predictive inference with the jackknife+,
Annals of Statistics 49(1), arXiv:1905.02928, section 3).

For runs that are exchangeable with the fitted ones, an interval of level 1 - a holds the loss with a chance of at least
1 - 2a - sqrt(2/n), and of about 1 - a in practice. A mixture found by search is not such a run: it was chosen for its
low prediction, so the interval there is optimistic.
"""

from math import ceil, floor

import numpy as np

from regressors.law import Array


def cv_plus(residual: Array, fold: Array, at_new: Array, level: float) -> tuple[Array, Array]:
    """Bounds of the loss at new points, (n_points,) each, nats/token; infinite where too few runs support `level`.

    residual: (n_runs,) measured less held-out prediction (only its size counts); nan where a loss is missing.
    fold: (n_runs,) which fold's estimator made it. at_new: (n_folds, n_points), each fold's predictions at the new
    points (`HeldOut.at`, one target). level: 0 to 1, the share of intervals that should hold the loss.
    Raises ValueError when shapes don't fit or level isn't between 0 and 1.
    """
    residual, fold, at_new = np.asarray(residual, dtype=float), np.asarray(fold), np.asarray(at_new, dtype=float)
    if residual.ndim != 1 or fold.shape != residual.shape or at_new.ndim != 2:
        raise ValueError(f"got residual {residual.shape}, fold {fold.shape}, at_new {at_new.shape}")
    if not 0 < level < 1:
        raise ValueError(f"level = {level} must be between 0 and 1")
    known = np.isfinite(residual)
    size, centre = np.abs(residual[known])[:, None], at_new[fold[known]]
    runs = len(size)
    slack = 1e-9  # 0.2 * 5 must count as 1 although it's a rounding above it
    low_rank = floor((1 - level) * (runs + 1) + slack)
    high_rank = ceil(level * (runs + 1) - slack)
    low = np.full(at_new.shape[1], -np.inf)
    high = np.full(at_new.shape[1], np.inf)
    if low_rank >= 1:
        low = np.sort(centre - size, axis=0)[low_rank - 1]
    if high_rank <= runs:
        high = np.sort(centre + size, axis=0)[high_rank - 1]
    return low, high
