"""Shadow prices of unique text, of caps and of training length at the best mixture.

At the best mixture the loss moves with a limit as if the mixture stayed where it is (the envelope theorem; Milgrom &
Segal 2002, theorem 5): with a domain's unique text it falls by what repetition costs less, and by what a cap on epochs
lets in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixopt.runs.objective import Target
from mixopt.runs.pools import full_unique
from mixopt.runs.table import RunTable
from mixopt.search.certificate import multipliers
from mixopt.search.local import polish
from mixopt.search.optimize import objective_of
from mixopt.search.simplex import Feasible, Floats
from mixopt.serialization import Record
from mixopt.study.jobs import SHORTER

EXPONENT = (0.2, 0.5)  # of the loss's fall with tokens, B D^-b: published laws lie within
USUAL_EXPONENT = 0.35
MAX_UNIQUE_DIFFERENCE = 0.05  # relative, of a pair of runs' unique text over their tokens: whole documents
MIN_LENGTH_RATIO = 1.2  # of a pair of runs that tell what length gains
DRAWS = 4000  # for intervals; their ends move by a few percent of the width from seed to seed
METHOD = (
    "the law fitted without each fold in turn, its best mixture searched locally from the recommended one, and how far "
    "the prices spread (delete-a-group jackknife): covers the choice of trained mixtures, not errors of the law"
)


@dataclass(frozen=True, eq=False)
class MarginalValues:
    """What the loss falls by, nats/token, as a limit is loosened at the best mixture, (..., n_domains) each.

    unique: for one unit more of unique share (unique tokens over the run's tokens), as it is repeated less and as its
    cap on epochs lets in more. cap: for one unit more of an upper limit on its share.
    """

    unique: Floats
    cap: Floats


@dataclass(frozen=True)
class LengthGain:
    """What longer runs of the same mixture and epochs gained. loss: nats/token a unit of ln tokens, and its standard
    error, None: unknown; low and high: the same at the ends of EXPONENT. runs: how many shorter ones it comes from."""

    loss: float
    standard_error: float | None
    low: float
    high: float
    runs: int


class Price(Record):
    """What one unit more takes off the loss, nats/token, and its interval; None without folds to take it from.

    In JSON a gain or an end that is inf is null.
    """

    gain: float | None
    low: float | None
    high: float | None


class LengthPrice(Price):
    """Of one more training token at the same pools; at_same_epochs: at pools that grow with the run."""

    at_same_epochs: float
    runs: int


class CapPrice(Price):
    """Of a cap one epoch, or one unit of share, higher than `at`. setting: the key that caps."""

    setting: str
    at: float


class DomainPrices(Record):
    """A domain's prices; None for what is unlimited, not known or not met.

    pool: unique tokens, read `epochs` times. unique: of one more unique token, nats/token; worth: the same in training
    tokens, inf where no number of them gains as much.
    """

    domain: str
    pool: float | None
    epochs: float | None
    unique: Price | None
    worth: Price | None
    cap: CapPrice | None


class ShadowPrices(Record):
    """The shadow prices as recommendation.json holds them. why: what they can't be had for, None where they are."""

    level: float
    sees_repetition: bool
    why: str | None = None
    folds: int | None = None
    tokens: LengthPrice | None = None
    domains: tuple[DomainPrices, ...] = ()
    method: str = METHOD


def prices_at(predictor: Any, objective: Target, feasible: Feasible, unique: Floats, weights: Floats) -> MarginalValues:
    """At a mixture (n_domains,) that is the predictor's best one. unique (n_domains,): unique shares, inf where
    unlimited. A predictor without `unique_gradient` sees no repetition, so caps alone have a price."""
    found = multipliers(_mean(objective, predictor.gradient(weights[None])), feasible, weights)
    repeated = np.zeros(len(weights))
    if _sees_repetition(predictor):
        repeated = -_mean(objective, predictor.unique_gradient(weights[None]))
    repeated = np.where(np.isfinite(unique), repeated, 0.0)
    capped = np.array([why == "max_epochs" for why in feasible.why_high])
    with np.errstate(invalid="ignore"):
        epochs = np.where(capped & np.isfinite(unique), feasible.high / unique, 0.0)
    return MarginalValues(unique=repeated + found.cap * epochs, cap=found.cap)


def _sees_repetition(predictor: Any) -> bool:
    return getattr(predictor, "unique_gradient", None) is not None


def _mean(objective: Target, slopes: Any) -> Floats:
    """The objective's slopes (n_domains,) of those of every validation set, (1, n_targets, n_domains)."""
    return np.einsum("t,ntd->nd", objective.by_target, np.asarray(slopes, dtype=float))[0]


def length_gain(runs: RunTable, objective: Target, noise_sd: float | None = None) -> LengthGain | None:
    """From runs of role "shorter" and their partners, of the same mixture and epochs; None: there are none.

    Where loss falls as B D^-b, two lengths a factor r apart give d loss / d ln D = -difference * b / (r^b - 1), which
    hardly depends on b. noise_sd: of the objective between runs that differ by their seed alone, nats/token.
    """
    if "role" not in runs.kept:
        return None
    losses, tokens, params = objective.of(runs.losses), runs.numbers("tokens"), runs.numbers("params")
    roles, seeds = runs.kept["role"].to_numpy(), runs.numbers("seed")
    unique = np.stack([runs.numbers(f"pool/{name}") for name in runs.domains], axis=1) / tokens[:, None]
    rises, factors = [], []
    for i in np.flatnonzero((roles == SHORTER) & np.isfinite(losses)):
        there = (runs.groups == runs.groups[i]) & (tokens > MIN_LENGTH_RATIO * tokens[i])
        there &= np.isfinite(losses) & (roles != SHORTER)
        there &= np.isnan(params) & np.isnan(params[i]) | (params == params[i])
        alike = np.isclose(unique, unique[i], rtol=MAX_UNIQUE_DIFFERENCE, equal_nan=True) | (runs.weights[i] == 0)
        there &= alike.all(axis=1)
        same_seed = there & (seeds == seeds[i])  # shares initialisation and order, so its noise cancels
        partners = np.flatnonzero(same_seed if same_seed.any() else there)
        if len(partners):
            rises.append(float(losses[i] - losses[partners].mean()))
            factors.append(float(tokens[partners].mean() / tokens[i]))
    if not rises:
        return None
    by_exponent = {b: np.array(rises) * b / (np.array(factors) ** b - 1) for b in (USUAL_EXPONENT, *EXPONENT)}
    usual, ends = by_exponent[USUAL_EXPONENT], [float(by_exponent[b].mean()) for b in EXPONENT]
    n, error = len(rises), None
    if noise_sd is not None:
        error = float(noise_sd * np.sqrt(2 / n) * abs(usual.sum() / (np.sum(rises) or 1.0)))
    elif n >= 3:  # their own scatter
        error = float(usual.std(ddof=1) / np.sqrt(n))
    return LengthGain(float(usual.mean()), error, min(ends), max(ends), runs=n)


def shadow_prices(
    predictor: Any,
    fold_predictors: Sequence[Any],
    objective: Target,
    feasible: Feasible,
    weights: Floats,
    *,
    pools: Mapping[str, float | None] | None,
    tokens: float | None,
    longer: LengthGain | None = None,
    level: float,
    seed: int = 0,
) -> ShadowPrices:
    """The shadow prices at the recommended mixture, weights (n_domains,), at the proxies' scale.

    predictor: of all validation sets, with `gradient`, at the full run's unique shares; fold_predictors: alike, fitted
    without one fold each. pools, tokens: of the full run. longer: what longer runs gained. level: of the intervals.
    """
    known = ShadowPrices(level, _sees_repetition(predictor))
    if objective_of(predictor, objective)[1] is None:
        return replace(known, why="the predictor has no gradient, so prices can't be read from it")
    unique = None if tokens is None else full_unique(feasible.domains, pools or {}, tokens)
    if tokens is None or unique is None:
        return replace(known, why="the full run's tokens or its pools of unique text are not known")
    here = prices_at(predictor, objective, feasible, unique, weights)
    others = []
    for one in fold_predictors:
        losses, gradient = objective_of(one, objective)
        if gradient is not None:
            best = polish(losses, gradient, feasible, start=weights).weights
            others.append(prices_at(one, objective, feasible, unique, best))
    values = _with_draws(here, others, np.random.default_rng([seed, 7]))
    gains = None if longer is None else _longer_run(longer, values, unique, np.random.default_rng([seed, 8]))

    def domain(j: int) -> DomainPrices:
        name, cap = feasible.domains[j], _cap(values.cap[:, j], level, j, feasible, unique, weights)
        if not np.isfinite(unique[j]):
            return DomainPrices(name, pool=None, epochs=None, unique=None, worth=None, cap=cap)
        return DomainPrices(
            name,
            pool=(pools or {}).get(name),
            epochs=float(weights[j] / unique[j]),
            unique=Price(*_interval(values.unique[:, j] / tokens, level)),
            worth=None if gains is None else _in_training_tokens(values.unique[:, j], gains, level),
            cap=cap,
        )

    length = None
    if longer is not None and gains is not None:
        same_epochs = longer.loss / tokens
        length = LengthPrice(*_interval(gains / tokens, level), at_same_epochs=same_epochs, runs=longer.runs)
    return replace(known, folds=len(others), tokens=length, domains=tuple(map(domain, range(len(weights)))))


def _with_draws(here: MarginalValues, others: Sequence[MarginalValues], rng: np.random.Generator) -> MarginalValues:
    """The marginal values, then draws of them, (1 + n_draws, n_domains): no draws with fewer than two folds.

    Student's t with the delete-a-group jackknife's covariance, as a spread over few folds is known roughly. What no
    fold has below 0 isn't drawn below 0.
    """
    if len(others) < 2:
        return MarginalValues(here.unique[None], here.cap[None])
    freedom = len(others) - 1
    noise = rng.standard_normal((DRAWS, len(others))) * np.sqrt(freedom / len(others))
    noise *= np.sqrt(freedom / rng.chisquare(freedom, (DRAWS, 1)))

    def with_draws(centre: Floats, folds: Floats) -> Floats:
        draws = centre + noise @ (folds - folds.mean(axis=0))
        return np.vstack([centre, np.where(((folds >= 0).all(axis=0) & (centre >= 0)), np.maximum(draws, 0.0), draws)])

    return MarginalValues(
        with_draws(here.unique, np.array([one.unique for one in others])),
        with_draws(here.cap, np.array([one.cap for one in others])),
    )


def _longer_run(longer: LengthGain, values: MarginalValues, unique: Floats, rng: np.random.Generator) -> Floats:
    """What a longer run on the same pools gains, nats/token a unit of ln tokens, then draws of it, (1 + n_draws,).

    It is longer at the same epochs, less what smaller unique shares and tighter caps cost.
    """
    n_draws = len(values.unique) - 1
    same_epochs = rng.uniform(longer.low, longer.high, n_draws)
    same_epochs = same_epochs + (longer.standard_error or 0.0) * rng.standard_normal(n_draws)
    return np.append(longer.loss, same_epochs) - values.unique @ np.where(np.isfinite(unique), unique, 0.0)


def _in_training_tokens(unique: Floats, gains: Floats, level: float) -> Price:
    """How many more training tokens take as much off the loss as one more unique token; inf: no number of them."""
    if not unique.any():
        return Price(*_interval(unique, level))
    with np.errstate(divide="ignore", invalid="ignore"):
        return Price(*_interval(np.where(gains > 0, unique / gains, np.inf), level))


def _cap(values: Floats, level: float, j: int, feasible: Feasible, unique: Floats, weights: Floats) -> CapPrice | None:
    """What a higher cap takes off the loss: per epoch more, or per unit of share; None where none is met."""
    setting, high, low = feasible.why_high[j], feasible.high[j], feasible.low[j]
    if setting == "fixed" or high >= 1 or high <= low or weights[j] < high - 1e-4:
        return None
    unit = unique[j] if setting == "max_epochs" else 1.0
    return CapPrice(*_interval(values * unit, level), setting=setting, at=float(high / unit))


def _interval(values: Floats, level: float) -> tuple[float, float | None, float | None]:
    """An estimate and its interval, from the estimate and draws of it; without draws there is no interval."""
    if len(values) == 1:
        return float(values[0]), None, None
    ends = (1 - level) / 2, (1 + level) / 2
    low, high = (float(np.quantile(values[1:], end, method="inverted_cdf")) for end in ends)
    return float(values[0]), low, high
