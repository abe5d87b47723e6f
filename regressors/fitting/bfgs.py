"""Batched BFGS with a backtracking line search, from vectors that are near their minimum."""

from math import inf

import numpy as np

from regressors.fitting.levenberg_marquardt import State, in_chunks, sound_model
from regressors.fitting.posterior import Posterior
from regressors.law import Array

MIN_STEP = 2.0**-16  # of a move, where a line search gives up
ARMIJO = 1e-4  # share of the promised fall that a step must keep


def bfgs(
    posterior: Posterior,
    z: Array,
    target: Array,
    *,
    steps: int = 200,
    tolerance: float = 1e-9,
    held: Array | None = None,
    inverse: Array | None = None,
) -> State:
    """Minimises the objective from every vector of the batch by BFGS.

    tolerance: a vector rests when its step promises less than this, in units of the objective.
    held: as in `levenberg_marquardt`. inverse: (batch, p, p) initial inverse Hessian; None: Gauss-Newton's.
    """

    def optimise(part: slice) -> tuple[Array, Array, Array]:
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
            here = (x[live], goal[live], objective[live], gradient[live])
            step, reached, slope = line_search(posterior, *here, move, fall)
            slope *= free[live]
            moved = np.isfinite(reached)
            turn = slope - gradient[live]
            good = moved & ((turn * step).sum(axis=1) > 0)
            bent[live[good]] = updated_inverse(bent[live[good]], step[good], turn[good])
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

    return in_chunks(optimise, posterior, target)


def line_search(
    posterior: Posterior, z: Array, target: Array, objective: Array, gradient: Array, move: Array, fall: Array
) -> tuple[Array, Array, Array]:
    """The part of each move that keeps enough of the promised fall, where that ends and the slope there.

    The move is halved until it does; (batch, p), (batch,) and (batch, p), the objective inf where nothing does.
    """
    step = move.copy()
    reached, slope = posterior.slope(z + step, target)
    share = np.ones(len(z))
    active = np.flatnonzero(~(reached <= objective - ARMIJO * fall) | ~np.isfinite(slope).all(axis=1))
    while len(active):
        share[active] /= 2
        step[active] = share[active, None] * move[active]
        reached[active], slope[active] = posterior.slope(z[active] + step[active], target[active])
        short = ~(reached[active] <= objective[active] - ARMIJO * share[active] * fall[active])
        short |= ~np.isfinite(slope[active]).all(axis=1)
        lost = active[short & (share[active] < MIN_STEP)]
        reached[lost], slope[lost] = inf, gradient[lost]
        active = active[short & (share[active] >= MIN_STEP)]
    return step, reached, slope


def updated_inverse(inverse: Array, step: Array, bend: Array) -> Array:
    """BFGS: the inverse curvature (batch, p, p) after a step that bent the gradient so."""
    scale = 1 / (step * bend).sum(axis=1)
    pressed = np.matmul(inverse, bend[..., None])[..., 0]
    stiff = scale * (1 + scale * (bend * pressed).sum(axis=1))
    cross = scale[:, None, None] * step[:, :, None] * pressed[:, None, :]
    return inverse + stiff[:, None, None] * step[:, :, None] * step[:, None, :] - cross - cross.transpose(0, 2, 1)
