"""A lower bound of the loss over all mixtures where the predictor isn't convex: branch and bound."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.runs.objective import Target
from mixopt.search.certificate import certify, duality_gap
from mixopt.search.local import polish
from mixopt.search.optimize import APART, Found
from mixopt.search.simplex import Feasible, total_variation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from regressors.relaxation import Relaxation

    Floats = NDArray[np.float64]

CLOSE = 5e-5  # nats/token: a bound so near the loss is near enough
NODES = 150  # boxes that are bounded at most; each takes a local search
INSIDE = 0.1  # of a box's width: a cut comes no nearer to its ends


def certified(estimator: Any, aim: Target, feasible: Feasible, found: Found) -> tuple[Found, dict[str, Any]]:
    """How well the found mixture is known to be the best one of its predictor, as recommendation.json holds it.

    A mixture that the proof meets on its way, and that is better, takes the found one's place.
    """
    from regressors.convexity import convexity
    from regressors.relaxation import relaxation

    if not hasattr(estimator, "gradient"):
        why = "the predictor has no slopes: nothing but the agreement of local searches speaks for the mixture"
        return found, {"residual": None, "gap": None, "scope": None, "why": why}

    def objective(mixtures: Floats) -> Floats:
        return aim.of(estimator.predict(mixtures))

    def slopes(mixtures: Floats) -> Floats:
        return np.einsum("t,ntd->nd", aim.by_target, estimator.gradient(mixtures))

    counts = aim.by_target > 0
    curved = convexity(estimator, feasible.high, counts)
    relaxed = None if curved.proven else relaxation(estimator, feasible.high, counts)
    if relaxed is None:
        return found, certify(slopes, feasible, found.weights, convex=curved.proven, why=curved.why).told()
    bounded = lower_bound(objective, relaxed, aim.by_target[counts], feasible, found.weights)
    found = _better(found, bounded)
    why = f"branch and bound over {bounded.boxes} part{'s' * (bounded.boxes > 1)} of what is allowed"
    told = certify(slopes, feasible, found.weights, convex=True, why=why).told()
    return found, told | {"gap": bounded.loss - bounded.bound}


def _better(found: Found, bounded: Bounded) -> Found:
    if bounded.loss >= found.polished - CLOSE / 100:
        return found
    near = bool(total_variation(found.weights, bounded.weights) < APART)
    return replace(
        found,
        weights=bounded.weights,
        polished=bounded.loss,
        agreeing_starts=found.agreeing_starts if near else 0,
    )


@dataclass(frozen=True, eq=False)
class Bounded:
    """bound: no feasible mixture is predicted lower, nats/token. weights (n_domains,): the best mixture met, of
    predicted loss `loss`. boxes: how many were bounded."""

    bound: float
    weights: Floats
    loss: float
    boxes: int


def lower_bound(
    objective: Callable[[Floats], Floats],
    relaxed: Relaxation,
    by_target: Floats,
    feasible: Feasible,
    weights: Floats,
    *,
    close: float = CLOSE,
    most: int = NODES,
) -> Bounded:
    """Cuts the feasible set into boxes until none can hold a mixture better than the best known one by more than close.

    objective: the loss (n,) of mixtures (n, n_domains). relaxed: convex lower bounds of the losses that count, whose
    mean by by_target (n_targets that count,) lies below the objective. weights: the best mixture known.
    On each box the relaxed loss is minimised; its duality gap there is taken off, so that the bound holds whether or
    not the local search ended well (Land & Doig 1960; McCormick 1976).
    """
    best, lowest = weights, float(objective(weights[None])[0])
    whole = _box(relaxed, by_target, feasible, weights)
    open_boxes = [(whole.bound, 0, whole)]
    fresh, boxes, least = [whole], 1, np.inf  # least: the bound of all boxes that can't be cut
    while True:
        for box in fresh:
            loss = float(objective(box.weights[None])[0])
            if loss < lowest:
                best, lowest = box.weights, loss
        if not open_boxes or open_boxes[0][0] >= lowest - close or boxes >= most:
            break
        _, _, box = heapq.heappop(open_boxes)
        fresh = [_box(relaxed, by_target, part, part.project(box.weights)) for part in _cut(relaxed, box)]
        if not fresh:
            least = min(least, box.bound)
        for one in fresh:
            boxes += 1
            bound = max(one.bound, box.bound)  # a part can't hold less than the whole
            heapq.heappush(open_boxes, (bound, boxes, replace(one, bound=bound)))
    bound = min([least, *(bound for bound, _, _ in open_boxes)])
    return Bounded(bound=float(min(bound, lowest)), weights=best, loss=lowest, boxes=boxes)


@dataclass(frozen=True, eq=False)
class Box:
    """Limits, the lower bound of the loss within them, and where the relaxed loss is lowest."""

    limits: Feasible
    bound: float
    weights: Floats


def _box(relaxed: Relaxation, by_target: Floats, limits: Feasible, start: Floats) -> Box:
    low, high = limits.low, limits.high

    def loss(w: Floats) -> Floats:
        return relaxed.predict(w, low, high) @ by_target

    def slopes(w: Floats) -> Floats:
        return np.einsum("t,ntd->nd", by_target, relaxed.gradient(w, low, high))

    found = polish(loss, slopes, limits, start=start)
    gap = duality_gap(slopes(found.weights[None])[0], limits, found.weights)
    return Box(limits, found.loss - gap, found.weights)


def _cut(relaxed: Relaxation, box: Box) -> list[Feasible]:
    """The box cut in two where the bound is loosest; none where it is tight everywhere."""
    low, high = box.limits.low, box.limits.high
    loose = np.where(high - low > 1e-6, relaxed.looseness(box.weights, low, high), 0.0)
    j = int(loose.argmax())
    if loose[j] <= 0:
        return []
    margin = INSIDE * (high[j] - low[j])
    at = float(np.clip(box.weights[j], low[j] + margin, high[j] - margin))
    ends: list[Any] = [(low, np.where(np.arange(len(high)) == j, at, high)),
                       (np.where(np.arange(len(low)) == j, at, low), high)]  # fmt: skip
    return [_tight(box.limits, a, b) for a, b in ends if a.sum() <= 1 and b.sum() >= 1]


def _tight(limits: Feasible, low: Floats, high: Floats) -> Feasible:
    """Limits without what the other weights' limits exclude, which bounds would be loose over."""
    most = np.minimum(high, 1 - (low.sum() - low))
    least = np.maximum(low, 1 - (high.sum() - high))
    return replace(limits, low=np.minimum(least, most), high=most)
