"""Laws of overfitting to repeated data, mixopt's own: it teaches less each epoch, and from some epoch on it harms.

On published runs the harm sets in between the twentieth and the thirtieth epoch; from there on the loss rises with the
log of epochs, steeply for models that are large for their data and hardly for small ones. A power of epochs, as the
published penalties have, fits that less well and explodes where it is extrapolated.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from regressors.law import Array, Param, Prior, Values
from regressors.laws.repetition import (
    BOUNDED_PENALTY,
    DATA_DECAY,
    RepetitionLaw,
    data_decay_jacobian,
    smaller,
    with_penalty_published,
)


def delayed_slopes(
    params, tokens, unique, *, P, Q, kappa, eta, onset, sharpness, rho=None
) -> tuple[Array, dict[str, Array]]:
    """What overfitting adds to the loss, (..., n_runs), and its derivatives by the values, (..., n_runs) each.

    p / (1 + p/Q), p = P N^kappa / U^eta ln(1 + (R N^rho / onset)^sharpness) / sharpness, 0 where nothing is repeated.
    """
    unique = smaller(tokens, unique)
    repeated = np.real(tokens) > np.real(unique)
    log_n, log_u = np.log(params), np.log(unique)
    late = np.log(np.where(repeated, tokens / unique - 1, 1.0)) - np.log(onset[..., None])
    if rho is not None:
        late = late + rho[..., None] * log_n
    sharp = sharpness[..., None]
    rise, slope = softplus(sharp * late)
    rise, slope = np.where(repeated, rise / sharp, 0.0), np.where(repeated, slope, 0.0)
    scale = P[..., None] * np.exp(kappa[..., None] * log_n - eta[..., None] * log_u)
    grown = scale * rise
    share = 1 / (1 + grown / Q[..., None])
    by_p = share**2
    slopes = {
        "P": by_p * grown / P[..., None],
        "Q": (1 - share) ** 2,
        "kappa": by_p * grown * log_n,
        "eta": -by_p * grown * log_u,
        "onset": -by_p * scale * slope / onset[..., None],
        "sharpness": by_p * scale * (slope * late - rise) / sharp,
    }
    if rho is not None:
        slopes["rho"] = by_p * scale * slope * log_n
    return grown * share, slopes


def softplus(x: Array) -> tuple[Array, Array]:
    """ln(1 + e^x) and its derivative."""
    down = np.exp(np.where(np.real(x) > 0, -x, x))  # never overflows
    return np.where(np.real(x) > 0, x, 0.0) + np.log1p(down), np.where(np.real(x) > 0, 1.0, down) / (1 + down)


DECAY = ("E", "A", "B", "alpha", "beta", "r_star_d")


def delayed_penalty_jacobian(params, tokens, unique, **values) -> tuple[Array, dict[str, Array]]:
    """`delayed_penalty` with its derivatives, (..., n_runs) each."""
    loss, slopes = data_decay_jacobian(params, tokens, unique, **{name: values[name] for name in DECAY})
    rest = {name: value for name, value in values.items() if name not in DECAY}
    added, more = delayed_slopes(params, tokens, unique, **rest)
    return loss + added, slopes | more


def delayed_penalty(params: Array, tokens: Array, unique: Array, **values: Array) -> Array:
    """Loss (..., n_runs) where repeated tokens count less, and from some epoch on add to the loss.

    params, tokens, unique: (n_runs,); all values (...).
    """
    return delayed_penalty_jacobian(params, tokens, unique, **values)[0]


def delayed_ratio_jacobian(params, tokens, unique, *, kappa, **values) -> tuple[Array, dict[str, Array]]:
    """`delayed_ratio` with its derivatives, (..., n_runs) each."""
    loss, slopes = delayed_penalty_jacobian(params, tokens, unique, kappa=kappa, eta=kappa, **values)
    return loss, slopes | {"kappa": slopes["kappa"] + slopes.pop("eta")}


def delayed_ratio(params: Array, tokens: Array, unique: Array, **values: Array) -> Array:
    """Loss (..., n_runs) as above, where harm goes by parameters per unique token, and sets in earlier for larger
    models."""
    return delayed_ratio_jacobian(params, tokens, unique, **values)[0]


def delayed_published(values: Values, units: Mapping[str, float]) -> dict[str, Array]:
    """A, B, P and onset at one parameter and one token, where the fit has them at the units."""
    n, d = units["params"], units["tokens"]
    eta = values.get("eta", values["kappa"])
    out = with_penalty_published(values, units) | {"P": values["P"] * d**eta / n ** values["kappa"]}
    return out | ({"onset": values["onset"] * n ** values["rho"]} if "rho" in values else {})


def share(name: str, centre: float, sd: float) -> Param:
    """Nats/token, around a share of the lowest loss."""
    return Param(name, unit="nats/token", low=0.0, prior=Prior(lambda s: np.log(centre * s.low), sd))


def near(name: str, centre: float, sd: float, unit: str = "1") -> Param:
    """A positive number around its centre, give or take a factor e^sd."""
    return Param(name, unit=unit, low=0.0, prior=Prior(np.log(centre), sd))


DECAY_PRIORS = (
    share("E", 0.7, 0.3),
    share("A", 0.2, 1.5),
    share("B", 0.2, 1.5),
    near("alpha", 0.35, 0.4),
    near("beta", 0.4, 0.4),
    near("r_star_d", 15.4, 1.5, unit="epochs"),  # published; see `presets`
)
PENALTY_PRIORS = (
    share("P", 0.005, 2.0),
    share("Q", 2.0, 0.3),  # overfitted models are about as wrong as untrained ones, not worse
    near("kappa", 1.2, 0.5),
    near("onset", 20.0, 1.0, unit="epochs"),
    near("sharpness", 2.0, 0.5),
)
WEAKLY = "weak priors on everything: a dozen runs must do"
DELAYED_PENALTY = RepetitionLaw(
    name="delayed-penalty",
    formula=delayed_penalty,
    jacobian=delayed_penalty_jacobian,
    published=delayed_published,
    params=(*DECAY_PRIORS, *PENALTY_PRIORS, near("eta", 1.0, 0.5)),
    source="mixopt; the decay is that of Muennighoff et al. 2023, arXiv:2305.16264",
    departs=WEAKLY,
)
DELAYED_RATIO = RepetitionLaw(
    name="delayed-ratio",
    formula=delayed_ratio,
    jacobian=delayed_ratio_jacobian,
    published=delayed_published,
    params=(*DECAY_PRIORS, *PENALTY_PRIORS, Param("rho", unit="1", prior=Prior(0.2, 0.3))),
    source="mixopt; that harm goes by parameters per unique token is from Lovelace et al. 2026, arXiv:2605.01640",
    departs=WEAKLY,
)
WEAK_DECAY = replace(DATA_DECAY, params=DECAY_PRIORS, departs=WEAKLY)
WEAK_BOUNDED = replace(
    BOUNDED_PENALTY,
    params=(
        share("E", 0.7, 0.3),
        share("G", 8.0, 1.0),
        near("A", 0.03, 1.5),
        near("B", 0.03, 1.5),
        near("alpha", 0.35, 0.4),
        near("beta", 0.4, 0.4),
        near("P", 0.001, 1.5),
        near("delta", 0.5, 0.5),
        near("kappa", 1.0, 0.5),
    ),
    starts_from=None,
    departs=WEAKLY,
)
# Of one loss, from the safest beyond what was trained to the closest within it; `RepetitionRegressor` weighs them.
FORMS = {law.name: law for law in (WEAK_DECAY, WEAK_BOUNDED, DELAYED_PENALTY, DELAYED_RATIO)}
