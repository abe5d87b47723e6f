"""Published scaling laws: loss against parameters and training tokens, on one mixture."""

from collections.abc import Mapping
from math import inf

import numpy as np

from regressors.law import Array, Law, Param, Prior, Values
from regressors.laws.mixing import power


def chinchilla(params, tokens, *, E, A, B, alpha, beta) -> Array:
    """Loss (..., n_runs) of models of so many parameters (n_runs,) after so many tokens (n_runs,); all values (...)."""
    return E[..., None] + A[..., None] * power(params, alpha) + B[..., None] * power(tokens, beta)


def chinchilla_jacobian(params, tokens, *, E, A, B, alpha, beta) -> tuple[Array, dict[str, Array]]:
    """`chinchilla` with its derivatives, (..., n_runs) each."""
    size, data = power(params, alpha), power(tokens, beta)
    from_size, from_data = A[..., None] * size, B[..., None] * data
    return E[..., None] + from_size + from_data, {
        "E": np.ones_like(size),
        "A": size,
        "B": data,
        "alpha": -from_size * np.log(params),
        "beta": -from_data * np.log(tokens),
    }


def chinchilla_published(values: Values, units: Mapping[str, float]) -> dict[str, Array]:
    """A and B at one parameter and one token, where the fit has them at the units."""
    return dict(values) | {
        "A": values["A"] * units["params"] ** values["alpha"],
        "B": values["B"] * units["tokens"] ** values["beta"],
    }


EXPONENTS = (0.02, 1.5)  # starts of a size's or a token count's exponent lie between these

CHINCHILLA = Law(
    name="chinchilla",
    formula=chinchilla,
    jacobian=chinchilla_jacobian,
    published=chinchilla_published,
    inputs=("params", "tokens"),
    params=(
        Param("E", unit="nats/token", low=0.0, amplitude=True, prior=Prior(lambda s: np.log(0.7 * s.low), inf)),
        Param("A", unit="nats/token", low=0.0, amplitude=True, prior=Prior(lambda s: np.log(0.3 * s.low), inf)),
        Param("B", unit="nats/token", low=0.0, amplitude=True, prior=Prior(lambda s: np.log(0.3 * s.low), inf)),
        Param("alpha", unit="1", low=0.0, grid=EXPONENTS, prior=Prior(np.log(0.34), inf)),
        Param("beta", unit="1", low=0.0, grid=EXPONENTS, prior=Prior(np.log(0.34), inf)),
    ),
    source="Hoffmann et al. 2022, Training Compute-Optimal Large Language Models, arXiv:2203.15556; the published "
    "objective and its refit: Besiroglu et al. 2024, arXiv:2404.10102",
    departs="fitted with A and B in nats/token at the geometric mean of the sizes and token counts, not at 1, where "
    "they'd be hard to tell from the exponents; the optimum is the same",
)

SCALING_LAWS = {law.name: law for law in (CHINCHILLA,)}
