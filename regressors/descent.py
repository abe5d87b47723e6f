"""Two ways down, both for a whole batch of parameter vectors at once.

`descend` takes damped Gauss-Newton steps (Levenberg-Marquardt), Huber's loss through reweighting: robust, from
anywhere, but slow to end where residuals bend the objective. There steps shrink by a steady factor, which two of them
tell: where the extrapolated end (Anderson 1965, with a memory of one step) is lower, it is taken, which saves most of
the steps. Even so it crawls where many residuals lie beyond Huber's knee: `finish` ends with BFGS steps, whose
curvature learns what the reweighting gets wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

import numpy as np

from regressors.law import Array
from regressors.posterior import Posterior

CHUNK_BYTES = 4 * 2**20  # a batch's Jacobian stays within this: it's read again right after it's written
FARTHEST = 1e3  # steps that an extrapolation may look ahead
RIDGE = 1e-10  # share of a curvature's largest diagonal: keeps a direction without any slope solvable
NO_SLOPE = 1e-200  # a curvature below it is none: its inverse would overflow
SHORTEST = 2.0**-16  # of a step, where a line search gives up
ENOUGH = 1e-4  # share of the promised fall that a step must keep (Armijo's condition)


@dataclass(frozen=True)
class State:
    """A batch of parameter vectors on their way down."""

    z: Array  # (batch, n_params)
    target: Array  # (batch,) which target each one is for
    objective: Array  # (batch,)
    converged: Array  # (batch,) bool


Walk = Callable[[slice], tuple[Array, Array, Array]]


def in_chunks(walk: Walk, posterior: Posterior, target: Array) -> State:
    """walk(part) -> (z, objective, converged) for parts of the batch that memory can hold."""
    each = max(1, CHUNK_BYTES // (8 * posterior.rows.runs * posterior.space.size))
    parts = [walk(slice(first, first + each)) for first in range(0, max(len(target), 1), each)]
    z, objective, converged = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
    return State(z, target, objective, converged)


def descend(
    posterior: Posterior,
    z: Array,
    target: Array,
    *,
    steps: int = 300,
    tolerance: float = 1e-7,
    held: Array | None = None,
) -> State:
    """Takes every vector of the batch to its own minimum.

    tolerance: a vector rests when its Gauss-Newton step promises less than this, in units of the objective.
    held: (batch, n_params) bool, parameters that stay where they are.
    """

    def walk(part: slice) -> tuple[Array, Array, Array]:
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

    return in_chunks(walk, posterior, target)


def extrapolated(z: Array, move: Array, last_z: Array, last_move: Array) -> Array:
    """Where this step and the last one would lead if the next ones went on as they do, (batch, n_params)."""
    change = move - last_move
    share = (change * move).sum(axis=1) / np.maximum((change**2).sum(axis=1), np.finfo(float).tiny)
    return z + move - np.clip(share, -FARTHEST, FARTHEST)[:, None] * (z - last_z + change)


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
    curvature[:, diagonal, diagonal] += RIDGE * np.where(largest > NO_SLOPE, largest, 1.0)
    return downhill, curvature, sound


def finish(
    posterior: Posterior,
    z: Array,
    target: Array,
    *,
    steps: int = 200,
    tolerance: float = 1e-9,
    held: Array | None = None,
    inverse: Array | None = None,
) -> State:
    """Batched BFGS with backtracking, from vectors that are near their minimum.

    tolerance: a vector rests when its step promises less than this, in units of the objective.
    held: as in `descend`. inverse: (batch, p, p) first guess of the inverse curvature; None: Gauss-Newton's.
    """

    def walk(part: slice) -> tuple[Array, Array, Array]:
        x, goal = z[part].copy(), target[part]
        free = np.ones(x.shape) if held is None else 1.0 - held[part]
        objective, gradient = posterior.slope(x, goal)
        gradient *= free
        if inverse is None:
            first = np.linalg.inv(sound_model(posterior, x, goal, None if held is None else held[part])[1])
        else:
            first = inverse[part]
        bent, learned = first.copy(), np.zeros(len(x), dtype=bool)
        converged = np.zeros(len(x), dtype=bool)
        live = np.flatnonzero(np.isfinite(objective) & np.isfinite(gradient).all(axis=1))
        for _ in range(steps):
            if not len(live):
                break
            move = -np.matmul(bent[live], gradient[live, :, None])[..., 0] * free[live]
            fall = -(move * gradient[live]).sum(axis=1)
            step, reached, slope = searched(posterior, x[live], goal[live], objective[live], gradient[live], move, fall)
            slope *= free[live]
            moved = np.isfinite(reached)
            turn = slope - gradient[live]
            good = moved & ((turn * step).sum(axis=1) > 0)
            bent[live[good]] = updated(bent[live[good]], step[good], turn[good])
            arrived = 0.5 * np.abs(fall) < tolerance
            retry = ~moved & ~arrived & learned[live]  # once more, with the curvature as it was guessed at first
            bent[live[retry]] = first[live[retry]]
            learned[live] = moved
            converged[live] = arrived
            into = live[moved]
            x[into] += step[moved]
            objective[into], gradient[into] = reached[moved], slope[moved]
            live = live[~arrived & (moved | retry)]
        return x, objective, converged

    return in_chunks(walk, posterior, target)


def searched(
    posterior: Posterior, z: Array, target: Array, objective: Array, gradient: Array, move: Array, fall: Array
) -> tuple[Array, Array, Array]:
    """The part of each move that keeps enough of the promised fall, where that ends and the slope there.

    The move is halved until it does; (batch, p), (batch,) and (batch, p), the objective inf where nothing does.
    """
    step = move.copy()
    reached, slope = posterior.slope(z + step, target)
    share = np.ones(len(z))
    asked = np.flatnonzero(~(reached <= objective - ENOUGH * fall) | ~np.isfinite(slope).all(axis=1))
    while len(asked):
        share[asked] /= 2
        step[asked] = share[asked, None] * move[asked]
        reached[asked], slope[asked] = posterior.slope(z[asked] + step[asked], target[asked])
        short = ~(reached[asked] <= objective[asked] - ENOUGH * share[asked] * fall[asked])
        short |= ~np.isfinite(slope[asked]).all(axis=1)
        lost = asked[short & (share[asked] < SHORTEST)]
        reached[lost], slope[lost] = inf, gradient[lost]
        asked = asked[short & (share[asked] >= SHORTEST)]
    return step, reached, slope


def updated(inverse: Array, step: Array, bend: Array) -> Array:
    """BFGS: the inverse curvature (batch, p, p) after a step that bent the gradient so."""
    scale = 1 / (step * bend).sum(axis=1)
    pressed = np.matmul(inverse, bend[..., None])[..., 0]
    stiff = scale * (1 + scale * (bend * pressed).sum(axis=1))
    cross = scale[:, None, None] * step[:, :, None] * pressed[:, None, :]
    return inverse + stiff[:, None, None] * step[:, :, None] * step[:, None, :] - cross - cross.transpose(0, 2, 1)
