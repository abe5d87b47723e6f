"""The effective-data law, the default: additive terms with offsets, an outer square root and linear terms."""

import numpy as np

from regressors.law import Array, Law, Param, Prior, Scale
from regressors.laws.mixing import combined

# Chosen, as the priors below, by held-out error on four tables.
RETURNS = 0.5  # a skill's loss falls as effective data to this power; flat between .4 and .6, worse at 1


def effective_data(w, *, E, C, e, g, q) -> Array:
    """Loss on one validation set, (..., n_runs), at training weights w (n_runs, n_domains).

    Every domain adds C_j (w_j + e_j)^g_j to the effective data of each of M skills; a skill's loss falls as the inverse
    root of its effective data, and the skills' mean is what better data can remove. q.w is what is left of a first
    order.
    E (...); C, e, g (..., M, n_domains); q (..., n_domains).
    """
    shares = w[..., None, :] + e[..., None, :, :]
    data = (C[..., None, :, :] * shares ** g[..., None, :, :]).sum(axis=-1)
    return E[..., None] + (data**-RETURNS).mean(axis=-1) + combined(w, q)


def effective_data_jacobian(w, *, E, C, e, g, q) -> tuple[Array, dict[str, Array]]:
    """`effective_data` with its derivatives; by C, e and g: (..., n_runs, M, n_domains)."""
    shares = w[..., None, :] + e[..., None, :, :]
    logs = np.log(shares)
    power = np.exp(g[..., None, :, :] * logs)
    terms = C[..., None, :, :] * power
    data = terms.sum(axis=-1)
    loss = data**-RETURNS
    fall = (-RETURNS * loss / data / loss.shape[-1])[..., None]  # d mean(data^-RETURNS) / d data
    slope = fall * terms
    ones = np.ones_like(loss[..., 0])
    return E[..., None] + loss.mean(axis=-1) + combined(w, q), {
        "E": ones,
        "C": fall * power,
        "e": slope * g[..., None, :, :] / shares,
        "g": slope * logs,
        "q": ones[..., None] * w,
    }


# Centres and widths of the priors below were chosen by held-out error on the training rows of RegMix's table and by
# cross-validation on three others (24, 7 and 5 domains); held-out error is flat around them.
FLOOR = 0.9  # centre of the prior on the irreducible loss, as a share of the lowest loss seen
SURPLUS = 1.0  # ln C starts so far above what a uniform mixture of like domains needs


def _floor(scale: Scale) -> Array:
    """ln E."""
    return np.log(FLOOR * scale.low)


def _unit_data(scale: Scale) -> Array:
    """ln C at which a uniform mixture of like domains would have the mean loss, and SURPLUS more."""
    removable = np.maximum(scale.mean - FLOOR * scale.low, 1e-3 * scale.spread)
    share = 1 / scale.domains + 0.01
    return SURPLUS - np.log(removable) / RETURNS - np.log(scale.domains) - 0.35 * np.log(share)


def make_effective_data(*, skills: int = 1) -> Law:
    """The effective-data law with M = skills additive terms."""
    return Law(
        name="effective-data" if skills == 1 else f"effective-data-{skills}",
        formula=effective_data,
        jacobian=effective_data_jacobian,
        params=(
            Param("E", unit="nats/token", low=0.0, prior=Prior(_floor, 0.5)),
            Param("C", unit="1", per_domain=True, low=0.0, copies=skills, prior=Prior(_unit_data, 2.5)),
            # what a domain gains from the others, as if it had this share more of its own
            Param("e", unit="1", per_domain=True, low=0.0, copies=skills, prior=Prior(np.log(0.01), 1.5)),
            Param("g", unit="1", per_domain=True, low=0.0, copies=skills, prior=Prior(np.log(0.35), 0.3)),
            Param("q", unit="nats/token", per_domain=True, prior=Prior(0.0, 0.2)),
        ),
        source="mixopt; generalises Shukor et al. 2025, Scaling Laws for Optimal Data Mixtures, arXiv:2507.09404",
        departs="the outer exponent is 1/2, not 1; offsets e_j make a weight of 0 harmless, q.w takes up first-order "
        "misfit, exponents differ by domain, and every parameter has a weak prior (maximum a posteriori)",
    )


EFFECTIVE_DATA = make_effective_data()
EFFECTIVE_DATA_2 = make_effective_data(skills=2)
