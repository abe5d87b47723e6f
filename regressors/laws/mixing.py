"""Published mixing laws: loss against mixture, at one model size and one number of training tokens."""

import numpy as np

from regressors.law import Array, Law, Param, Prior, Scale

TRACE = 1e-6  # a weight of zero counts as this share where a law would divide by it: losses and slopes stay finite
FLOOR = 0.7  # centre of the priors on the loss that no mixture removes, as a share of the lowest loss seen
WIDE = 5.0  # sd of a prior that says next to nothing: a factor of e**5 either way


def _log_removable(scale: Scale) -> Array:
    """Log of what better data can remove from the mean loss, (n_targets,)."""
    return np.log(np.maximum(scale.mean - FLOOR * scale.low, 1e-3 * scale.spread))


def _log_floor(scale: Scale) -> Array:
    return np.log(FLOOR * scale.low)


def power(x: Array, exponent: Array) -> Array:
    """x^-exponent, (..., n_runs), of x (n_runs,) or (..., n_runs) above 0 and an exponent (...)."""
    return np.exp(-exponent[..., None] * np.log(x))


def combined(w: Array, by_domain: Array) -> Array:
    """sum_j w_j by_domain_j, (..., n_runs), of by_domain (..., n_domains).

    w is (n_runs, n_domains), or (..., n_runs, n_domains) where every leading place has shares of its own.
    """
    return by_domain @ w.T if w.ndim == 2 else np.matmul(w, by_domain[..., None])[..., 0]


def exponential(w, *, c, t) -> Array:
    """Loss on one validation set, (..., n_runs), at training weights w (n_runs, n_domains); c (...), t (..., d)."""
    return c[..., None] + np.exp(combined(w, t))


def exponential_jacobian(w, *, c, t) -> tuple[Array, dict[str, Array]]:
    """`exponential` with its derivatives by c, (..., n_runs), and t, (..., n_runs, n_domains)."""
    removable = np.exp(combined(w, t))
    return c[..., None] + removable, {"c": np.ones_like(removable), "t": removable[..., None] * w}


EXPONENTIAL = Law(
    name="exponential-mixing",
    formula=exponential,
    jacobian=exponential_jacobian,
    params=(
        # the loss that no mixture removes
        Param("c", unit="nats/token", low=0.0, prior=Prior(_log_floor, 0.5)),
        # the lower t_j, the more domain j helps; a domain alone moves the removable loss by a factor e**3 at one sd
        Param("t", unit="1", per_domain=True, prior=Prior(_log_removable, 3.0)),
    ),
    source="Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952",
    departs="no amplitude k: weights sum to 1, so ln k shifts every t_j and is not identified; "
    "weak normal priors on ln c and t, so that fewer runs than domains still give one answer",
)

LOG_LINEAR = Law(
    name="log-linear",
    formula=exponential,
    jacobian=exponential_jacobian,
    params=(
        Param("c", unit="nats/token", low=0.0, prior=Prior(_log_floor, WIDE)),
        Param("t", unit="1", per_domain=True, prior=Prior(_log_removable, WIDE)),
    ),
    source="olmix 2026, arXiv:2602.12237",
    departs="the formula is exponential-mixing's, the difference is the priors: here they are so wide that the runs "
    "alone decide, as published; they only keep one answer where there are fewer runs than domains",
)


def bimix(w, *, c, s, a) -> Array:
    """Loss, (..., n_runs): falls as a power of the target's own share of training tokens, s.w.

    w (n_runs, n_domains); c, a (...); s (..., n_domains), with the amplitude in it.
    """
    own = combined(w + TRACE, s)
    return c[..., None] + own ** -a[..., None]


def bimix_jacobian(w, *, c, s, a) -> tuple[Array, dict[str, Array]]:
    """`bimix` with its derivatives by c and a, (..., n_runs), and s, (..., n_runs, n_domains)."""
    own = combined(w + TRACE, s)
    logs = np.log(own)
    removable = np.exp(-a[..., None] * logs)
    return c[..., None] + removable, {
        "c": np.ones_like(removable),
        "s": (-a[..., None] * removable / own)[..., None] * (w + TRACE),
        "a": -removable * logs,
    }


OWN_EXPONENT = 0.3  # where BiMix's exponent starts; published ones lie around it


def _own_share(scale: Scale) -> Array:
    """ln s at which a uniform mixture of like domains has the mean loss."""
    return -_log_removable(scale) / OWN_EXPONENT


BIMIX = Law(
    name="bimix",
    formula=bimix,
    jacobian=bimix_jacobian,
    params=(
        Param("c", unit="nats/token", low=0.0, prior=Prior(_log_floor, 0.5)),
        Param("s", unit="1", per_domain=True, low=0.0, prior=Prior(_own_share, 2.5)),
        Param("a", unit="1", low=0.0, prior=Prior(np.log(OWN_EXPONENT), 0.5)),
    ),
    source="Ge et al. 2024, BiMix, arXiv:2405.14908, at a fixed number of training tokens",
    departs="a target's own share is a learned combination of domains, so that it needs no domain of its own; "
    "a floor c; weak priors",
)


def autoscale(w, *, E, d, D, g) -> Array:
    """Loss, (..., n_runs): every domain adds what its own tokens, D w_j, and what the others' add for it, d_j, leave.

    w (n_runs, n_domains); E, D (...); d, g (..., n_domains).
    """
    tokens = d[..., None, :] + D[..., None, None] * w
    return E[..., None] + (tokens ** -g[..., None, :]).sum(axis=-1)


def autoscale_jacobian(w, *, E, d, D, g) -> tuple[Array, dict[str, Array]]:
    """`autoscale` with its derivatives by E and D, (..., n_runs), and by d and g, (..., n_runs, n_domains)."""
    tokens = d[..., None, :] + D[..., None, None] * w
    logs = np.log(tokens)
    terms = np.exp(-g[..., None, :] * logs)
    fall = -g[..., None, :] * terms / tokens
    loss = E[..., None] + terms.sum(axis=-1)
    return loss, {"E": np.ones_like(loss), "d": fall, "D": (fall * w).sum(axis=-1), "g": -terms * logs}


TOKEN_EXPONENT = 0.35  # where AutoScale's exponents start


def _remnant(scale: Scale) -> Array:
    """ln d at which like domains with no tokens of their own leave the mean loss together."""
    return (np.log(scale.domains) - _log_removable(scale)) / TOKEN_EXPONENT


def _own_tokens(scale: Scale) -> Array:
    """ln D: a run's tokens count e times what a domain gains from the others'."""
    return _remnant(scale) + 1.0


AUTOSCALE = Law(
    name="autoscale",
    formula=autoscale,
    jacobian=autoscale_jacobian,
    params=(
        Param("E", unit="nats/token", low=0.0, prior=Prior(_log_floor, 0.5)),
        # tokens are counted in a unit of the fit's own: the one of which a domain alone leaves 1 nat/token
        Param("d", unit="own unit of tokens", per_domain=True, low=0.0, prior=Prior(_remnant, 2.5)),
        Param("D", unit="own unit of tokens", low=0.0, prior=Prior(_own_tokens, 2.5)),
        Param("g", unit="1", per_domain=True, low=0.0, prior=Prior(np.log(TOKEN_EXPONENT), 0.5)),
    ),
    source="Kang et al. 2024, AutoScale, arXiv:2407.20177, at a fixed number of training tokens",
    departs="a floor E, and weak priors, so that fewer runs than domains still give one answer",
)
