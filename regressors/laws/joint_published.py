"""Published joint laws of mixture, parameters and training tokens.

Where a law speaks of a target's own share of training tokens, that share is a learned combination of domains, so that
a target needs no domain of its own.
"""

import numpy as np

from regressors.law import Array, Law, Param, Prior
from regressors.laws.joint import ALPHA, BETA, GAIN, USEFULNESS, A, B, E, log_amplitude, mixture_slopes
from regressors.laws.mixing import TRACE, combined, power

INPUTS = ("w", "params", "tokens")


def joint_additive(w, params, tokens, *, E, C, g, A, B, alpha, beta) -> Array:
    """Loss on one validation set, (..., n_runs); mixture, size and tokens each remove a part of their own.

    E, A, B, alpha, beta (...); C, g (..., n_domains).
    """
    data = (C[..., None, :] * (w + TRACE) ** g[..., None, :]).sum(axis=-1)
    return E[..., None] + 1 / data + A[..., None] * power(params, alpha) + B[..., None] * power(tokens, beta)


def joint_additive_jacobian(w, params, tokens, *, E, C, g, A, B, alpha, beta) -> tuple[Array, dict[str, Array]]:
    """`joint_additive` with its derivatives; by C and g: (..., n_runs, n_domains)."""
    mixed, slopes = mixture_slopes(w, C, np.full_like(g, TRACE), g)
    del slopes["e"]
    size, data = power(params, alpha), power(tokens, beta)
    slopes |= _late_slopes(params, tokens, A[..., None] * size, B[..., None] * data)
    slopes |= {"A": size, "B": data, "E": np.ones_like(mixed)}
    return E[..., None] + mixed + A[..., None] * size + B[..., None] * data, slopes


def _late_slopes(params: Array, tokens: Array, from_size: Array, from_data: Array) -> dict[str, Array]:
    return {"alpha": -from_size * np.log(params), "beta": -from_data * np.log(tokens)}


def joint_full(w, params, tokens, *, E, C, g, a, ga, b, gb, alpha, beta) -> Array:
    """`joint_additive` with A = (a.w)^ga, B = (b.w)^gb. E, ga, gb, alpha, beta (...); C, g, a, b (..., n_domains)."""
    data = (C[..., None, :] * (w + TRACE) ** g[..., None, :]).sum(axis=-1)
    from_size = power(combined(w + TRACE, a), -ga) * power(params, alpha)
    return E[..., None] + 1 / data + from_size + power(combined(w + TRACE, b), -gb) * power(tokens, beta)


def joint_full_jacobian(w, params, tokens, *, E, C, g, a, ga, b, gb, alpha, beta) -> tuple[Array, dict[str, Array]]:
    """`joint_full` with its derivatives; by C, g, a and b: (..., n_runs, n_domains)."""
    mixed, slopes = mixture_slopes(w, C, np.full_like(g, TRACE), g)
    del slopes["e"]
    shares = w + TRACE
    weigh_size, weigh_data = combined(shares, a), combined(shares, b)
    from_size = power(weigh_size, -ga) * power(params, alpha)
    from_data = power(weigh_data, -gb) * power(tokens, beta)
    slopes |= _late_slopes(params, tokens, from_size, from_data)
    slopes |= {
        "a": (ga[..., None] * from_size / weigh_size)[..., None] * shares,
        "ga": from_size * np.log(weigh_size),
        "b": (gb[..., None] * from_data / weigh_data)[..., None] * shares,
        "gb": from_data * np.log(weigh_data),
        "E": np.ones_like(mixed),
    }
    return E[..., None] + mixed + from_size + from_data, slopes


def joint_log_linear(w, params, tokens, *, E, t, a, b, alpha, beta) -> Array:
    """Loss, (..., n_runs): mixture, size and tokens each by an exponential. E, alpha, beta (...); t, a, b (..., d)."""
    late = np.exp(combined(w, a)) * power(params, alpha) + np.exp(combined(w, b)) * power(tokens, beta)
    return E[..., None] + np.exp(combined(w, t)) + late


def joint_log_linear_jacobian(w, params, tokens, *, E, t, a, b, alpha, beta) -> tuple[Array, dict[str, Array]]:
    """`joint_log_linear` with its derivatives; by t, a and b: (..., n_runs, n_domains)."""
    mixed = np.exp(combined(w, t))
    from_size = np.exp(combined(w, a)) * power(params, alpha)
    from_data = np.exp(combined(w, b)) * power(tokens, beta)
    return E[..., None] + mixed + from_size + from_data, {
        "E": np.ones_like(mixed),
        "t": mixed[..., None] * w,
        "a": from_size[..., None] * w,
        "b": from_data[..., None] * w,
        **_late_slopes(params, tokens, from_size, from_data),
    }


def exponential_chinchilla(w, params, tokens, *, E, t, A, B, alpha, beta) -> Array:
    """Loss, (..., n_runs): one factor exp(t.w) on all that data, size and tokens can remove. All (...) but t."""
    late = A[..., None] * power(params, alpha) + B[..., None] * power(tokens, beta)
    return E[..., None] + np.exp(combined(w, t)) * (1 + late)


def exponential_chinchilla_jacobian(w, params, tokens, *, E, t, A, B, alpha, beta) -> tuple[Array, dict[str, Array]]:
    """`exponential_chinchilla` with its derivatives; by t: (..., n_runs, n_domains)."""
    factor = np.exp(combined(w, t))
    size, data = factor * power(params, alpha), factor * power(tokens, beta)
    from_size, from_data = A[..., None] * size, B[..., None] * data
    removable = factor + from_size + from_data
    return E[..., None] + removable, {
        "E": np.ones_like(factor),
        "t": removable[..., None] * w,
        "A": size,
        "B": data,
        **_late_slopes(params, tokens, from_size, from_data),
    }


def joint_bimix(w, params, tokens, *, E, s, eta, A, B, alpha, beta) -> Array:
    """Loss, (..., n_runs): a power of the target's own share, s.w, times what size and data leave. All (...) but s."""
    late = A[..., None] * power(params, alpha) + B[..., None] * power(tokens, beta)
    return E[..., None] + power(combined(w + TRACE, s), eta) * (1 + late)


def joint_bimix_jacobian(w, params, tokens, *, E, s, eta, A, B, alpha, beta) -> tuple[Array, dict[str, Array]]:
    """`joint_bimix` with its derivatives; by s: (..., n_runs, n_domains)."""
    own = combined(w + TRACE, s)
    factor = power(own, eta)
    size, data = factor * power(params, alpha), factor * power(tokens, beta)
    from_size, from_data = A[..., None] * size, B[..., None] * data
    removable = factor + from_size + from_data
    return E[..., None] + removable, {
        "E": np.ones_like(factor),
        "s": (-eta[..., None] * removable / own)[..., None] * (w + TRACE),
        "eta": -removable * np.log(own),
        "A": size,
        "B": data,
        **_late_slopes(params, tokens, from_size, from_data),
    }


def dcpt(w, params, tokens, *, E, s, A, B, C, alpha, beta, eta, eps, gamma) -> Array:
    """Loss, (..., n_runs), with r = s.w the target's own share: E + A/N^alpha + B r^eta/D^beta + C/(r + eps)^gamma.

    All (...) but s, (..., n_domains) between 0 and 1.
    """
    own = combined(w + TRACE, s)
    from_data = B[..., None] * power(own, -eta) * power(tokens, beta)
    from_mixture = C[..., None] * power(own + eps[..., None], gamma)
    return E[..., None] + A[..., None] * power(params, alpha) + from_data + from_mixture


def dcpt_jacobian(w, params, tokens, *, E, s, A, B, C, alpha, beta, eta, eps, gamma) -> tuple[Array, dict[str, Array]]:
    """`dcpt` with its derivatives; by s: (..., n_runs, n_domains)."""
    own = combined(w + TRACE, s)
    far = own + eps[..., None]
    size, data = power(params, alpha), power(own, -eta) * power(tokens, beta)
    mixture = power(far, gamma)
    from_size, from_data, from_mixture = A[..., None] * size, B[..., None] * data, C[..., None] * mixture
    by_far = -gamma[..., None] * from_mixture / far
    return E[..., None] + from_size + from_data + from_mixture, {
        "E": np.ones_like(own),
        "s": (eta[..., None] * from_data / own + by_far)[..., None] * (w + TRACE),
        "A": size,
        "B": data,
        "C": mixture,
        "eta": from_data * np.log(own),
        "eps": by_far,
        "gamma": -from_mixture * np.log(far),
        **_late_slopes(params, tokens, from_size, from_data),
    }


OWN_EXPONENT = 0.3  # where exponents of a target's own share start
_t = Param("t", unit="1", per_domain=True, prior=Prior(log_amplitude, 1.5))
_eta = Param("eta", unit="1", low=0.0, prior=Prior(np.log(OWN_EXPONENT), 0.5))
_amplitude = Param("", unit="1", low=0.0, prior=Prior(0.0, 1.0))  # of a factor's parts: as large as its constant

SHUKOR = "Shukor et al. 2025, Scaling Laws for Optimal Data Mixtures, arXiv:2507.09404"
PRIORS = "priors on every parameter (maximum a posteriori), on the irreducible loss and the exponents among them"
OWN = "a target's own share is a learned combination of domains"


def _named(name: str, like: Param) -> Param:
    return Param(name, unit=like.unit, prior=like.prior, per_domain=like.per_domain, low=like.low, high=like.high)


JOINT_ADDITIVE = Law(
    name="joint-additive",
    formula=joint_additive,
    jacobian=joint_additive_jacobian,
    inputs=INPUTS,
    params=(E, USEFULNESS, GAIN, A, B, ALPHA, BETA),
    source=SHUKOR,
    departs=f"a weight of 0 counts as {TRACE:g}; {PRIORS}",
)

JOINT_FULL = Law(
    name="joint-full",
    formula=joint_full,
    jacobian=joint_full_jacobian,
    inputs=INPUTS,
    params=(
        E,
        USEFULNESS,
        GAIN,
        Param("a", unit="1", per_domain=True, low=0.0, prior=Prior(log_amplitude, 0.7)),
        Param("ga", unit="1", low=0.0, prior=Prior(0.0, 0.3)),
        Param("b", unit="1", per_domain=True, low=0.0, prior=Prior(log_amplitude, 0.7)),
        Param("gb", unit="1", low=0.0, prior=Prior(0.0, 0.3)),
        ALPHA,
        BETA,
    ),
    source=SHUKOR,
    departs=f"a weight of 0 counts as {TRACE:g}; {PRIORS}",
)

JOINT_LOG_LINEAR = Law(
    name="joint-log-linear",
    formula=joint_log_linear,
    jacobian=joint_log_linear_jacobian,
    inputs=INPUTS,
    params=(
        E,
        _t,
        Param("a", unit="1", per_domain=True, prior=Prior(log_amplitude, 0.7)),
        Param("b", unit="1", per_domain=True, prior=Prior(log_amplitude, 0.7)),
        ALPHA,
        BETA,
    ),
    source="olmix 2026, arXiv:2602.12237, whose log-linear law of the mixture is continued to sizes and tokens",
    departs=PRIORS,
)

EXPONENTIAL_CHINCHILLA = Law(
    name="exponential-chinchilla",
    formula=exponential_chinchilla,
    jacobian=exponential_chinchilla_jacobian,
    inputs=INPUTS,
    params=(E, _t, _named("A", _amplitude), _named("B", _amplitude), ALPHA, BETA),
    source="Ye et al. 2024, Data Mixing Laws, arXiv:2403.16952, times Hoffmann et al. 2022, arXiv:2203.15556",
    departs=f"one law in place of three nested ones; {PRIORS}",
)

JOINT_BIMIX = Law(
    name="joint-bimix",
    formula=joint_bimix,
    jacobian=joint_bimix_jacobian,
    inputs=INPUTS,
    params=(
        E,
        # ln s at which a uniform mixture of like domains leaves AMPLITUDE of the lowest loss
        Param("s", unit="1", per_domain=True, low=0.0, prior=Prior(lambda z: -log_amplitude(z) / OWN_EXPONENT, 2.5)),
        _eta,
        _named("A", _amplitude),
        _named("B", _amplitude),
        ALPHA,
        BETA,
    ),
    source="Ge et al. 2024, BiMix, arXiv:2405.14908",
    departs=f"a term for the size, a floor E; {OWN}; {PRIORS}",
)

DCPT = Law(
    name="d-cpt",
    formula=dcpt,
    jacobian=dcpt_jacobian,
    inputs=INPUTS,
    params=(
        E,
        Param("s", unit="1", per_domain=True, low=0.0, high=1.0, prior=Prior(0.0, 1.5)),
        A,
        B,
        _named("C", A),
        ALPHA,
        BETA,
        _eta,
        Param("eps", unit="1", low=0.0, prior=Prior(np.log(0.1), 1.0)),
        Param("gamma", unit="1", low=0.0, prior=Prior(np.log(OWN_EXPONENT), 0.5)),
    ),
    source="Que et al. 2024, D-CPT Law, arXiv:2406.01375",
    departs=f"{OWN}; {PRIORS}",
)
