"""Joint laws of mixture, parameters and training tokens: mixopt's own.

Two things decide how such a law extrapolates to larger models. The size's exponent isn't identified apart from the
irreducible loss while there are only two or three sizes: both get a prior, and so does the tokens' exponent. And a
young run's loss is decided by how long it has been trained, whatever its size: a law without that reads sizes that
hardly differ yet as sizes that hardly matter, and exponents of 1 out of transient checkpoints.
"""

import numpy as np

from regressors.law import Array, Law, Param, Prior, Scale
from regressors.laws.mixing import combined, power

EARLY = 4  # how sharply a run's early loss gives way to its late one: the loss is a norm of both, of this order


def bent(params, tokens, *, E, A, B, alpha, beta, T, k) -> Array:
    """Loss (..., n_runs) of models of so many parameters (n_runs,) after so many tokens (n_runs,); all values (...).

    late = A params^-alpha + B tokens^-beta is Chinchilla's law, early = T tokens^-k what a young run is still to lose;
    what can be removed is (late^4 + early^4)^(1/4): the larger of both, smoothly.
    """
    late = A[..., None] * power(params, alpha) + B[..., None] * power(tokens, beta)
    return E[..., None] + _norm(late, T[..., None] * power(tokens, k))[0]


def _norm(late: Array, early: Array) -> tuple[Array, Array, Array]:
    """(late^p + early^p)^(1/p) and its derivatives by late and early."""
    share = (early / late) ** EARLY
    by_late = (1 + share) ** (1 / EARLY - 1)
    return late * by_late * (1 + share), by_late, by_late * share * late / early


def _bent_slopes(params, tokens, from_size, from_data, T, k) -> tuple[Array, dict[str, Array]]:
    """What can be removed, and its derivatives: by ln of each late term, and by what shapes them."""
    early = power(tokens, k)
    removable, by_late, by_early = _norm(from_size + from_data, T[..., None] * early)
    size, data = by_late * from_size, by_late * from_data
    return removable, {
        "from_size": size,
        "from_data": data,
        "alpha": -size * np.log(params),
        "beta": -data * np.log(tokens),
        "T": by_early * early,
        "k": -by_early * T[..., None] * early * np.log(tokens),
    }


def joint_effective_data(w, params, tokens, *, E, C, e, g, A, a, B, b, alpha, beta, T, k) -> Array:
    """Loss on one validation set, (..., n_runs), at training weights w (n_runs, n_domains), parameters and tokens.

    The effective-data law of the mixture plus `bent`, whose A and B depend on the mixture by factors exp(a.w) and
    exp(b.w). E, A, B, alpha, beta, T, k (...); C, e, g, a, b (..., n_domains).
    """
    shares = w + e[..., None, :]
    data = (C[..., None, :] * shares ** g[..., None, :]).sum(axis=-1)
    from_size = A[..., None] * np.exp(combined(w, a)) * power(params, alpha)
    from_data = B[..., None] * np.exp(combined(w, b)) * power(tokens, beta)
    return E[..., None] + 1 / data + _norm(from_size + from_data, T[..., None] * power(tokens, k))[0]


def joint_effective_data_jacobian(
    w, params, tokens, *, E, C, e, g, A, a, B, b, alpha, beta, T, k
) -> tuple[Array, dict[str, Array]]:
    """`joint_effective_data` with its derivatives; by C, e, g, a and b: (..., n_runs, n_domains)."""
    mixed, slopes = mixture_slopes(w, C, e, g)
    from_size = A[..., None] * np.exp(combined(w, a)) * power(params, alpha)
    from_data = B[..., None] * np.exp(combined(w, b)) * power(tokens, beta)
    removable, more = _bent_slopes(params, tokens, from_size, from_data, T, k)
    size, data = more.pop("from_size"), more.pop("from_data")
    slopes |= more
    slopes |= {"A": size / A[..., None], "a": size[..., None] * w, "B": data / B[..., None], "b": data[..., None] * w}
    slopes |= {"E": np.ones_like(removable)}
    return E[..., None] + mixed + removable, slopes


def mixture_slopes(w: Array, C: Array, e: Array, g: Array) -> tuple[Array, dict[str, Array]]:
    """1 / sum_j C_j (w_j + e_j)^g_j, (..., n_runs), and its derivatives, (..., n_runs, n_domains)."""
    shares = w + e[..., None, :]
    logs = np.log(shares)
    power = np.exp(g[..., None, :] * logs)
    terms = C[..., None, :] * power
    loss = 1 / terms.sum(axis=-1)
    fall = -(loss**2)[..., None]
    slope = fall * terms
    return loss, {"C": fall * power, "e": slope * g[..., None, :] / shares, "g": slope * logs}


# Centres and widths were chosen by predicting larger models and later checkpoints on plain and mixed tables of six
# families; errors are flat around them. Published exponents lie around the centres: .34 and .28 (Hoffmann et al. 2022),
# .35 and .37 (Besiroglu et al. 2024).
FLOOR = 0.57  # centre of the prior on the irreducible loss, as a share of the lowest loss seen
AMPLITUDE = 0.2  # centre of A, B and T, as a share of the lowest loss seen
MIXED = 0.1  # what better data can remove, as a share of the mean loss, were ln C not SURPLUS above it
SURPLUS = 1.0
OFFSET = 0.01
EXPONENT = 0.35


def log_floor(scale: Scale) -> Array:
    return np.log(FLOOR * scale.low)


def log_amplitude(scale: Scale) -> Array:
    return np.log(AMPLITUDE * scale.low)


def log_usefulness(scale: Scale) -> Array:
    """ln C at which a uniform mixture of like domains leaves MIXED of the mean loss, and SURPLUS more."""
    mixed = np.log(np.maximum(MIXED * scale.mean, scale.spread * 1e-3))
    return SURPLUS - mixed - np.log(scale.domains) - EXPONENT * np.log(1 / scale.domains + OFFSET)


E = Param("E", unit="nats/token", low=0.0, prior=Prior(log_floor, 0.1))
A = Param("A", unit="nats/token", low=0.0, prior=Prior(log_amplitude, 0.7))
B = Param("B", unit="nats/token", low=0.0, prior=Prior(log_amplitude, 0.7))
ALPHA = Param("alpha", unit="1", low=0.0, prior=Prior(np.log(0.28), 0.1))
BETA = Param("beta", unit="1", low=0.0, prior=Prior(np.log(0.35), 0.05))  # wider, young checkpoints decide it
EARLY_LOSS = Param("T", unit="nats/token", low=0.0, prior=Prior(log_amplitude, 1.5))
EARLY_EXPONENT = Param("k", unit="1", low=0.0, prior=Prior(np.log(0.7), 0.1))  # free, it mimics other terms
USEFULNESS = Param("C", unit="1", per_domain=True, low=0.0, prior=Prior(log_usefulness, 2.5))
GAIN = Param("g", unit="1", per_domain=True, low=0.0, prior=Prior(np.log(EXPONENT), 0.3))

BENT = Law(
    name="bent-chinchilla",
    formula=bent,
    inputs=("params", "tokens"),
    params=(E, A, B, ALPHA, BETA, EARLY_LOSS, EARLY_EXPONENT),
    source="mixopt; Hoffmann et al. 2022, Training Compute-Optimal Large Language Models, arXiv:2203.15556",
    departs="an early phase in which size matters little yet; priors on the irreducible loss and the exponents",
)

JOINT_EFFECTIVE_DATA = Law(
    name="joint-effective-data",
    formula=joint_effective_data,
    jacobian=joint_effective_data_jacobian,
    inputs=("w", "params", "tokens"),
    params=(
        E,
        USEFULNESS,
        Param("e", unit="1", per_domain=True, low=0.0, prior=Prior(np.log(OFFSET), 1.5)),
        GAIN,
        A,
        Param("a", unit="1", per_domain=True, prior=Prior(0.0, 0.5)),  # ln of a factor on A, of a domain alone
        B,
        Param("b", unit="1", per_domain=True, prior=Prior(0.0, 0.5)),
        ALPHA,
        BETA,
        EARLY_LOSS,
        EARLY_EXPONENT,
    ),
    source="mixopt; generalises Shukor et al. 2025, Scaling Laws for Optimal Data Mixtures, arXiv:2507.09404",
    departs="offsets e_j make a weight of 0 harmless, A and B depend on the mixture by exponential factors, an early "
    "phase in which size and mixture matter less, and priors on every parameter",
)
