"""One engine for every law: maximum a posteriori, robust, in float64, many starts x many targets solved at once.

Minimised, per target, over z, the unconstrained parameters in units of their priors (standard normal a priori):

    sum_i huber((loss_i - formula(w_i)) / noise) + |z|^2 / 2

by damped Gauss-Newton steps (Levenberg-Marquardt) with exact derivatives, Huber's loss through reweighting. The noise
level decides how much the priors count. It is estimated from the same rows: the residual sum of squares over
the rows that the parameters have not used up (MacKay 1992, Bayesian interpolation), beside a weak prior of its own.
"""

from dataclasses import dataclass
from math import erf, inf, sqrt

import numpy as np

from regressors.law import Array, Law, Scale
from regressors.space import Space

CHUNK_BYTES = 32 * 2**20  # a batch's Jacobian stays within this: it's read again right after it's written
NOISE_PRIOR = (0.05, 2.0)  # noise is about this share of the spread of losses, said with the weight of so many rows
NOISE_ROUNDS = 10  # noise and parameters settle each other in a few rounds
NOISE_CHANGE = 0.01  # relative; less than that moves no prediction that matters
FIRST_NOISE = 0.2  # share of the spread; high, so that the first descent stays near the priors
AGREEMENT = 1e-3  # objectives this close, in units of log posterior, are one optimum
TINY = 1e-12


@dataclass(frozen=True)
class Rows:
    """What is fitted: w (n_runs, n_domains); y and known (n_targets, n_runs), known 0 where a loss is missing."""

    w: Array
    y: Array
    known: Array


@dataclass(frozen=True)
class State:
    """A batch of parameter vectors on their way down."""

    z: Array  # (batch, n_params)
    target: Array  # (batch,) which target each one is for
    objective: Array  # (batch,)
    converged: Array  # (batch,) bool


@dataclass(frozen=True)
class Fit:
    """Where the fit of one law ended, per target."""

    values: dict[str, Array]  # natural parameters, (n_targets, *own axes)
    z: Array  # (n_targets, n_params) the same in units of the priors
    objective: Array  # (n_targets,) negative log posterior at `noise`, up to a constant
    noise: Array  # (n_targets,) nats/token
    used: Array  # (n_targets,) how many parameters the rows decided
    agreeing: Array  # (n_targets,) share of starts that ended at this objective
    converged: Array  # (n_targets,) bool


class Posterior:
    """The objective of every target, its Gauss-Newton model, and the noise level."""

    def __init__(self, law: Law, rows: Rows, space: Space, *, huber: float, spread: Array):
        self.law, self.rows, self.space, self.huber, self.spread = law, rows, space, huber, spread
        self.noise = FIRST_NOISE * spread

    def _loss(self, residual: Array, known: Array) -> Array:
        size = np.abs(residual)
        square = np.minimum(size, self.huber)  # the part that counts squared
        return (known * square * (size - 0.5 * square)).sum(axis=-1)

    def objective(self, z: Array, target: Array) -> Array:
        """(batch,), inf where a step has left the numbers that a float can hold."""
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            loss = self.law.formula(self.rows.w, **self.space.values(z, target))
            residual = (self.rows.y[target] - loss) / self.noise[target, None]
            total = self._loss(residual, self.rows.known[target]) + 0.5 * (z**2).sum(axis=-1)
        return np.where(np.isfinite(total), total, inf)

    def model(self, z: Array, target: Array) -> tuple[Array, Array, Array]:
        """Downhill direction (batch, p), curvature (batch, p, p), weighted squared residuals in nats^2 (batch,)."""
        noise = self.noise[target, None]
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            loss, jacobian = self.space.jacobian(self.rows.w, z, target)
        residual = (self.rows.y[target] - loss) / noise
        weight = self.rows.known[target] * np.minimum(1, self.huber / np.maximum(np.abs(residual), TINY))
        jacobian *= (np.sqrt(weight) / noise)[..., None]
        downhill = np.einsum("bn,bnp->bp", np.sqrt(weight) * residual, jacobian) - z
        curvature = np.matmul(jacobian.transpose(0, 2, 1), jacobian)
        curvature[:, np.arange(self.space.size), np.arange(self.space.size)] += 1
        return downhill, curvature, (weight * residual**2).sum(axis=-1) * noise[:, 0] ** 2


def descend(posterior: Posterior, z: Array, target: Array, *, steps: int = 300, tolerance: float = 1e-7) -> State:
    """Takes every vector of the batch to its own minimum.

    tolerance: a vector rests when its Gauss-Newton step promises less than this, in units of the objective.
    """
    per_chunk = max(1, CHUNK_BYTES // (8 * len(posterior.rows.w) * posterior.space.size))
    parts = []
    for first in range(0, len(z), per_chunk):
        part = slice(first, first + per_chunk)
        parts.append(_descend(posterior, z[part], target[part], steps, tolerance))
    return State(*(np.concatenate(pieces) for pieces in zip(*parts, strict=True)))


def _descend(
    posterior: Posterior, z: Array, target: Array, steps: int, tolerance: float
) -> tuple[Array, Array, Array, Array]:
    """The fields of State for a part of a batch that memory can hold."""
    z = z.copy()
    objective = posterior.objective(z, target)
    converged = np.zeros(len(z), dtype=bool)
    damping = np.full(len(z), 1e-2)
    live = np.flatnonzero(np.isfinite(objective))
    for _ in range(steps):
        if not len(live):
            break
        move, promised = damped_step(posterior, z[live], target[live], damping[live])
        tried = z[live] + move
        reached = posterior.objective(tried, target[live])
        better = reached <= objective[live]
        z[live[better]] = tried[better]
        objective[live[better]] = reached[better]
        arrived = promised * (1 + damping[live]) < tolerance  # an undamped step promises no more than that
        converged[live] = arrived
        damping[live] = np.clip(np.where(better, damping[live] / 8, damping[live] * 6), 1e-9, 1e9)
        live = live[~arrived & (damping[live] < 1e9)]
    return z, target, objective, converged


def damped_step(posterior: Posterior, z: Array, target: Array, damping: Array) -> tuple[Array, Array]:
    """A Levenberg-Marquardt step (batch, p) and the fall of the objective that it promises, (batch,).

    Where derivatives overflow, the step is 0 and promises inf: the vector can't move, nor count as converged.
    """
    downhill, curvature, _ = posterior.model(z, target)
    sound = np.isfinite(curvature).all(axis=(1, 2)) & np.isfinite(downhill).all(axis=1)
    diagonal = np.arange(z.shape[1])
    curvature[~sound], downhill[~sound] = np.eye(len(diagonal)), 0
    curvature[:, diagonal, diagonal] *= 1 + damping[:, None]
    move = np.linalg.solve(curvature, downhill[..., None])[..., 0]
    return move, np.where(sound, 0.5 * (move * downhill).sum(axis=-1), inf)


def settle_noise(posterior: Posterior, z: Array) -> Array:
    """Lets one vector a target and the target's noise level settle each other; changes posterior.noise."""
    z = z.copy()
    moving = np.arange(len(z))  # each target stops by itself: what else is fitted beside it decides nothing
    for _ in range(NOISE_ROUNDS):
        if not len(moving):
            break
        z[moving] = descend(posterior, z[moving], moving, tolerance=1e-3).z
        noise, _ = estimate_noise(posterior, z[moving], moving)
        change = np.abs(np.log(noise / posterior.noise[moving]))
        posterior.noise[moving] = noise
        moving = moving[change > NOISE_CHANGE]
    return z


def estimate_noise(posterior: Posterior, z: Array, target: Array) -> tuple[Array, Array]:
    """Noise in nats/token and how many parameters the rows decide, (batch,) each, at optima z (batch, n_params)."""
    _, curvature, squares = posterior.model(z, target)
    used = posterior.space.size - np.trace(np.linalg.inv(curvature), axis1=1, axis2=2)
    share, weight = NOISE_PRIOR
    prior = (share * posterior.spread[target]) ** 2
    free = np.maximum(posterior.rows.known[target].sum(axis=-1) - used, 0)
    kept = erf(posterior.huber / sqrt(2))  # share of a normal sample's squares that Huber's weights keep
    return np.sqrt((squares / kept + weight * prior) / (free + weight)), used


def fit_law(law: Law, W: Array, Y: Array, *, starts: int, huber: float, rng: np.random.Generator) -> Fit:
    """Fits a law to every column of Y at once.

    W: (n_runs, n_domains) shares of 0 or more. Y: (n_runs, n_targets) nats/token, nan where a loss is missing; every
    target has one at least. starts: how many starts a target gets; the first is the priors' centre, the others are
    drawn from half the priors' width. huber: residuals beyond so many noise levels count linearly; inf for
    least squares.
    """
    scale = measure(W, Y)
    rows = Rows(w=W, y=np.nan_to_num(Y.T), known=np.isfinite(Y.T).astype(float))
    posterior = Posterior(law, rows, Space(law, scale), huber=huber, spread=scale.spread)
    targets, size = np.arange(Y.shape[1]), posterior.space.size
    settled = settle_noise(posterior, np.zeros((len(targets), size)))
    drawn = 0.5 * rng.standard_normal((starts - 1, size))
    ends = descend(
        posterior, np.concatenate([settled, np.repeat(drawn, len(targets), axis=0)]), np.tile(targets, starts)
    )
    objective = ends.objective.reshape(starts, -1)
    pick = objective.argmin(axis=0) * len(targets) + targets
    z = ends.z[pick]
    return Fit(
        values=posterior.space.values(z, targets),
        z=z,
        objective=ends.objective[pick],
        noise=posterior.noise,
        used=estimate_noise(posterior, z, targets)[1],
        agreeing=(objective < objective.min(axis=0) + AGREEMENT).mean(axis=0),
        converged=ends.converged[pick],
    )


def measure(W: Array, Y: Array) -> Scale:
    """The data's orders of magnitude, kept positive where all losses of a target are equal."""
    spread, mean = np.nanstd(Y, axis=0), np.nanmean(Y, axis=0)
    spread = np.maximum(spread, 1e-6 * np.maximum(np.abs(mean), 1e-6))
    return Scale(domains=W.shape[1], low=np.maximum(np.nanmin(Y, axis=0), 0.1 * spread), mean=mean, spread=spread)
