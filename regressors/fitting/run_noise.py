"""Noise levels of runs: runs that went wrong for every target at once count less for all of them.

A run's targets share its initialisation, its data and whatever disturbed it. Where residuals of a run are large on
target after target, its noise level is high, and all its losses count less: the mean square s_i of a run's residuals
over targets, in noise levels, follows c F(d, nu), if run variances are inverse gamma with nu degrees of freedom and the
targets amount to d independent ones. nu is fitted: on tables whose runs are alike it is large, and all runs count the
same.
"""

import numpy as np

from regressors.fitting.posterior import TINY, Posterior
from regressors.law import Array

NU = np.array([1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 128, 1e6])  # the last is no difference between runs
USUAL_NU = 16.0  # centre of a weak prior on ln nu ...
NU_SD = 4.5  # ... and its width
SCALES = np.geomspace(0.25, 4, 41)  # of c around the median of s
MAX_LEVERAGE = 0.8  # a run that the fit follows has small residuals; beyond this they say too little to be scaled up
MEDIAN_SQUARE = 0.4549  # of a standard normal
CLIP = 3.0  # noise levels: one outlying run must not decide which targets are correlated


def run_noise(posterior: Posterior, z: Array) -> Array:
    """Each run's noise level over the usual one, (n_runs,), geometric mean 1, at optima z (n_targets, n_params)."""
    relative, known = relative_residuals(posterior, z)
    independent = independent_targets(relative * known)
    counted = known.sum(axis=0)
    square = (known * relative**2).sum(axis=0) / np.maximum(counted, 1)
    seen = counted > 0
    nu = fitted_nu(square[seen], independent)
    each = independent * counted / len(known)
    precision = (nu + each) / (nu + each * square)
    level = 1 / np.sqrt(precision)
    return level / np.exp(np.log(level[seen]).mean())


def relative_residuals(posterior: Posterior, z: Array) -> tuple[Array, Array]:
    """Residuals in noise levels of their own target, (n_targets, n_runs), as they'd be had the fit not seen their run,
    and which of them there are."""
    targets = np.arange(len(z))
    residual, jacobian = posterior.linearised(z, targets)
    known = (posterior.rows.weight > 0).astype(float)
    weight = known * np.minimum(1, posterior.criterion.huber / np.maximum(np.abs(residual), TINY))
    root = jacobian * (np.sqrt(weight) / posterior.level(targets))[..., None]
    curvature = np.matmul(root.transpose(0, 2, 1), root)
    curvature[:, np.arange(z.shape[1]), np.arange(z.shape[1])] += posterior.space.precision
    leverage = (root * np.linalg.solve(curvature, root.transpose(0, 2, 1)).transpose(0, 2, 1)).sum(axis=2)
    own = residual * posterior.scatter / np.sqrt(np.maximum(1 - leverage, 1 - MAX_LEVERAGE))
    middle = np.array([np.median(r[k > 0] ** 2) for r, k in zip(own, known, strict=True)])
    return own / np.sqrt(np.maximum(middle, TINY) / MEDIAN_SQUARE)[:, None], known


def independent_targets(relative: Array) -> float:
    """How many independent targets (n_targets, n_runs) residuals amount to, by their squared correlations."""
    clipped = np.clip(relative, -CLIP, CLIP)
    length = np.maximum(np.sqrt((clipped**2).sum(axis=1)), TINY)
    correlation = (clipped @ clipped.T) / np.outer(length, length)
    shared = np.maximum(correlation**2 - 1 / relative.shape[1], 0)  # less what chance alone gives
    np.fill_diagonal(shared, 1)
    return len(relative) ** 2 / shared.sum()


def fitted_nu(square: Array, independent: float) -> float:
    """The degrees of freedom under which runs' mean squares (n_runs,) are likeliest, their scale profiled out."""
    scale = SCALES * max(float(np.median(square)), TINY)
    likely = (
        log_f(square[None, None, :] / scale[None, :, None], independent, NU[:, None, None])
        - np.log(scale)[None, :, None]
    )
    best = likely.sum(axis=2).max(axis=1)
    prior = -0.5 * (np.log(NU / USUAL_NU) / NU_SD) ** 2
    return float(NU[np.argmax(best + prior)])


def log_f(x: Array, top: float, bottom: Array) -> Array:
    """Log density of the F distribution."""
    from scipy.special import betaln

    half = top / 2
    x = np.maximum(x, TINY)
    return (
        half * np.log(top / bottom)
        + (half - 1) * np.log(x)
        - (half + bottom / 2) * np.log1p(top * x / bottom)
        - betaln(half, bottom / 2)
    )
