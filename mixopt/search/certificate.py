"""What shows that a mixture is the best one: first-order conditions, and for a convex predictor a lower bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.formatting import digits
from mixopt.search.simplex import Feasible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


AT = 1e-6  # a share of the tokens; a weight nearer than that to its limit stands at it


@dataclass(frozen=True, eq=False)
class Multipliers:
    """First-order conditions at a mixture (Karush 1939, Kuhn & Tucker 1951), nats/token per unit of share.

    At the best mixture the slope is the same, `level`, for every weight that can move; at a lower limit it is higher,
    by `floor`, at an upper one lower, by `cap`. floor: what lowering a lower limit would gain, cap: what raising an
    upper limit would gain, (n_domains,), 0 where a weight is not at its limit or is fixed.
    residual: what moving tokens between the two domains for which that gains most would gain; 0 at the best mixture.
    """

    level: float
    floor: Floats
    cap: Floats
    residual: float


@dataclass(frozen=True, eq=False)
class Certificate:
    """How well a mixture is known to be the best one.

    gap: no feasible mixture is better by more, nats/token, if the predictor is convex; else to first order only.
    convex: whether it provably is, why: because of what, or what stands against it.
    """

    multipliers: Multipliers
    gap: float
    convex: bool
    why: str

    def told(self) -> dict[str, Any]:
        """As recommendation.json holds it."""
        return {
            "residual": self.multipliers.residual,
            "gap": self.gap,
            "scope": "global" if self.convex else "local",
            "why": self.why,
        }


def certify(
    gradient: Callable[[Floats], Floats], feasible: Feasible, weights: Floats, *, convex: bool, why: str
) -> Certificate:
    """The certificate of a mixture (n_domains,). gradient: slopes (n, n_domains) of the loss, nats/token."""
    slopes = gradient(weights[None])[0]
    return Certificate(multipliers(slopes, feasible, weights), duality_gap(slopes, feasible, weights), convex, why)


def multipliers(slopes: Floats, feasible: Feasible, weights: Floats) -> Multipliers:
    """The conditions at weights, from the loss's slopes there; both (n_domains,).

    Where no weight can move both ways, the level has some room, and each limit gets what moving it would gain: more of
    a domain is taken from the domain that misses it least, less of it goes to the one that gains most.
    """
    gives, takes = weights > feasible.low + AT, weights < feasible.high - AT
    movable = feasible.high > feasible.low
    dearest = np.array([_highest(slopes, gives, leaving_out=j) for j in range(len(slopes))])
    best = np.array([-_highest(-slopes, takes, leaving_out=j) for j in range(len(slopes))])
    cap = np.where(movable & ~takes & np.isfinite(dearest), dearest - slopes, 0.0)
    floor = np.where(movable & ~gives & np.isfinite(best), slopes - best, 0.0)
    ends = _highest(slopes, gives), -_highest(-slopes, takes)
    known = [end for end in ends if np.isfinite(end)]
    return Multipliers(
        level=float(np.mean(known)) if known else float(slopes @ weights),
        floor=np.maximum(floor, 0.0),
        cap=np.maximum(cap, 0.0),
        residual=max(ends[0] - ends[1], 0.0) if len(known) == 2 else 0.0,
    )


def _highest(slopes: Floats, among: NDArray[np.bool_], *, leaving_out: int | None = None) -> float:
    among = among & (np.arange(len(slopes)) != leaving_out)
    return float(slopes[among].max()) if among.any() else -np.inf


def duality_gap(slopes: Floats, feasible: Feasible, weights: Floats) -> float:
    """How much lower the loss could be anywhere, nats/token, if it fell along `slopes` (n_domains,) all the way.

    A convex loss lies above its tangent plane, so no feasible mixture is better than weights by more (Frank & Wolfe
    1956; Jaggi 2013, Revisiting Frank-Wolfe). The plane's lowest point fills the domains up to their limits in the
    order of their slopes.
    """
    lowest = feasible.low.copy()
    left = 1.0 - lowest.sum()
    for j in np.argsort(slopes, kind="stable"):
        added = min(left, feasible.high[j] - feasible.low[j])
        lowest[j] += added
        left -= added
    return max(float(slopes @ (weights - lowest)), 0.0)


READ = 1e-5  # nats/token, below which no prediction is read


PROVEN = 1e-4  # nats/token; a gap that no reader would act on


def certificate_text(recommendation: Mapping[str, Any]) -> str:
    """A sentence on how surely the mixture is the best one of its predictor; empty where nothing is known."""
    certificate = (recommendation.get("search") or {}).get("certificate") or {}
    gap, why = certificate.get("gap"), certificate.get("why", "")
    if gap is None:
        return f"Not certified: {why}." if why else ""
    if certificate["scope"] == "global":
        if gap > PROVEN:
            return f"Not certified as the best: an allowed mixture may be up to {digits(gap)} nats/token lower ({why})."
        return (
            f"Certified: no allowed mixture is predicted more than {digits(max(gap, READ))} nats/token lower ({why})."
        )
    rate = certificate["residual"]
    if rate > 1e-2:
        return (
            f"Not certified: moving tokens between two domains would still gain {digits(rate)} nats/token per unit of "
            "share."
        )
    return (
        f"Certified as the best of its surroundings: first-order conditions hold to {digits(max(rate, READ))} "
        f"nats/token per unit of share. Not as the best of all: {why}."
    )
