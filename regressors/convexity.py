"""Which fitted predictors are convex in the shares: then a mixture that no small move improves is the best of all.

The proofs, at shares w or at effective tokens z of them, u (1 + R* (1 - exp(-(w/u - 1) / R*))), concave in w:
an exponential of a linear function is convex, and so is a sum of convex functions. A power of an exponent up to 1 is
concave, so is a sum of such, and 1/x and x^-1/2, convex and falling, make a convex function of it. exp(q.w) / data is
the exponential of q.w - ln data, which is convex. A convex function of z is convex in w if it never rises with a z_j
that bends within the limits; where text isn't repeated, z_j is w_j.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from regressors.law import Array, Law

FLAT = 1e-9  # curvature (nats/token) that is a rounding


@dataclass(frozen=True)
class Convexity:
    """Whether a predictor is proven to be convex in the shares, within limits; why: what makes it so, or what not."""

    proven: bool
    why: str


@dataclass(frozen=True)
class Limits:
    """Of the shares, both (n_domains,): the highest ones, and each domain's unique tokens over the run's."""

    high: Array
    unique: Array

    @property
    def bends(self) -> Array:
        """Domains that may be repeated, (n_domains,) bool."""
        return self.high > self.unique * (1 + 1e-9)


def convexity(predictor: Any, high: Array, counts: Array, unique: Array | None = None) -> Convexity:
    """Whether a fitted predictor's losses, and so any mean of them, are convex in the shares up to `high`.

    high (n_domains,): the largest shares allowed. counts (n_targets,): which losses count. unique (n_domains,): each
    domain's unique tokens over a run's tokens, where the predictor was made for them; None: what it says itself.
    A predictor that is none of ours, or whose formula isn't covered, isn't proven to be convex; it may be all the same.
    """
    high, counts = np.asarray(high, dtype=float), np.asarray(counts, dtype=bool)
    kind = type(predictor).__name__
    if kind == "RegMixLinear":
        return Convexity(True, "the predictor is linear")
    if kind == "Scheffe":
        return _quadratic(predictor, counts)
    if kind == "Ensemble":
        return _all_members(predictor, high, counts)
    fitted = fitted_law(predictor)
    if fitted is None:
        return Convexity(False, f"nothing is known of the curvature of {kind}")
    law = fitted._law()
    values, limits = parts(predictor, fitted, high, counts, unique)
    return _of_law(law, values, limits)


def parts(
    predictor: Any, fitted: Any, high: Array, counts: Array, unique: Array | None
) -> tuple[dict[str, Array], "Limits"]:
    """The losses' parameters that count and the limits, in the fit's own order of domains."""
    told = getattr(predictor, "unique", None) if unique is None else unique
    if told is None and fitted._law().name == "epoch-aware":
        told = np.full(len(high), 1 / len(high))  # as EpochLawRegressor counts without pools
    known = np.full(len(high), np.inf) if told is None else np.array([np.inf if u is None else u for u in told])
    own = fitted.order_[fitted.order_ < len(high)]  # a fit keeps its domains in an order of its own
    values = {name: np.asarray(value)[counts] for name, value in fitted.values_.items()}
    return values, Limits(high[own], known[own])


def fitted_law(predictor: Any) -> Any | None:
    """The fitted law behind a predictor, which may be one at a scale or at fixed pools; None: it has none."""
    for one in (predictor, getattr(predictor, "joint", None), getattr(predictor, "law", None)):
        if hasattr(one, "values_") and hasattr(one, "_law"):
            return one
    return None


def _of_law(law: Law, values: Mapping[str, Array], limits: Limits) -> Convexity:
    from regressors.laws.effective_tokens import Repeated

    name = law.formula.law.name if isinstance(law.formula, Repeated) else law.name
    if name not in AGAINST:
        return Convexity(False, f"nothing is known of the curvature of {law.name}")
    if "tokens" in law.inputs and limits.bends.any():
        return Convexity(False, f"{law.name} is not known to be convex where text is repeated")
    against = AGAINST[name](values, limits)  # the harm of repetition is convex itself
    if against:
        return Convexity(False, f"{law.name} can't be shown to be convex: {against}")
    return Convexity(True, f"{law.name} is convex in the weights at its fitted values")


# What stands against convexity at the fitted values, in words; empty: nothing


def _nothing(values: Mapping[str, Array], limits: Limits) -> str:
    return ""


def _gains(values: Mapping[str, Array], limits: Limits) -> str:
    return "a domain's returns rise with its share (an exponent above 1)" if (values["g"] > 1).any() else ""


def _rises(*names: str) -> Callable[[Mapping[str, Array], Limits], str]:
    """Of coefficients of the shares: above 0, effective tokens that bend make them concave."""

    def against(values: Mapping[str, Array], limits: Limits) -> str:
        if any((values[name][..., limits.bends] > 0).any() for name in names):
            return "a domain that may be repeated raises a loss to first order"
        return ""

    return against


def _gains_and_rises(*names: str) -> Callable[[Mapping[str, Array], Limits], str]:
    rises = _rises(*names)
    return lambda values, limits: _gains(values, limits) or rises(values, limits)


def _epochs(values: Mapping[str, Array], limits: Limits) -> str:
    """The benefit is concave if p <= 1; the harm, ln(1 + (1 + E) e^-tau)^2, is convex up to (1 + E) e^-tau = e - 1."""
    if (values["p"] > 1).any():
        return "the benefit of the first pass grows before it saturates"
    epochs = limits.high / np.where(np.isfinite(limits.unique), limits.unique, 1.0)
    late = np.log1p(epochs.max()) - values["tau"] > np.log(np.e - 1)
    return "the harm of many passes levels off within the limits" if late.any() else ""


AGAINST: dict[str, Callable[[Mapping[str, Array], Limits], str]] = {
    "exponential-mixing": _rises("t"),
    "log-linear": _rises("t"),
    "bimix": _nothing,
    "autoscale": _nothing,
    "additive-power": _gains,
    "additive-offset": _gains,
    "additive-power-factor": _gains_and_rises("q"),
    "additive-offset-factor": _gains_and_rises("q"),
    "effective-data": _gains_and_rises("q"),
    "effective-data-2": _gains_and_rises("q"),
    "epoch-aware": _epochs,
    "epoch-aware-pools": _epochs,
    # at one size and token count: sums of these, and a norm, which is convex and rises with its terms
    "joint-effective-data": _gains,
    "joint-additive": _gains,
    "joint-log-linear": _nothing,
    "exponential-chinchilla": _nothing,
    "joint-bimix": _nothing,
}


def _quadratic(predictor: Any, counts: Array) -> Convexity:
    """A quadratic is convex on the simplex if its curvature is at least 0 along every direction that keeps the sum."""
    d = predictor.n_features_in_
    along = np.eye(d) - 1 / d
    i, j = np.triu_indices(d, 1)
    for coefficients in predictor.coef_[counts]:
        curvature = np.zeros((d, d))
        curvature[i, j] = curvature[j, i] = coefficients[d:]
        if np.linalg.eigvalsh(along @ curvature @ along).min() < -FLAT:
            return Convexity(False, "the fitted polynomial curves down in some direction")
    return Convexity(True, "the fitted polynomial curves up in every direction")


def _all_members(predictor: Any, high: Array, counts: Array) -> Convexity:
    """A mean of convex functions is convex."""
    for k, member in enumerate(predictor.members_):
        found = convexity(member, high[predictor.order_], counts & (predictor.weights_[:, k] > 0))
        if not found.proven:
            return found
    return Convexity(True, "all members are convex in the weights")
