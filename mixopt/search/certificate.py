"""First-order conditions and the duality gap of a mixture: how surely it is its predictor's best one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixopt.formatting import counted, two_digits
from mixopt.runs.objective import Target
from mixopt.search.optimize import objective_of
from mixopt.search.simplex import Bools, Feasible, Floats
from mixopt.serialization import Record

LIMIT_TOLERANCE = 1e-6  # a share of the tokens; a weight nearer than that to its limit stands at it
MIN_SHOWN = 1e-5  # nats/token, below which no prediction is read
MAX_NEGLIGIBLE_GAP = 1e-4  # nats/token; a gap that no reader would act on
MAX_NEGLIGIBLE_RESIDUAL = 1e-2  # nats/token per unit of share: 1e-4 for 1% of the tokens


@dataclass(frozen=True, eq=False)
class Multipliers:
    """Karush-Kuhn-Tucker multipliers of a mixture (Karush 1939; Kuhn & Tucker 1951), nats/token per unit of share.

    At the best mixture the slope is the same for every weight that can move; at a lower limit it is higher, by `floor`,
    at an upper one lower, by `cap`. floor: what lowering a lower limit would gain, cap: what raising an upper limit
    would gain, (n_domains,), 0 where a weight is not at its limit or is fixed.
    residual: what moving tokens between the two domains for which that gains most would gain; 0 at the best mixture.
    """

    floor: Floats
    cap: Floats
    residual: float


class Certificate(Record):
    """How surely a mixture is its predictor's best one, as recommendation.json holds it.

    residual: of the first-order conditions, nats/token per unit of share; None: the predictor has no gradient.
    gap: no allowed mixture is predicted lower by more, nats/token; None: no such bound is known.
    scope: "local" where only the first-order conditions speak for the mixture, else None. why: in words.
    Records of older versions have scope "global" for a bound, and gaps of scope "local" that are none.
    """

    residual: float | None = None
    gap: float | None = None
    scope: str | None = None
    why: str = ""


def certify(predictor: Any, objective: Target, feasible: Feasible, weights: Floats) -> Certificate:
    """The certificate of a mixture (n_domains,): Frank-Wolfe's duality gap where the predicted loss is convex."""
    _, gradient = objective_of(predictor, objective)
    if gradient is None:
        return Certificate(None, None, None, "the predictor has no gradient")
    slopes = gradient(weights[None])[0]
    residual = multipliers(slopes, feasible, weights).residual
    against = nonconvexity(predictor, feasible.high, objective.by_target > 0)
    if against:
        return Certificate(residual, None, "local", against)
    why = "duality gap of a law that is convex at its fitted values"
    return Certificate(residual, duality_gap(slopes, feasible, weights), None, why)


def multipliers(slopes: Floats, feasible: Feasible, weights: Floats) -> Multipliers:
    """The multipliers at weights, from the loss's slopes there; both (n_domains,).

    Each limit gets what moving it would gain: more of a domain is taken from the domain that misses it least, less of
    it goes to the one that gains most.
    """
    can_fall, can_rise = weights > feasible.low + LIMIT_TOLERANCE, weights < feasible.high - LIMIT_TOLERANCE
    movable = feasible.high > feasible.low
    highest = np.array([_highest(slopes, can_fall, leaving_out=j) for j in range(len(slopes))])
    lowest = np.array([-_highest(-slopes, can_rise, leaving_out=j) for j in range(len(slopes))])
    cap = np.where(movable & ~can_rise & np.isfinite(highest), highest - slopes, 0.0)
    floor = np.where(movable & ~can_fall & np.isfinite(lowest), slopes - lowest, 0.0)
    gain = _highest(slopes, can_fall) + _highest(-slopes, can_rise)
    return Multipliers(
        floor=np.maximum(floor, 0.0),
        cap=np.maximum(cap, 0.0),
        residual=max(gain, 0.0) if np.isfinite(gain) else 0.0,
    )


def _highest(slopes: Floats, among: Bools, *, leaving_out: int | None = None) -> float:
    among = among & (np.arange(len(slopes)) != leaving_out)
    return float(slopes[among].max()) if among.any() else -np.inf


def duality_gap(slopes: Floats, feasible: Feasible, weights: Floats) -> float:
    """How much lower the loss could be anywhere, nats/token, if it fell along `slopes` (n_domains,) all the way.

    A convex loss lies above its tangent plane, so no feasible mixture is better than weights by more (Frank & Wolfe
    1956; Jaggi 2013, Revisiting Frank-Wolfe, eq. 2). The plane's lowest point fills the domains up to their limits in
    the order of their slopes.
    """
    lowest = feasible.low.copy()
    left = 1.0 - lowest.sum()
    for j in np.argsort(slopes, kind="stable"):
        added = min(left, feasible.high[j] - feasible.low[j])
        lowest[j] += added
        left -= added
    return max(float(slopes @ (weights - lowest)), 0.0)


# Law -> its exponent of the shares, and its coefficient of them. An exponential of a linear function is convex, and so
# is a sum of convex functions. A power with an exponent up to 1 is concave, so is a sum of such, and 1/x and x^-1/2,
# convex and falling, make a convex function of it; exp(q.w) / data is the exponential of q.w - ln data, also convex.
# Effective tokens are concave in the share: a convex function of them is convex where it never rises with one that may
# be repeated; harm by repetition is convex itself. At one size and token count, joint laws are sums of these, or a
# norm, which is convex and rises.
CONVEX_LAWS: dict[str, tuple[str | None, str | None]] = {
    **dict.fromkeys(("exponential-mixing", "log-linear"), (None, "t")),
    **dict.fromkeys(("bimix", "autoscale", "joint-log-linear", "exponential-chinchilla", "joint-bimix"), (None, None)),
    **dict.fromkeys(("additive-power", "additive-offset", "joint-effective-data", "joint-additive"), ("g", None)),
    **dict.fromkeys(("additive-power-factor", "additive-offset-factor"), ("g", "q")),
    **dict.fromkeys(("effective-data", "effective-data-2"), ("g", "q")),
}


def nonconvexity(predictor: Any, high: Floats, counts: Bools) -> str:
    """What stands against the predicted losses being convex in the shares up to `high`, in words; empty: nothing.

    high (n_domains,): the largest shares allowed. counts (n_targets,): the losses that count. Only fitted laws can be
    shown to be convex: laws of shares, of effective tokens, and joint laws at one size and token count.
    """
    from regressors.estimators.ladder import AtRung
    from regressors.laws.effective_tokens import Repeated

    parts = (predictor, getattr(predictor, "joint", None), getattr(predictor, "law", None))
    fitted = next((one for one in parts if isinstance(getattr(one, "values_", None), Mapping)), None)
    if fitted is None:
        name = "the ladder's law" if isinstance(predictor, AtRung) else type(predictor).__name__
        return f"the curvature of {name} is not known"
    law = fitted._law()
    name = law.formula.law.name if isinstance(law.formula, Repeated) else law.name
    if name not in CONVEX_LAWS:
        return f"the curvature of {name} is not known"
    exponent, coefficient = CONVEX_LAWS[name]
    if exponent and (fitted.values_[exponent][counts] > 1).any():
        return f"an exponent above 1 makes {name} non-convex"
    given = getattr(predictor, "unique", None)
    unique = np.array([np.inf if u is None else u for u in given]) if given is not None else np.full(len(high), np.inf)
    own = fitted.order_[fitted.order_ < len(high)]  # a fit keeps its domains in an order of its own
    repeated = (high > unique * (1 + 1e-9))[own]
    if coefficient and (fitted.values_[coefficient][counts][..., repeated] > 0).any():
        return f"repetition makes {name} non-convex"
    if "tokens" in law.inputs and repeated.any():
        return f"{name} is not known to be convex where text is repeated"
    return ""


def certificate_text(certificate: Certificate | None, agreeing: float | None, starts: float | None) -> str:
    """How surely the mixture is its predictor's best one, in a sentence or two; empty where nothing is known.

    agreeing: local searches, of `starts`, that ended at the mixture.
    """
    found = certificate or Certificate()
    agreement = _agreement(agreeing, starts)
    if found.gap is not None and found.scope != "local":
        bound = (
            f"no allowed mixture is predicted more than {two_digits(max(found.gap, MIN_SHOWN))} nats/token lower"
            if found.gap <= MAX_NEGLIGIBLE_GAP
            else f"an allowed mixture may be predicted up to {two_digits(found.gap)} nats/token lower"
        )
        sentences = [f"{bound} ({found.why})", agreement]
    else:
        unknown = f"no bound on other mixtures is known: {found.why}" if found.why else ""
        sentences = ["; ".join(part for part in (agreement, unknown) if part)]
        if found.residual is not None and found.residual > MAX_NEGLIGIBLE_RESIDUAL:
            gain = f"{two_digits(found.residual)} nats/token per unit of share"
            sentences.append(f"moving tokens between two domains would still gain {gain}")
    return " ".join(f"{text[0].upper()}{text[1:]}." for text in sentences if text)


def _agreement(agreeing: float | None, starts: float | None) -> str:
    if agreeing is None or not starts:
        return ""
    if agreeing > 1 or starts == 1:
        return f"{agreeing} of {counted(int(starts), 'start')} agree{'s' * (starts == 1)}"
    return f"the {counted(int(starts), 'start')} end at different mixtures, so another search may well end elsewhere"
