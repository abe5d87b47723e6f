"""Published laws of loss against mixture, at one model size and one number of training tokens."""

import numpy as np

from regressors.law import Array, Law, Param, Prior


def exponential(w: Array, *, c: Array, t: Array) -> Array:
    """Loss on one validation text, (..., n_runs), at training weights w (n_runs, n_domains); c (...), t (..., d)."""
    return c[..., None] + np.exp(t @ w.T)


def exponential_jacobian(w: Array, *, c: Array, t: Array) -> tuple[Array, dict[str, Array]]:
    """`exponential` with its derivatives by c, (..., n_runs), and t, (..., n_runs, n_domains)."""
    removable = np.exp(t @ w.T)
    return c[..., None] + removable, {"c": np.ones_like(removable), "t": removable[..., None] * w}


EXPONENTIAL = Law(
    name="exponential-mixing",
    formula=exponential,
    jacobian=exponential_jacobian,
    params=(
        # the loss that no mixture removes
        Param("c", unit="nats/token", low=0.0, prior=Prior(lambda s: np.log(0.7 * s.low), 0.5)),
        # the lower t_j, the more domain j helps; a domain alone moves the removable loss by a factor e**1.5 at one sd
        Param(
            "t",
            unit="1",
            per_domain=True,
            prior=Prior(lambda s: np.log(np.maximum(s.mean - 0.7 * s.low, 1e-3 * s.spread)), 1.5),
        ),
    ),
    source="Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952",
    departs="no amplitude k: weights sum to 1, so ln k shifts every t_j and can't be told apart; "
    "weak normal priors on ln c and t, so that fewer runs than domains still give one answer",
)
