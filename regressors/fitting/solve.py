"""Fitting of any law: robust maximum a posteriori, best of several starts, all targets solved at once.

`posterior` holds the objective, `levenberg_marquardt` and `bfgs` minimise it, `initialization` gives the starts, and
`uncertainty` says how sure the result is. Where the noise level isn't given, it decides how much the priors count, and
is estimated from the same rows: the residual sum of squares over the rows that the parameters have not used up (MacKay
1992, Bayesian interpolation), with a weak prior of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import erf, sqrt

import numpy as np

from regressors.fitting.bfgs import bfgs
from regressors.fitting.initialization import grid_starts, has_grid, random_starts
from regressors.fitting.levenberg_marquardt import State, levenberg_marquardt
from regressors.fitting.posterior import Criterion, Posterior, Rows
from regressors.fitting.run_noise import run_noise
from regressors.fitting.transforms import Space
from regressors.law import Array, Law, Scale

NOISE_PRIOR = (0.05, 2.0)  # noise is about this share of the spread of losses, with the weight of so many rows
NOISE_ROUNDS = 20  # noise and parameters settle each other in a few rounds ...
ROUND_STEPS = 12  # ... of so many steps: parameters needn't arrive before the noise is known
NOISE_CHANGE = 0.01  # relative; less than that moves no prediction that matters
AGREEMENT = 1e-2  # objectives this close, in units of log posterior, are one optimum
ROUGH = 1e-4  # how far starts are followed, in units of the objective: enough to tell which one ends lowest
STEPS_BEFORE_BFGS = 12  # reweighted steps lead near an optimum in a few and then crawl


@dataclass(frozen=True)
class Fit:
    """Where the fit of one law ended, per target."""

    values: dict[str, Array]  # natural parameters, (n_targets, *own axes)
    units: dict[str, float]  # what the inputs other than w were divided by
    z: Array  # (n_targets, n_params) the same in units of the priors
    objective: Array  # (n_targets,) negative log posterior up to a constant; times criterion.unit a sum of losses
    noise: Array  # (n_targets,) nats/token, or of ln loss
    used: Array  # (n_targets,) how many parameters the rows decided
    agreeing: Array  # (n_targets,) share of starts that ended at this objective
    converged: Array  # (n_targets,) bool

    def predict(self, law: Law, inputs: Array | Mapping[str, Array]) -> Array:
        """Losses (n_points, n_targets), nats/token, at inputs as `fit_law` takes them."""
        return law.formula(*in_units(law, inputs, self.units), **self.values).T


def fit_law(
    law: Law,
    inputs: Array | Mapping[str, Array],
    Y: Array,
    *,
    n_starts: int,
    rng: np.random.Generator,
    criterion: Criterion | None = None,
    weights: Array | None = None,
) -> Fit:
    """Fits a law to every column of Y at once.

    inputs: the law's inputs by name, w (n_runs, n_domains) shares of 0 or more, others (n_runs,) above 0; an array
    stands for w alone. Y: (n_runs, n_targets) nats/token, nan where a loss is missing; every target has one at least.
    n_starts: how many starts a target gets, from the priors' centre and around it, or the best of a grid for laws that
    allow it. weights: (n_runs,), how much each run counts.
    """
    posterior, units = build_posterior(law, inputs, Y, criterion=criterion, weights=weights)
    return solve(posterior, units, n_starts=n_starts, rng=rng)


def build_posterior(
    law: Law,
    inputs: Array | Mapping[str, Array],
    Y: Array,
    *,
    criterion: Criterion | None = None,
    weights: Array | None = None,
) -> tuple[Posterior, dict[str, float]]:
    """The posterior that `fit_law` minimises, and the units of its inputs. Parameters as there.

    Raises ValueError for an input that isn't above 0, and for a loss that isn't where residuals are of logs.
    """
    criterion = criterion or Criterion()
    given = {"w": inputs} if not isinstance(inputs, Mapping) else inputs
    units = units_of(law, given)
    known = np.isfinite(Y.T)
    if criterion.log and (Y.T[known] <= 0).any():
        raise ValueError("a loss of 0 or less has no log: fit the loss itself")
    weight = known * (1.0 if weights is None else np.asarray(weights, dtype=float))
    rows = Rows(inputs=in_units(law, given, units), y=np.where(known, Y.T, 1.0), weight=weight)
    scale = measure(Y, domains=np.shape(given["w"])[1] if "w" in law.inputs else 0)
    spread = scale.spread / scale.mean if criterion.log else scale.spread
    return Posterior(law, rows, Space(law, scale), criterion, spread=spread), units


def solve(
    posterior: Posterior,
    units: dict[str, float],
    *,
    n_starts: int,
    rng: np.random.Generator,
    shared: bool = False,
    first: Array | None = None,
) -> Fit:
    """The lowest of what all starts reach, per target.

    shared: runs have noise levels of their own (`regressors.fitting.run_noise`), where the noise is estimated.
    first: (n_targets, n_params), where the first start begins, at a noise and scatter that the posterior has already.
    """
    targets, size = np.arange(len(posterior.noise)), posterior.space.size
    if has_grid(posterior.law):
        starts = grid_starts(posterior, n_starts)
    else:
        starts = np.repeat(random_starts(posterior, n_starts, rng)[:, None], len(targets), axis=1)
        starts[0] = 0 if first is None else first
    if posterior.criterion.noise is None:
        starts[0] = settle_noise(posterior, starts[0])
        if shared and first is None:
            posterior.scatter = np.tile(run_noise(posterior, starts[0]), (len(targets), 1))
            starts[0] = settle_noise(posterior, starts[0])
    tried = len(starts)
    ends = minimise(posterior, starts.reshape(-1, size), np.tile(targets, tried))
    objective = ends.objective.reshape(tried, -1)
    best = minimise(posterior, ends.z[objective.argmin(axis=0) * len(targets) + targets], targets, last=True)
    return Fit(
        values=posterior.space.values(best.z, targets),
        units=units,
        z=best.z,
        objective=best.objective,
        noise=posterior.noise,
        used=estimate_noise(posterior, best.z, targets)[1],
        agreeing=(objective < objective.min(axis=0) + AGREEMENT).mean(axis=0),
        converged=best.converged,
    )


def minimise(posterior: Posterior, z: Array, target: Array, *, last: bool = False) -> State:
    """The minimum from each start, roughly; `last`: to the last digit.

    A fixed noise level may lie far below the residuals: then steps that reweight them crawl, and BFGS takes over.
    """
    if posterior.criterion.noise is None:
        return levenberg_marquardt(posterior, z, target, tolerance=1e-7 if last else ROUGH)
    if last:
        return bfgs(posterior, z, target)
    near = levenberg_marquardt(posterior, z, target, steps=STEPS_BEFORE_BFGS)
    return bfgs(posterior, near.z, target, tolerance=ROUGH)


def settle_noise(posterior: Posterior, z: Array) -> Array:
    """Alternates between one vector a target and the target's noise level; changes posterior.noise."""
    z = z.copy()
    moving = np.arange(len(z))  # each target stops by itself: what else is fitted in the batch decides nothing
    for _ in range(NOISE_ROUNDS):
        if not len(moving):
            break
        z[moving] = levenberg_marquardt(posterior, z[moving], moving, steps=ROUND_STEPS, tolerance=1e-3).z
        noise, _ = estimate_noise(posterior, z[moving], moving)
        change = np.abs(np.log(noise / posterior.noise[moving]))
        posterior.noise[moving] = noise
        moving = moving[change > NOISE_CHANGE]
    return z


def estimate_noise(posterior: Posterior, z: Array, target: Array) -> tuple[Array, Array]:
    """Noise in nats/token and how many parameters the rows decide, (batch,) each, at optima z (batch, n_params)."""
    _, curvature, squares = posterior.model(z, target)
    precision = posterior.space.precision[target]
    left = np.linalg.pinv(curvature, hermitian=True)[:, np.arange(z.shape[1]), np.arange(z.shape[1])]
    used = z.shape[1] - (left * precision).sum(axis=1)
    share, weight = NOISE_PRIOR
    prior = (share * posterior.spread[target]) ** 2
    free = np.maximum(posterior.rows.weight[target].sum(axis=-1) - used, 0)
    kept = erf(posterior.criterion.huber / sqrt(2))  # share of a normal sample's squares that Huber's weights keep
    return np.sqrt((squares / kept + weight * prior) / (free + weight)), used


def measure(Y: Array, *, domains: int) -> Scale:
    """The data's orders of magnitude, kept positive where all losses of a target are equal."""
    spread, mean = np.nanstd(Y, axis=0), np.nanmean(Y, axis=0)
    spread = np.maximum(spread, 1e-6 * np.maximum(np.abs(mean), 1e-6))
    return Scale(domains=domains, low=np.maximum(np.nanmin(Y, axis=0), 0.1 * spread), mean=mean, spread=spread)


def units_of(law: Law, given: Mapping[str, Array]) -> dict[str, float]:
    """What each input other than w is divided by. Raises ValueError for one that isn't above 0."""
    means = {name: unit_of(name, given[name]) for name in law.inputs if name != "w" and law.units.get(name) != 1.0}
    chosen = {name: law.units.get(name, name) for name in law.inputs if name != "w"}
    return {name: means[unit] if isinstance(unit, str) else float(unit) for name, unit in chosen.items()}


def unit_of(name: str, values: Array) -> float:
    """The geometric mean of a number a run. Raises ValueError where one isn't above 0."""
    values = np.asarray(values, dtype=float)
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError(f"{name}: every run needs a number above 0")
    return float(np.exp(np.log(values).mean()))


def in_units(law: Law, inputs: Array | Mapping[str, Array], units: Mapping[str, float]) -> list[Array]:
    """A law's inputs in its order, those other than w in units of what the fit saw."""
    given = {"w": inputs} if not isinstance(inputs, Mapping) else inputs
    return [np.asarray(given[name]) / units.get(name, 1.0) for name in law.inputs]
