"""Batched Levenberg-Marquardt: iteratively reweighted least squares for the Huber loss.

Damped Gauss-Newton steps for a whole batch of parameter vectors at once: robust, from anywhere, but slow to end where
residuals bend the objective. There steps shrink by a steady factor, which two of them show: where the extrapolated end
(Anderson 1965, with a memory of one step) is lower, it is taken, which saves most of the steps. Even so it crawls where
many residuals lie beyond Huber's knee: there `bfgs` takes over, whose curvature learns what the reweighting gets wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from regressors.fitting.posterior import Posterior
from regressors.law import Array

CHUNK_BYTES = 4 * 2**20  # a batch's Jacobian stays within this: it's read again right after it's written
MAX_EXTRAPOLATION = 1e3  # steps
RIDGE = 1e-10  # share of a curvature's largest diagonal: keeps a direction without any slope solvable
MIN_CURVATURE = 1e-200  # below it there is none: its inverse would overflow


@dataclass(frozen=True)
class State:
    """A batch of parameter vectors and where the optimiser has taken them."""

    z: Array  # (batch, n_params)
    target: Array  # (batch,) which target each one is for
    objective: Array  # (batch,)
    converged: Array  # (batch,) bool


Optimiser = Callable[[slice], tuple[Array, Array, Array]]


def in_chunks(optimise: Optimiser, posterior: Posterior, target: Array) -> State:
    """optimise(part) -> (z, objective, converged) for parts of the batch that memory can hold."""
    each = max(1, CHUNK_BYTES // (8 * posterior.rows.runs * posterior.space.size))
    parts = [optimise(slice(first, first + each)) for first in range(0, max(len(target), 1), each)]
    z, objective, converged = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
    return State(z, target, objective, converged)


def levenberg_marquardt(
    posterior: Posterior,
    z: Array,
    target: Array,
    *,
    steps: int = 300,
    tolerance: float = 1e-7,
    held: Array | None = None,
) -> State:
    """Minimises the objective from every vector of the batch, each to its own minimum.

    tolerance: a vector rests when its Gauss-Newton step promises less than this, in units of the objective.
    held: (batch, n_params) bool, parameters that stay where they are.
    """

    def optimise(part: slice) -> tuple[Array, Array, Array]:
        x, goal, still = z[part].copy(), target[part], None if held is None else held[part]
        objective = posterior.objective(x, goal)
        converged = np.zeros(len(x), dtype=bool)
        damping = np.full(len(x), 1e-2)
        before, first = np.zeros((2, *x.shape)), np.ones(len(x), dtype=bool)  # where the last step began, and the step
        live = np.flatnonzero(np.isfinite(objective))
        for _ in range(steps):
            if not len(live):
                break
            fixed = None if still is None else still[live]
            move, promised = damped_step(posterior, x[live], goal[live], damping[live], fixed)
            tried = x[live] + move
            reached = posterior.objective(tried, goal[live])
            ahead = extrapolated(x[live], move, before[0, live], before[1, live])
            there = np.where(first[live], inf, posterior.objective(ahead, goal[live]))
            tried = np.where((there < reached)[:, None], ahead, tried)
            reached = np.minimum(reached, there)
            before[0, live], before[1, live] = x[live], move
            better = reached <= objective[live]
            first[live] = ~better
            x[live[better]] = tried[better]
            objective[live[better]] = reached[better]
            arrived = promised * (1 + damping[live]) < tolerance  # an undamped step promises no more than that
            converged[live] = arrived
            damping[live] = np.clip(np.where(better, damping[live] / 8, damping[live] * 6), 1e-9, 1e9)
            live = live[~arrived & (damping[live] < 1e9)]
        return x, objective, converged

    return in_chunks(optimise, posterior, target)


def extrapolated(z: Array, move: Array, last_z: Array, last_move: Array) -> Array:
    """Where this step and the last one would lead if the next ones went on as they do, (batch, n_params)."""
    change = move - last_move
    share = (change * move).sum(axis=1) / np.maximum((change**2).sum(axis=1), np.finfo(float).tiny)
    return z + move - np.clip(share, -MAX_EXTRAPOLATION, MAX_EXTRAPOLATION)[:, None] * (z - last_z + change)


def damped_step(
    posterior: Posterior, z: Array, target: Array, damping: Array, held: Array | None = None
) -> tuple[Array, Array]:
    """A Levenberg-Marquardt step (batch, p) and the fall of the objective that it promises, (batch,).

    Where derivatives overflow, the step is 0 and promises inf: the vector can't move, nor count as converged.
    """
    downhill, curvature, sound = sound_model(posterior, z, target, held)
    diagonal = np.arange(z.shape[1])
    curvature[:, diagonal, diagonal] *= 1 + damping[:, None]
    move = np.linalg.solve(curvature, downhill[..., None])[..., 0]
    return move, np.where(sound, 0.5 * (move * downhill).sum(axis=-1), inf)


def sound_model(posterior: Posterior, z: Array, target: Array, held: Array | None) -> tuple[Array, Array, Array]:
    """Downhill direction and a curvature that can be solved, held parameters taken out; which of them are sound."""
    downhill, curvature, _ = posterior.model(z, target)
    sound = np.asarray(np.isfinite(curvature).all(axis=(1, 2)) & np.isfinite(downhill).all(axis=1))
    diagonal = np.arange(z.shape[1])
    curvature[~sound], downhill[~sound] = np.eye(len(diagonal)), 0
    if held is not None:
        downhill = np.where(held, 0, downhill)
        curvature = np.where(held[:, :, None] | held[:, None, :], 0, curvature)
        curvature[:, diagonal, diagonal] += held
    largest = curvature[:, diagonal, diagonal].max(axis=1, keepdims=True)
    curvature[:, diagonal, diagonal] += RIDGE * np.where(largest > MIN_CURVATURE, largest, 1.0)
    return downhill, curvature, sound
