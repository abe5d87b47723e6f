"""Local search on the simplex: sequential quadratic programming, or pairwise moves where there is no gradient."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mixopt.search.simplex import Feasible, Floats

Objective = Callable[[Floats], Floats]  # mixtures (n, n_domains) -> losses (n,), nats/token
Gradient = Callable[[Floats], Floats]  # mixtures (n, n_domains) -> slopes (n, n_domains)

MAX_MOVE = 0.1  # share of tokens that a search without gradient moves first, halved down to ...
MIN_MOVE = 1e-4
MIN_GAIN = 1e-9  # nats/token; less is a rounding
MAX_ROUNDS = 300  # of moves; each judges every pair of domains once


@dataclass(frozen=True, eq=False)
class Polished:
    """A mixture (n_domains,) and its predicted loss, nats/token: never above the start's."""

    weights: Floats
    loss: float


def polish(objective: Objective, gradient: Gradient | None, feasible: Feasible, *, start: Floats) -> Polished:
    """The best mixture that a local search from start (n_domains,) finds; start itself when there is none better.

    With a gradient: sequential quadratic programming (SLSQP, Kraft 1988). Without: moves of weight between two
    domains, which ask nothing of the predictor; where it is flat, as trees are, they may gain nothing.
    """
    best = Polished(start, float(objective(start[None])[0]))
    if feasible.free.sum() < 2:
        return best
    if gradient is None:
        return _by_moves(objective, feasible, best)
    ended = feasible.project(_slsqp(objective, gradient, feasible, start))
    loss = float(objective(ended[None])[0])
    return Polished(ended, loss) if loss < best.loss else best


def _slsqp(objective: Objective, gradient: Gradient, feasible: Feasible, start: Floats) -> Floats:
    """Where SLSQP ends, (n_domains,), perhaps a rounding outside the limits."""
    from scipy.optimize import minimize

    free = np.flatnonzero(feasible.free)
    total = start[free].sum()

    def whole(x: Floats) -> Floats:
        w = start.copy()
        w[free] = np.clip(x, feasible.low[free], feasible.high[free])  # steps may overshoot by a rounding
        return w[None]

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Values in x were outside bounds", category=RuntimeWarning)
        found = minimize(
            lambda x: float(objective(whole(x))[0]),
            start[free],
            jac=lambda x: np.nan_to_num(gradient(whole(x))[0][free], posinf=0.0, neginf=0.0),
            method="SLSQP",
            bounds=list(zip(feasible.low[free], feasible.high[free], strict=True)),
            constraints={"type": "eq", "fun": lambda x: x.sum() - total, "jac": np.ones_like},
            options={"ftol": 1e-10, "maxiter": 500},
        )
    return whole(found.x)[0] if np.isfinite(found.x).all() else start


def _by_moves(objective: Objective, feasible: Feasible, best: Polished) -> Polished:
    """Moves weight between the pair of domains that gains most, halving the move where none gains."""
    move = MAX_MOVE
    for _ in range(MAX_ROUNDS):
        moved = _moves(feasible, best.weights, move)
        losses = objective(moved)
        i = int(np.argmin(losses))
        if losses[i] < best.loss - MIN_GAIN:
            best = Polished(moved[i], float(losses[i]))
        elif move <= MIN_MOVE:
            break
        else:
            move /= 2
    return best


def _moves(feasible: Feasible, w: Floats, move: float) -> Floats:
    """w with up to `move` taken from one domain and given to another, (n_pairs, n_domains), as far as limits allow."""
    free = np.flatnonzero(feasible.free)
    giver, taker = (index.ravel() for index in np.meshgrid(free, free, indexing="ij"))
    amount = np.clip(np.minimum(w[giver] - feasible.low[giver], feasible.high[taker] - w[taker]), 0.0, move)
    keep = (giver != taker) & (amount > 0)
    rows = np.arange(keep.sum())
    moved = np.tile(w, (len(rows), 1))
    moved[rows, giver[keep]] -= amount[keep]
    moved[rows, taker[keep]] += amount[keep]
    return feasible.project(moved)  # takes off roundings, so that what was judged is what is kept
