"""The epoch-aware law: epochs in place of shares, a benefit that saturates and a harm that sets in."""

from dataclasses import replace

import numpy as np

from regressors.law import Array, Law, Param, Prior, Scale
from regressors.laws.mixing import FLOOR, TRACE


def epoch_aware(w, *, phi, c, a, d, rho, p, tau) -> Array:
    """Loss on one validation set, (..., n_runs), at epochs w (n_runs, n_domains) of each domain.

    What better data can remove is exp(c - a.b + d.h): the benefit b = 1 - exp(-(rho w)^p) saturates; the harm
    h = softplus(ln(1 + w) - tau)^2 sets in where a domain has been repeated.
    phi, c, rho, p, tau (...); a, d (..., n_domains).
    """
    benefit, harm, *_ = _curves(w, rho, p, tau)
    return phi[..., None] + np.exp(c[..., None] - _dot(benefit, a) + _dot(harm, d))


def epoch_aware_jacobian(w, *, phi, c, a, d, rho, p, tau) -> tuple[Array, dict[str, Array]]:
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


def _curves(w: Array, rho: Array, p: Array, tau: Array, unique: Array | float = 1.0) -> tuple[Array, ...]:
    """benefit, harm, ln(rho E), (rho E)^p, the harm's root and ln(1 + E) - tau, at E = w / unique epochs; all
    (..., n_runs, n_domains)."""
    logs = np.log(w + TRACE) - np.log(unique) + np.log(rho)[..., None, None]
    reach = np.exp(p[..., None, None] * logs)
    over = np.log(1 + w / unique) - tau[..., None, None]
    bend = np.log(1 + np.exp(over))
    return -np.expm1(-reach), bend**2, logs, reach, bend, over


def epoch_aware_pools(w, unique, *, phi, c, a, d, rho, p, tau) -> Array:
    """`epoch_aware` where pools differ from run to run: w and unique (n_runs, n_domains) in units of a usual pool.

    E = w / unique are the epochs, and the benefit is unique^p (1 - exp(-(rho E)^p)): data that isn't repeated counts
    the same whatever the pool it comes from, and a larger pool has more to give in the end.
    """
    benefit, harm, *_ = _curves(w, rho, p, tau, unique)
    size = unique ** p[..., None, None]
    return phi[..., None] + np.exp(c[..., None] - _dot(size * benefit, a) + _dot(harm, d))


def epoch_aware_pools_jacobian(w, unique, *, phi, c, a, d, rho, p, tau) -> tuple[Array, dict[str, Array]]:
    """`epoch_aware_pools` with its derivatives."""
    plain, harm, logs, reach, bend, over = _curves(w, rho, p, tau, unique)
    size = unique ** p[..., None, None]
    benefit = size * plain
    removable = np.exp(c[..., None] - _dot(benefit, a) + _dot(harm, d))
    rise = size * np.exp(-reach) * reach
    return phi[..., None] + removable, {
        "phi": np.ones_like(removable),
        "c": removable,
        "a": -removable[..., None] * benefit,
        "d": removable[..., None] * harm,
        "rho": -removable * _dot(rise, a) * (p / rho)[..., None],
        "p": -removable * _dot(rise * logs + benefit * np.log(unique), a),
        "tau": -removable * _dot(2 * bend / (1 + np.exp(-over)), d),
    }


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

EPOCH_AWARE_POOLS = replace(
    EPOCH_AWARE,
    name="epoch-aware-pools",
    formula=epoch_aware_pools,
    jacobian=epoch_aware_pools_jacobian,
    inputs=("w", "unique"),
    units={"unique": 1.0},
    departs=f"{EPOCH_AWARE.departs}; pools may differ from run to run: u usual pools have u^p times the benefit",
)
