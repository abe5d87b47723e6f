"""Uncertainty of a fit: standard errors, profile likelihood, bootstrap draws, and unidentified parameters.

Curvature at the optimum misleads where a parameter is barely identified: its likelihood has a long flat side. A profile
shows it: the parameter is moved and all others are fitted again, until the objective has risen by more than chance
allows (Venzon & Moolgavkar 1988). An end that is never reached is infinite.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

import numpy as np

from regressors.fitting.bfgs import bfgs
from regressors.fitting.levenberg_marquardt import levenberg_marquardt
from regressors.fitting.posterior import Posterior
from regressors.fitting.solve import Fit
from regressors.law import Array

MAX_DISTANCE = 12.0  # prior widths, or e-folds, from the optimum: a profile that's still flat there has no end
POINTS = 40  # of a profile between the optimum and there, further and further apart
SHRINK, MAX_SHRINKS = 0.8, 24  # an optimum far out on a flat side is brought back, by this factor a step ...
MAX_RISE = 0.02  # ... while the objective rises by less than this share of what ends an interval
MAX_POSTERIOR_SD = 0.95  # of the prior's width: the rows say nothing of a parameter whose posterior is wider
MAX_SD = 1.0  # e-folds (or nats) of standard error beyond which a parameter without a prior counts as unidentified
BOUND_TOLERANCE = 1e-4  # of what the parameter starts from, or of the way between its bounds


@dataclass(frozen=True)
class Identified:
    """Identifiability of each parameter of a fit, (n_targets, n_params) in the order of `names`."""

    names: tuple[str, ...]  # parameter, with [j] where it has several numbers
    sd: Array  # standard error in units of the prior, or in e-folds (nats) where there's none
    unidentified: Array  # bool
    at_bound: Array  # bool: it ran into the bound of what it may be
    condition: Array  # (n_targets,) of the curvature, scaled to a diagonal of 1; inf: it can't be inverted


def identify(posterior: Posterior, fit: Fit) -> Identified:
    """From the curvature at the optimum."""
    targets = np.arange(len(fit.z))
    _, curvature, _ = posterior.model(fit.z, targets)
    diagonal = np.maximum(np.einsum("tpp->tp", curvature), np.finfo(float).tiny)
    root = np.sqrt(diagonal)
    scaled = curvature / root[:, :, None] / root[:, None, :]
    eigen = np.linalg.eigvalsh(scaled)
    lowest = np.where(eigen[:, 0] > 1e-300, eigen[:, 0], 1e-300)
    condition = np.where(eigen[:, 0] > 1e-300, eigen[:, -1] / lowest, inf)
    covariance = np.linalg.pinv(scaled, hermitian=True)
    sd = np.sqrt(np.maximum(np.einsum("tpp->tp", covariance), 0) / diagonal)
    has_prior = posterior.space.precision > 0
    sd = np.where(has_prior, sd, sd / np.sqrt(dispersion(posterior, fit))[:, None])
    vague = np.where(has_prior, sd > MAX_POSTERIOR_SD, sd > MAX_SD)
    bound = np.concatenate([_at_bound(posterior, fit, k) for k in range(len(posterior.law.params))], axis=1)
    # What vanishes at its bound has no slope left: that is a bound, not a lack of identification.
    return Identified(_names(posterior), sd, (vague | (condition > 1e14)[:, None]) & ~bound, bound, condition)


def _names(posterior: Posterior) -> tuple[str, ...]:
    names = []
    for param in posterior.law.params:
        shape = param.shape(posterior.space.domains)
        names += [param.name + "".join(f"[{i}]" for i in index) for index in np.ndindex(*shape)]
    return tuple(names)


def _at_bound(posterior: Posterior, fit: Fit, k: int) -> Array:
    param = posterior.law.params[k]
    where = posterior.space.slices[param.name]
    value = fit.values[param.name].reshape(len(fit.z), -1)
    if param.low is None:
        return np.zeros(value.shape, dtype=bool)
    if param.high is None:
        return value - param.low < BOUND_TOLERANCE * np.exp(posterior.space.centre[:, where])
    share = (value - param.low) / (param.high - param.low)
    return np.minimum(share, 1 - share) < BOUND_TOLERANCE


def dispersion(posterior: Posterior, fit: Fit) -> Array:
    """By what twice a rise of the objective is multiplied to be chi-squared, (n_targets,).

    1 where residuals are normal with the noise level fitted; a fixed noise level needs it (robust likelihood ratio,
    Heritier & Ronchetti 1994): the share of rows that count squared over the mean squared pull, less what p
    parameters have used up.
    """
    targets = np.arange(len(fit.z))
    residual, _ = posterior.linearised(fit.z, targets)
    weight, knee = posterior.rows.weight, posterior.criterion.huber
    inner = (weight * (np.abs(residual) < knee)).sum(axis=1)
    pull = (weight * np.clip(residual, -knee, knee) ** 2).sum(axis=1)
    total = weight.sum(axis=1)
    return np.maximum(inner, 1) / np.maximum(pull, np.finfo(float).tiny) * np.maximum(total - fit.used, 1) / total


def bootstrap(
    posterior: Posterior, fit: Fit, *, draws: int, rng: np.random.Generator, groups: Array | None = None
) -> dict[str, Array]:
    """Parameters refitted to rows drawn again with replacement: name -> (n_targets, draws, *own axes).

    groups: (n_runs,) labels; runs of one label are drawn together. Each refit starts at the fit's own optimum, with
    its noise level.
    """
    counts = resample(posterior.rows.runs, draws, rng, groups)
    z = bootstrap_z(posterior, fit, counts)
    targets = np.repeat(np.arange(len(fit.z)), draws)
    values = posterior.space.values(z.reshape(-1, z.shape[-1]), targets)
    return {name: value.reshape(len(fit.z), draws, *value.shape[1:]) for name, value in values.items()}


def resample(runs: int, draws: int, rng: np.random.Generator, groups: Array | None = None) -> Array:
    """How often each run is drawn, (draws, n_runs)."""
    label = np.arange(runs) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1)
    size = int(label.max()) + 1
    return rng.multinomial(size, np.full(size, 1 / size), size=draws)[:, label].astype(float)


def bootstrap_z(posterior: Posterior, fit: Fit, counts: Array) -> Array:
    """The optimum for each draw's weights, (n_targets, draws, n_params), all draws of all targets at once."""
    draws, targets = len(counts), len(fit.z)
    again = posterior.resampled(counts)
    start = np.repeat(fit.z, draws, axis=0)
    every = np.arange(targets * draws)
    if posterior.criterion.noise is None:
        return levenberg_marquardt(again, start, every, tolerance=1e-3).z.reshape(targets, draws, start.shape[1])
    _, curvature, _ = posterior.model(fit.z, np.arange(targets))
    first = np.linalg.pinv(curvature, hermitian=True)
    return bfgs(again, start, every, inverse=np.repeat(first, draws, axis=0)).z.reshape(
        fit.z.shape[0], draws, start.shape[1]
    )


@dataclass(frozen=True)
class Profile:
    """The objective along one parameter, all others fitted again at every point."""

    low: Array  # (n_targets,) natural value; the parameter's bound or -inf where the profile has no end
    high: Array
    open_low: Array  # (n_targets,) bool: no end was found on this side
    open_high: Array
    value: Array  # (n_targets, n_points) natural values, increasing
    rise: Array  # (n_targets, n_points) twice the objective above its minimum, chi-squared with 1 degree of freedom


def profile(posterior: Posterior, fit: Fit, name: str, *, level: float = 0.8, index: Sequence[int] = ()) -> Profile:
    """The interval of one parameter of the law that the rows don't rule out at this level, per target.

    index: which number, of a parameter that has several. Raises ValueError for a name the law doesn't have.
    """
    from scipy.stats import chi2

    k = position(posterior, name, index)
    critical = float(chi2.ppf(level, 1))
    fit = towards_centre(posterior, fit, k, critical)
    width = np.minimum(np.maximum(identify(posterior, fit).sd[:, k], 1e-4), 1.0)
    sides = [profile_side(posterior, fit, k, side, width, critical) for side in (-1, 1)]
    z = np.concatenate([sides[0][0][:, ::-1], fit.z[:, [k]], sides[1][0]], axis=1)
    rise = np.concatenate([sides[0][1][:, ::-1], np.zeros((len(z), 1)), sides[1][1]], axis=1)
    value = natural_at(posterior, fit, k, z)
    middle = POINTS
    low, open_low = crossing(value[:, middle::-1], rise[:, middle::-1], critical)
    high, open_high = crossing(value[:, middle:], rise[:, middle:], critical)
    param = next(p for p in posterior.law.params if p.name == name)
    bottom = -inf if param.low is None else param.low
    top = inf if param.high is None else param.high
    return Profile(
        low=np.where(open_low, bottom, low),
        high=np.where(open_high, top, high),
        open_low=open_low,
        open_high=open_high,
        value=value,
        rise=rise,
    )


def towards_centre(posterior: Posterior, fit: Fit, k: int, critical: float) -> Fit:
    """The fit, with the k-th parameter as near its prior's centre as the objective hardly notices.

    Along a flat side an optimum may lie anywhere: from far out on it a profile would never meet the other side's end.
    """
    z = fit.z.copy()
    far = np.flatnonzero(np.abs(z[:, k]) > MAX_DISTANCE / 2)
    held = np.zeros(z.shape, dtype=bool)
    held[:, k] = True
    scale = 2 * dispersion(posterior, fit)
    for _ in range(MAX_SHRINKS):
        if not len(far):
            break
        start = z[far]
        start[:, k] *= SHRINK
        near = levenberg_marquardt(posterior, start, far, steps=12, held=held[far])
        end = bfgs(posterior, near.z, far, held=held[far])
        flat = scale[far] * (end.objective - fit.objective[far]) < MAX_RISE * critical
        far = far[flat]
        z[far] = end.z[flat]
    return replace(fit, z=z)


def position(posterior: Posterior, name: str, index: Sequence[int]) -> int:
    """Which of the engine's parameters this is."""
    if name not in posterior.space.slices:
        raise ValueError(f"the law {posterior.law.name} has no parameter {name!r}: {', '.join(posterior.space.slices)}")
    param = next(p for p in posterior.law.params if p.name == name)
    shape = param.shape(posterior.space.domains)
    offset = int(np.ravel_multi_index(tuple(index), shape)) if shape else 0
    return posterior.space.slices[name].start + offset


def natural_at(posterior: Posterior, fit: Fit, k: int, z: Array) -> Array:
    """Natural values of the k-th parameter at z (n_targets, n_points)."""
    param = next(p for p in posterior.law.params if posterior.space.slices[p.name].stop > k)
    offset = k - posterior.space.slices[param.name].start
    out = np.empty(z.shape)
    for j in range(z.shape[1]):
        moved = fit.z.copy()
        moved[:, k] = z[:, j]
        values = posterior.space.values(moved, np.arange(len(moved)))
        out[:, j] = values[param.name].reshape(len(moved), -1)[:, offset]
    return out


def profile_side(
    posterior: Posterior, fit: Fit, k: int, side: int, width: Array, critical: float
) -> tuple[Array, Array]:
    """The k-th parameter moved away from its optimum, step by step: where (n_targets, POINTS), and the rise.

    Steps grow from a fifth of the standard error to MAX_DISTANCE; a target stops once it's well past the end.
    """
    targets = np.arange(len(fit.z))
    held = np.zeros(fit.z.shape, dtype=bool)
    held[:, k] = True
    scale = 2 * dispersion(posterior, fit)
    reached = fit.z.copy()
    where = np.empty((len(targets), POINTS))
    rise = np.full((len(targets), POINTS), np.nan)
    far = np.geomspace(0.2 * width, MAX_DISTANCE, POINTS).T
    active = targets
    for j in range(POINTS):
        where[:, j] = fit.z[:, k] + side * far[:, j]
        if not len(active):
            continue
        start = reached[active]
        start[:, k] = where[active, j]
        near = levenberg_marquardt(posterior, start, active, steps=12, held=held[active])
        end = bfgs(posterior, near.z, active, held=held[active], steps=60, tolerance=1e-5)
        reached[active] = end.z
        rise[active, j] = scale[active] * (end.objective - fit.objective[active])
        active = active[rise[active, j] < 4 * critical]
    return where, rise


def crossing(value: Array, rise: Array, critical: float) -> tuple[Array, Array]:
    """Where the rise first passes critical, (n_targets,), going outwards along the columns; whether it never does."""
    out, never = np.full(len(value), np.nan), np.zeros(len(value), dtype=bool)
    for t in range(len(value)):
        past = np.flatnonzero(rise[t] > critical)
        if not len(past):
            never[t] = True
            continue
        j = past[0]
        share = (critical - rise[t, j - 1]) / (rise[t, j] - rise[t, j - 1])
        out[t] = value[t, j - 1] + share * (value[t, j] - value[t, j - 1])
    return out, never
