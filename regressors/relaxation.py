"""Convex lower bounds of fitted laws that repetition makes not convex, on boxes of shares.

What stands against convexity is a domain that raises a loss to first order and may be repeated: its effective tokens
z_j(w_j) are concave, and enter with a coefficient above 0. On a box, in place of those z_j the chord between the box's
ends is put. It lies below z_j, so the loss with it lies below the loss, and is convex; the smaller the box, the closer.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from regressors.convexity import AGAINST, Limits, fitted_law, parts
from regressors.law import Array, Law
from regressors.laws.effective_tokens import Repeated, effective_shares, wasted

RISING = {
    "exponential-mixing": "t",
    "log-linear": "t",
    "additive-power-factor": "q",
    "additive-offset-factor": "q",
    "effective-data": "q",
    "effective-data-2": "q",
}
AMOUNT = "C"  # of what a domain adds: 0 for the chords, which add nothing
STEP = 1e-30  # of complex derivatives


def relaxation(predictor: Any, high: Array, counts: Array) -> "Relaxation | None":
    """The bounds of a fitted law's losses, for shares up to `high`; None for predictors that they don't cover.

    high (n_domains,), counts (n_targets,): as in `regressors.convexity`. Covered are laws shown effective tokens that
    would be convex if no coefficient of RISING were above 0.
    """
    fitted = fitted_law(predictor)
    if fitted is None:
        return None
    law = fitted._law()
    values, limits = parts(predictor, fitted, np.asarray(high, dtype=float), np.asarray(counts, dtype=bool), None)
    harm = None
    if isinstance(law.formula, Repeated):
        harm = (values.pop("harm"), values.pop("power")) if law.formula.harm else None
        law, r_star = law.formula.law, values.pop("R")
        r_star = r_star[:, None, :] if r_star.ndim > 1 else r_star[:, None, None]
    elif hasattr(fitted, "r_star"):
        r_star = np.full((int(np.sum(counts)), 1, 1), float(fitted.r_star))
    else:
        return None
    if law.name not in RISING or law.inputs != ("w",):
        return None
    held = {**values, RISING[law.name]: np.minimum(values[RISING[law.name]], 0.0)}
    if AGAINST[law.name](held, limits):
        return None
    return Relaxation(law, values, limits, r_star, harm, fitted.order_[fitted.order_ < len(limits.high)])


@dataclass(frozen=True, eq=False)
class Relaxation:
    """A law's losses that count, and convex functions below them. Domains are ordered as the predictor's are.

    values, limits: in the fit's own order of domains, `order`; r_star: (n_targets, 1, n_domains or 1).
    harm: of wasted tokens, and its power, (n_targets,) each; it is convex as it is.
    """

    law: Law
    values: Mapping[str, Array]
    limits: Limits
    r_star: Array
    harm: tuple[Array, Array] | None
    order: Array

    def predict(self, W: Array, low: Array, high: Array) -> Array:
        """Lower bounds, (n, n_targets), at shares W (n, n_domains) between low and high (n_domains,)."""
        return self._losses(np.asarray(W)[:, self.order], low[self.order], high[self.order]).T

    def gradient(self, W: Array, low: Array, high: Array) -> Array:
        """Their slopes by the shares, (n, n_targets, n_domains)."""
        W, low, high = np.asarray(W)[:, self.order], low[self.order], high[self.order]
        n, d = W.shape
        moved = W[:, None, :] + STEP * 1j * np.eye(d)
        slopes = np.imag(self._losses(moved.reshape(n * d, d), low, high)) / STEP
        return slopes.reshape(-1, n, d).transpose(1, 0, 2)[..., self.order.argsort()]

    def looseness(self, w: Array, low: Array, high: Array) -> Array:
        """How far each domain's chord lies below what it stands for, at w, times its coefficient; all (n_domains,)."""
        own, low, high = w[None, self.order], low[self.order], high[self.order]
        short = self._seen(own) - self._chords(own, low, high)
        return (short[:, 0] * np.maximum(self.values[RISING[self.law.name]], 0)).sum(axis=0)[self.order.argsort()]

    def _losses(self, W: Array, low: Array, high: Array) -> Array:
        """(n_targets, n) with each domain there twice: its effective tokens where they help, its chords elsewhere."""
        seen = self._seen(W)
        both = np.concatenate([seen, self._chords(W, low, high)], axis=-1)
        loss = self.law.formula(both, **{name: self._doubled(name) for name in self.values})
        if self.harm is None:
            return loss
        size, power = self.harm
        return loss + size[:, None] * wasted(W, seen) ** power[:, None]

    def _doubled(self, name: str) -> Array:
        value = self.values[name]
        if not next(param for param in self.law.params if param.name == name).per_domain:
            return value
        if name == RISING[self.law.name]:
            return np.concatenate([np.minimum(value, 0), np.maximum(value, 0)], axis=-1)
        return np.concatenate([value, np.zeros_like(value) if name == AMOUNT else value], axis=-1)

    def _seen(self, W: Array) -> Array:
        """Effective tokens, (n_targets, n, n_domains)."""
        return effective_shares(W, self.limits.unique, self.r_star)

    def _chords(self, W: Array, low: Array, high: Array) -> Array:
        first, last = self._seen(low[None]), self._seen(high[None])
        width = high - low
        rise = np.divide(last - first, width, out=np.zeros(first.shape), where=width > 0)
        return first + rise * (W - low)
