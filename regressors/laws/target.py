"""Loss on a scarce target text that is mixed into plenty of general text, and repeated."""

from collections.abc import Mapping

import numpy as np

from regressors.law import Array, Law, Values
from regressors.laws.repetition import REPEATS, amplitude, factor, power, smaller, worth
from regressors.laws.scaling import EXPONENTS


def target_in_mixture(
    share: Array, tokens: Array, unique: Array, *, E: Array, A: Array, alpha: Array, tau: Array, r_star: Array, g: Array
) -> Array:
    """Loss on a target text, (..., n_runs), of which a run has so many unique tokens and shows them as a share of its
    tokens; the rest is general text.

    share (n_runs,) of 0 to 1, tokens and unique (n_runs,) above 0; all values (...). A target's token is worth tau
    general ones, repeated ones less.
    """
    shown = share * tokens
    target = worth(shown, np.where(np.real(shown) > 0, smaller(shown, unique), unique), r_star)
    target = np.where(np.real(shown) > 0, target, 0.0)
    seen = (1 - share) * tokens + tau[..., None] * target
    return E[..., None] + A[..., None] * power(seen, alpha) + g[..., None] * share


def target_published(values: Values, units: Mapping[str, float]) -> dict[str, Array]:
    """A at one token."""
    return dict(values) | {"A": values["A"] * units["tokens"] ** values["alpha"]}


TARGET_IN_MIXTURE = Law(
    name="target-in-mixture",
    formula=target_in_mixture,
    published=target_published,
    inputs=("share", "tokens", "unique"),
    units={"share": 1.0, "unique": "tokens"},
    params=(
        amplitude("E", 0.7),
        amplitude("A", 0.3),
        factor("alpha", 0.34, grid=EXPONENTS),
        factor("tau", 5.0, grid=(0.3, 100.0)),
        factor("r_star", 15.0, unit="epochs", grid=REPEATS),
        amplitude("g", 0.01),
    ),
    source="Sedova et al. 2026, Scaling Laws for Mixture Pretraining Under Data Constraints, arXiv:2605.12715",
    departs="no model size: one law a size",
)
