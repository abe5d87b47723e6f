"""Published laws of repeated data: loss against parameters, training tokens and the unique tokens among them.

All counts are whole numbers of parameters and tokens, or shares of common units; tokens below unique mean that nothing
is repeated. Formulas are analytic in the counts as well as in the values: complex ones give exact derivatives, and
which side of a kink a run is on is decided by real parts.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import inf

import numpy as np

from regressors.law import Array, Law, Param, Prior, Values
from regressors.laws.mixing import power
from regressors.laws.scaling import EXPONENTS, chinchilla_published

COUNTS: tuple[str, ...] = ("params", "tokens", "unique")
RepetitionLaw = partial(Law, inputs=COUNTS, units={"unique": "tokens"})


def smaller(a: Array, b: Array) -> Array:
    """The smaller of two, real or complex."""
    return np.where(np.real(a) > np.real(b), b, a)


def effective_amount(total: Array, first: Array, r_star: Array) -> Array:
    """The effective amount of a total, (..., n_runs), of which `first` is new: first (1 + R* (1 - exp(-R / R*))).

    R = total / first - 1 is how often the new part is had again; R* (...) is how often until a repeat counts 1/e.
    """
    r_star = r_star[..., None]
    return first * (1 - r_star * np.expm1(-(total / first - 1) / r_star))


def best_size(unique, A, B, alpha, beta) -> Array:
    """The parameters, (..., n_runs), that Chinchilla's law holds best for so many tokens, none of them repeated.

    There alpha A / N^alpha = beta B / D^beta, in whatever units A and B are. It is the published G (G D)^(beta/alpha).
    """
    ratio = np.log(alpha * A) - np.log(beta * B)
    return np.exp((ratio[..., None] + beta[..., None] * np.log(unique)) / alpha[..., None])


def data_constrained(params, tokens, unique, *, E, A, B, alpha, beta, r_star_d, r_star_n) -> Array:
    """Loss (..., n_runs) where repeated tokens, and parameters beyond what the unique ones can fill, count less.

    params, tokens, unique: (n_runs,); all values (...).
    """
    unique = smaller(tokens, unique)
    filled = smaller(params, best_size(unique, A, B, alpha, beta))
    size = A[..., None] * power(effective_amount(params, filled, r_star_n), alpha)
    return E[..., None] + size + B[..., None] * power(effective_amount(tokens, unique, r_star_d), beta)


def data_decay(params, tokens, unique, *, E, A, B, alpha, beta, r_star_d) -> Array:
    """Loss (..., n_runs) where repeated tokens count less, and parameters in full; inputs as above."""
    seen = effective_amount(tokens, smaller(tokens, unique), r_star_d)
    return E[..., None] + A[..., None] * power(params, alpha) + B[..., None] * power(seen, beta)


def data_decay_jacobian(params, tokens, unique, *, E, A, B, alpha, beta, r_star_d) -> tuple[Array, dict[str, Array]]:
    """`data_decay` with its derivatives, (..., n_runs) each."""
    first = smaller(tokens, unique)
    seen = effective_amount(tokens, first, r_star_d)
    size, data = power(params, alpha), power(seen, beta)
    from_size, from_data = A[..., None] * size, B[..., None] * data
    often = (tokens / first - 1) / r_star_d[..., None]
    gained = first * (-np.expm1(-often) - often * np.exp(-often))
    return E[..., None] + from_size + from_data, {
        "E": np.ones_like(from_size),
        "A": size,
        "B": data,
        "alpha": -from_size * np.log(params),
        "beta": -from_data * np.log(seen),
        "r_star_d": -beta[..., None] * from_data / seen * gained,
    }


def penalty(params, tokens, unique, P, delta, kappa) -> Array:
    """P R^delta (N/U)^kappa, (..., n_runs), and 0 where nothing is repeated."""
    unique = smaller(tokens, unique)
    repeated = np.real(tokens) > np.real(unique)
    repeats = np.where(repeated, tokens / unique - 1, 1.0)
    risen = np.exp(delta[..., None] * np.log(repeats) + kappa[..., None] * np.log(params / unique))
    return P[..., None] * np.where(repeated, risen, 0.0)


def overfit_penalty(params, tokens, unique, *, E, A, B, alpha, beta, P, delta, kappa) -> Array:
    """Loss (..., n_runs) of Chinchilla's law, and what overfitting adds: more, the larger a model is for its data."""
    loss = E[..., None] + A[..., None] * power(params, alpha) + B[..., None] * power(tokens, beta)
    return loss + penalty(params, tokens, unique, P, delta, kappa)


def overfit_decay(params, tokens, unique, *, E, A, B, alpha, beta, r_star_d, P, delta, kappa) -> Array:
    """Loss (..., n_runs) where repeated tokens count less, and overfitting adds to it."""
    decayed = data_decay(params, tokens, unique, E=E, A=A, B=B, alpha=alpha, beta=beta, r_star_d=r_star_d)
    return decayed + penalty(params, tokens, unique, P, delta, kappa)


def bounded_penalty(params, tokens, unique, *, E, G, A, B, alpha, beta, P, delta, kappa) -> Array:
    """Loss (..., n_runs) between E and E + G, whatever size, tokens and overfitting add up to."""
    h = A[..., None] * power(params, alpha) + B[..., None] * power(tokens, beta)
    h = h + penalty(params, tokens, unique, P, delta, kappa)
    return E[..., None] + G[..., None] * h / (1 + h)


def shortfall(params, tokens, unique, *, A, B, C, alpha, beta, gamma, delta) -> Array:
    """Too few parameters, too few tokens, and too little data for the parameters: (..., n_runs)."""
    unique = smaller(tokens, unique)
    strain = np.exp(gamma[..., None] * np.log(params) - delta[..., None] * np.log(unique))
    return A[..., None] * power(params, alpha) + B[..., None] * power(tokens, beta) + C[..., None] * strain


def strained(params, tokens, unique, *, E, **values) -> Array:
    """Loss (..., n_runs) that grows without bound."""
    return E[..., None] + shortfall(params, tokens, unique, **values)


def bryant_liu(params, tokens, unique, *, E, G, **values) -> Array:
    """Loss (..., n_runs) between E and E + G, however short a run falls."""
    h = shortfall(params, tokens, unique, **values)
    return E[..., None] + G[..., None] * h / (1 + h)


def with_penalty_published(values: Values, units: Mapping[str, float]) -> dict[str, Array]:
    """A, B and P at one parameter and one token, where the fit has them at the units."""
    return chinchilla_published(values, units) | {
        "P": values["P"] * (units["tokens"] / units["params"]) ** values["kappa"]
    }


def bryant_liu_published(values: Values, units: Mapping[str, float]) -> dict[str, Array]:
    """A, B and C at one parameter and one token."""
    unstrained = units["tokens"] ** values["delta"] / units["params"] ** values["gamma"]
    return chinchilla_published(values, units) | {"C": values["C"] * unstrained}


def amplitude(name: str, share: float, linear: bool = True) -> Param:
    """A part of the loss that starts as so large a share of the lowest one."""
    return Param(name, unit="nats/token", low=0.0, amplitude=linear, prior=Prior(lambda s: np.log(share * s.low), inf))


def factor(name: str, centre: float, *, unit: str = "1", grid: tuple[float, float] | None = None) -> Param:
    """A positive parameter that starts at its centre."""
    return Param(name, unit=unit, low=0.0, grid=grid, prior=Prior(np.log(centre), inf))


REPEATS = (0.5, 500.0)  # starts of R* lie between these
CHINCHILLA_PARAMS = (
    amplitude("E", 0.7),
    amplitude("A", 0.3),
    amplitude("B", 0.3),
    factor("alpha", 0.34, grid=EXPONENTS),
    factor("beta", 0.34, grid=EXPONENTS),
)
PENALTY_PARAMS = (factor("delta", 0.5, grid=(0.1, 3.0)), factor("kappa", 1.0, grid=(0.1, 3.0)))
R_STAR_D = factor("r_star_d", 15.0, unit="epochs", grid=REPEATS)

DATA_DECAY = RepetitionLaw(
    name="data-decay",
    formula=data_decay,
    jacobian=data_decay_jacobian,
    published=chinchilla_published,
    params=(*CHINCHILLA_PARAMS, R_STAR_D),
    source="Muennighoff et al. 2023, Scaling Data-Constrained Language Models, arXiv:2305.16264, the data term alone",
    departs="excess parameters count in full",
)


def constrained_starts(values: Values) -> dict[str, Array]:
    """Starts of the data-constrained law at those of the data decay: excess parameters counting more and less."""
    return dict(values) | {"r_star_n": np.resize([5.0, 50.0, 0.5], np.shape(values["E"]))}


DATA_CONSTRAINED = RepetitionLaw(
    name="data-constrained",
    formula=data_constrained,
    published=chinchilla_published,
    starts_from=(DATA_DECAY, constrained_starts),
    params=(*CHINCHILLA_PARAMS, R_STAR_D, factor("r_star_n", 5.0, grid=REPEATS)),
    source="Muennighoff et al. 2023, Scaling Data-Constrained Language Models, arXiv:2305.16264",
    departs="published with alpha = beta (`tied`), and with all but both R* fitted to single-epoch runs and frozen",
)
OVERFIT_PENALTY = RepetitionLaw(
    name="overfit-penalty",
    formula=overfit_penalty,
    published=with_penalty_published,
    params=(*CHINCHILLA_PARAMS, amplitude("P", 0.01), *PENALTY_PARAMS),
    source="Lovelace et al. 2026, Prescriptive Scaling Laws for Data Constrained Training, arXiv:2605.01640",
    departs="fitted at the geometric means of the counts, as the others",
)
OVERFIT_DECAY = RepetitionLaw(
    name="overfit-decay",
    formula=overfit_decay,
    published=with_penalty_published,
    params=(*CHINCHILLA_PARAMS, R_STAR_D, amplitude("P", 0.01), *PENALTY_PARAMS),
    source="the penalty of Lovelace et al. 2026, arXiv:2605.01640, on the decay of Muennighoff et al. 2023, "
    "arXiv:2305.16264",
    departs="a combination of both: data that is repeated first teaches less, then harms",
)


def bounded_starts(values: Values) -> dict[str, Array]:
    """Starts of a bounded law at those of the same law without a bound: near, middling and far."""
    G = values["E"] * np.resize([12.0, 40.0, 4.0], np.shape(values["E"]))
    return dict(values) | {"G": G} | {name: values[name] / G for name in ("A", "B", "C", "P") if name in values}


BOUNDED_PENALTY = RepetitionLaw(
    name="bounded-penalty",
    formula=bounded_penalty,
    published=with_penalty_published,
    starts_from=(OVERFIT_PENALTY, bounded_starts),
    params=(
        amplitude("E", 0.7, linear=False),
        amplitude("G", 3.0, linear=False),
        factor("A", 0.1),
        factor("B", 0.1),
        factor("alpha", 0.34),
        factor("beta", 0.34),
        factor("P", 0.01),
        factor("delta", 0.5),
        factor("kappa", 1.0),
    ),
    source="the penalty of Lovelace et al. 2026, arXiv:2605.01640, in the bounded form of Bryant & Liu 2026, "
    "arXiv:2605.09189",
    departs="a combination of both; repeated tokens count in full, the penalty alone tells of repetition",
)
STRAINED = RepetitionLaw(
    name="strained",
    formula=strained,
    published=bryant_liu_published,
    params=(
        *CHINCHILLA_PARAMS,
        amplitude("C", 0.1),
        factor("gamma", 0.3, grid=(0.05, 1.5)),
        factor("delta", 0.5, grid=(0.05, 1.5)),
    ),
    source="Bryant & Liu 2026, arXiv:2605.09189",
    departs="without a bound: only for the starts of the bounded law",
)
BRYANT_LIU = RepetitionLaw(
    name="bryant-liu",
    formula=bryant_liu,
    published=bryant_liu_published,
    starts_from=(STRAINED, bounded_starts),
    params=(
        amplitude("E", 0.7, linear=False),
        amplitude("G", 3.0, linear=False),
        factor("A", 0.1),
        factor("B", 0.1),
        factor("C", 0.03),
        factor("alpha", 0.34),
        factor("beta", 0.34),
        factor("gamma", 0.3),
        factor("delta", 0.5),
    ),
    source="Bryant & Liu 2026, Practical Scaling Laws: Converting Compute into Performance in a Data-Constrained "
    "World, arXiv:2605.09189",
    departs="G stands for the highest loss less the lowest, L0 - E",
)


def tied(law: Law) -> Law:
    """The same law with one exponent for size and data, alpha = beta, as the data-constrained law was published."""

    def formula(*inputs: Array, **values: Array) -> Array:
        return law.formula(*inputs, **values, beta=values["alpha"])

    def published(values: Values, units: Mapping[str, float]) -> dict[str, Array]:
        back = law.published(dict(values) | {"beta": values["alpha"]}, units) if law.published else dict(values)
        return {name: value for name, value in back.items() if name != "beta"}

    def convert(values: Values) -> dict[str, Array]:
        found = law.starts_from[1](dict(values) | {"beta": values["alpha"]}) if law.starts_from else dict(values)
        return {name: value for name, value in found.items() if name != "beta"}

    return replace(
        law,
        name=f"{law.name}-tied",
        formula=formula,
        jacobian=None,
        published=published,
        starts_from=(tied(law.starts_from[0]), convert) if law.starts_from else None,
        params=tuple(p for p in law.params if p.name != "beta"),
        departs="alpha = beta; " + law.departs,
    )


DATA_CONSTRAINED_TIED = tied(DATA_CONSTRAINED)
REPETITION_LAWS = {
    law.name: law
    for law in (
        DATA_CONSTRAINED,
        DATA_CONSTRAINED_TIED,
        DATA_DECAY,
        OVERFIT_PENALTY,
        OVERFIT_DECAY,
        BOUNDED_PENALTY,
        BRYANT_LIU,
    )
}
