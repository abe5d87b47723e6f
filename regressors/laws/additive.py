"""Additive laws: every domain adds to the effective data, and the loss is the inverse of their sum."""

import numpy as np

from regressors.law import Array, Law, Param, Prior, Scale
from regressors.laws.mixing import TRACE, combined

OFFSET = 0.01  # where offsets start
FLOOR = 0.9  # centre of the prior on the irreducible loss, as a share of the lowest loss seen
EXPONENT = 0.35  # where exponents start
SURPLUS = 1.0  # ln C starts so far above what a uniform mixture of like domains needs


def offset_factor(w, *, E, C, e, g, q) -> Array:
    """Loss on one validation set, (..., n_runs), at training weights w (n_runs, n_domains).

    E (...); C, e, g, q (..., n_domains): usefulness, offset, diminishing returns and interference of a domain.
    """
    data = (C[..., None, :] * (w + e[..., None, :]) ** g[..., None, :]).sum(axis=-1)
    return E[..., None] + np.exp(combined(w, q)) / data


def offset_factor_jacobian(w, *, E, C, e, g, q) -> tuple[Array, dict[str, Array]]:
    """`offset_factor` with its derivatives; by C, e, g and q: (..., n_runs, n_domains)."""
    shares = w + e[..., None, :]
    logs = np.log(shares)
    power = np.exp(g[..., None, :] * logs)
    terms = C[..., None, :] * power
    data = terms.sum(axis=-1)
    removable = np.exp(combined(w, q)) / data
    fall = (-removable / data)[..., None]  # d removable / d data
    slope = fall * terms
    return E[..., None] + removable, {
        "E": np.ones_like(removable),
        "C": fall * power,
        "e": slope * g[..., None, :] / shares,
        "g": slope * logs,
        "q": removable[..., None] * w,
    }


def offset(w, *, E, C, e, g) -> Array:
    """`offset_factor` without interference."""
    return offset_factor(w, E=E, C=C, e=e, g=g, q=np.zeros_like(g))


def offset_jacobian(w, *, E, C, e, g) -> tuple[Array, dict[str, Array]]:
    """`offset` with its derivatives."""
    return _only("ECeg", offset_factor_jacobian(w, E=E, C=C, e=e, g=g, q=np.zeros_like(g)))


def power_factor(w, *, E, C, g, q) -> Array:
    """`offset_factor` with a trace of every domain in place of offsets."""
    return offset_factor(w, E=E, C=C, e=np.full_like(g, TRACE), g=g, q=q)


def power_factor_jacobian(w, *, E, C, g, q) -> tuple[Array, dict[str, Array]]:
    """`power_factor` with its derivatives."""
    return _only("ECgq", offset_factor_jacobian(w, E=E, C=C, e=np.full_like(g, TRACE), g=g, q=q))


def power(w, *, E, C, g) -> Array:
    """`power_factor` without interference."""
    return power_factor(w, E=E, C=C, g=g, q=np.zeros_like(g))


def power_jacobian(w, *, E, C, g) -> tuple[Array, dict[str, Array]]:
    """`power` with its derivatives."""
    return _only("ECg", power_factor_jacobian(w, E=E, C=C, g=g, q=np.zeros_like(g)))


def _only(names: str, found: tuple[Array, dict[str, Array]]) -> tuple[Array, dict[str, Array]]:
    loss, slopes = found
    return loss, {name: slopes[name] for name in names}


def _unit_data(scale: Scale, extra: float = TRACE) -> Array:
    """ln C at which a uniform mixture of like domains would have the mean loss, and SURPLUS more."""
    removable = np.maximum(scale.mean - FLOOR * scale.low, 1e-3 * scale.spread)
    return SURPLUS - np.log(removable) - np.log(scale.domains) - EXPONENT * np.log(1 / scale.domains + extra)


def _unit_data_offset(scale: Scale) -> Array:
    return _unit_data(scale, OFFSET)


def _log_floor(scale: Scale) -> Array:
    return np.log(FLOOR * scale.low)


_E = Param("E", unit="nats/token", low=0.0, prior=Prior(_log_floor, 0.5))
_C = Param("C", unit="1", per_domain=True, low=0.0, prior=Prior(_unit_data, 2.5))
_C_OFFSET = Param("C", unit="1", per_domain=True, low=0.0, prior=Prior(_unit_data_offset, 2.5))
_e = Param("e", unit="1", per_domain=True, low=0.0, prior=Prior(np.log(OFFSET), 1.5))
_g = Param("g", unit="1", per_domain=True, low=0.0, prior=Prior(np.log(EXPONENT), 0.6))  # nothing else bends
_g_OFFSET = Param("g", unit="1", per_domain=True, low=0.0, prior=Prior(np.log(EXPONENT), 0.3))
_q = Param("q", unit="1", per_domain=True, prior=Prior(0.0, 0.3))  # ln of a factor

SHUKOR = "Shukor et al. 2025, Scaling Laws for Optimal Data Mixtures, arXiv:2507.09404"
PRIORS = "every parameter has a weak prior (maximum a posteriori)"
NO_ZERO = f"a weight of 0 counts as {TRACE:g}, so that losses and slopes stay finite"
FREE_OFFSET = "offsets e_j make a weight of 0 harmless"
FACTOR = "a factor exp(q.w) lets a domain interfere"

ADDITIVE_POWER = Law(
    name="additive-power",
    formula=power,
    jacobian=power_jacobian,
    params=(_E, _C, _g),
    source=SHUKOR,
    departs=f"{NO_ZERO}; {PRIORS}",
)

ADDITIVE_OFFSET = Law(
    name="additive-offset",
    formula=offset,
    jacobian=offset_jacobian,
    params=(_E, _C_OFFSET, _e, _g_OFFSET),
    source=SHUKOR,
    departs=f"{FREE_OFFSET}; {PRIORS}",
)

ADDITIVE_POWER_FACTOR = Law(
    name="additive-power-factor",
    formula=power_factor,
    jacobian=power_factor_jacobian,
    params=(_E, _C, _g, _q),
    source=SHUKOR,
    departs=f"{NO_ZERO}; {FACTOR}; {PRIORS}",
)

ADDITIVE_OFFSET_FACTOR = Law(
    name="additive-offset-factor",
    formula=offset_factor,
    jacobian=offset_factor_jacobian,
    params=(_E, _C_OFFSET, _e, _g_OFFSET, _q),
    source=SHUKOR,
    departs=f"{FREE_OFFSET}; {FACTOR}; {PRIORS}",
)
