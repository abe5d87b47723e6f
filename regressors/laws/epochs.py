"""A law that sees epochs, not shares: text helps less the more often it was read, and in the end it hurts."""

import numpy as np

from regressors.law import Array, Law, Param, Prior, Scale
from regressors.laws.mixing import FLOOR, TRACE


def epoch_aware(w: Array, *, phi: Array, c: Array, a: Array, d: Array, rho: Array, p: Array, tau: Array) -> Array:
    """Loss on one validation text, (..., n_runs), at epochs w (n_runs, n_domains), passes over each domain's text.

    What better data can remove is exp(c - a.b + d.h): the benefit b = 1 - exp(-(rho w)^p) saturates; the harm
    h = softplus(ln(1 + w) - tau)^2 sets in where text has been repeated.
    phi, c, rho, p, tau (...); a, d (..., n_domains).
    """
    benefit, harm, *_ = _curves(w, rho, p, tau)
    return phi[..., None] + np.exp(c[..., None] - _dot(benefit, a) + _dot(harm, d))


def epoch_aware_jacobian(
    w: Array, *, phi: Array, c: Array, a: Array, d: Array, rho: Array, p: Array, tau: Array
) -> tuple[Array, dict[str, Array]]:
    """`epoch_aware` with its derivatives; by a and d: (..., n_runs, n_domains)."""
    benefit, harm, logs, reach, bend, over = _curves(w, rho, p, tau)
    removable = np.exp(c[..., None] - _dot(benefit, a) + _dot(harm, d))
    rise = np.exp(-reach) * reach  # d benefit / d ln reach, reach = (rho w)^p
    return phi[..., None] + removable, {
        "phi": np.ones_like(removable),
        "c": removable,
        "a": -removable[..., None] * benefit,
        "d": removable[..., None] * harm,
        "rho": -removable * _dot(rise, a) * (p / rho)[..., None],
        "p": -removable * _dot(rise * logs, a),
        "tau": -removable * _dot(2 * bend / (1 + np.exp(-over)), d),
    }


def _curves(w: Array, rho: Array, p: Array, tau: Array) -> tuple[Array, ...]:
    """benefit, harm, ln(rho w), (rho w)^p, the harm's root and ln(1 + w) - tau; all (..., n_runs, n_domains)."""
    logs = np.log(w + TRACE) + np.log(rho)[..., None, None]
    reach = np.exp(p[..., None, None] * logs)
    over = np.log(1 + w) - tau[..., None, None]
    bend = np.log(1 + np.exp(over))
    return 1 - np.exp(-reach), bend**2, logs, reach, bend, over


def _dot(curve: Array, by_domain: Array) -> Array:
    return (curve * by_domain[..., None, :]).sum(axis=-1)


def _log_removable(scale: Scale) -> Array:
    """Log of what better data can remove from the mean loss, (n_targets,), before any domain has helped."""
    return np.log(np.maximum(scale.mean - FLOOR * scale.low, 1e-3 * scale.spread)) + 1.0


def _log_floor(scale: Scale) -> Array:
    return np.log(FLOOR * scale.low)


EPOCH_AWARE = Law(
    name="epoch-aware",
    formula=epoch_aware,
    jacobian=epoch_aware_jacobian,
    params=(
        Param("phi", unit="nats/token", low=0.0, prior=Prior(_log_floor, 0.5)),
        Param("c", unit="1", prior=Prior(_log_removable, 1.0)),
        Param("a", unit="1", per_domain=True, low=0.0, prior=Prior(np.log(0.3), 1.5)),
        Param("d", unit="1", per_domain=True, low=0.0, prior=Prior(np.log(0.003), 1.5)),
        Param("rho", unit="1/epoch", low=0.0, prior=Prior(0.0, 1.0)),
        Param("p", unit="1", low=0.0, prior=Prior(np.log(0.7), 0.3)),
        # ln(1 + epochs) at which harm sets in: 4 epochs, but barely known
        Param("tau", unit="1", prior=Prior(np.log(5.0), 0.5)),
    ),
    source="marin-community 2026, the MARINER form",
    departs="weak priors; rho, p and tau are shared by a target's domains",
)
