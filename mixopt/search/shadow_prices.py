"""Shadow prices: what more unique text of a domain, a higher cap, or a longer run would take off the loss.

At the best mixture the loss moves with a limit as if the mixture stayed where it is (the envelope theorem; Milgrom &
Segal 2002): with a domain's unique text it falls by what repetition costs less, and by what a cap on epochs lets in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.runs.objective import Target
from mixopt.runs.pools import full_unique
from mixopt.runs.table import RunTable
from mixopt.search.certificate import multipliers
from mixopt.search.local import polish
from mixopt.search.simplex import Feasible
from mixopt.study.jobs import SHORTER

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

EXPONENT = (0.2, 0.5)  # of the loss's fall with tokens, B D^-b: published laws lie within
USUAL_EXPONENT = 0.35
SAME_UNIQUE = 0.05  # share by which the unique text of a pair of runs may differ, over their tokens: whole documents
DRAWS = 4000  # for intervals; their ends move by a few percent of the width from seed to seed
METHOD = (
    "the law fitted without each fold in turn, its best mixture polished again from the recommended one, and how far "
    "the prices spread (delete-a-group jackknife): covers which mixtures were trained, not whether the law is right"
)


@dataclass(frozen=True, eq=False)
class Prices:
    """What the loss falls by, nats/token, as a limit is loosened at the best mixture, (n_domains,) each.

    unique: for one unit more of unique share (unique tokens over the run's tokens), as it is repeated less and as its
    cap on epochs lets in more. cap: for one unit more of an upper limit on its share.
    """

    unique: Floats
    cap: Floats


@dataclass(frozen=True)
class LengthGain:
    """What longer runs of the same mixture and epochs gained. loss: nats/token a unit of ln tokens, and its standard
    error, None: unknown; low and high: the same at the ends of EXPONENT. runs: how many shorter ones told it."""

    loss: float
    standard_error: float | None
    low: float
    high: float
    runs: int


def prices(predictor: Any, aim: Target, feasible: Feasible, unique: Floats, weights: Floats) -> Prices:
    """The prices at a mixture (n_domains,) that is the predictor's best one. unique (n_domains,): unique shares, inf
    where unlimited. A predictor without `unique_gradient` sees no repetition, so caps alone have a price."""
    found = multipliers(_mean(aim, predictor.gradient(weights[None])), feasible, weights)
    repeated = np.zeros(len(weights))
    if hasattr(predictor, "unique_gradient"):
        repeated = -_mean(aim, predictor.unique_gradient(weights[None]))
    repeated = np.where(np.isfinite(unique), repeated, 0.0)
    capped = np.array([why == "max_epochs" for why in feasible.why_high])
    with np.errstate(invalid="ignore"):
        epochs = np.where(capped & np.isfinite(unique), feasible.high / unique, 0.0)
    return Prices(unique=repeated + found.cap * epochs, cap=found.cap)


def _mean(aim: Target, slopes: Any) -> Floats:
    """The target's slopes (n_domains,) of those of every text, (1, n_targets, n_domains)."""
    return np.einsum("t,ntd->nd", aim.by_target, np.asarray(slopes, dtype=float))[0]


def length_gain(runs: RunTable, aim: Target, noise: Sequence[Mapping[str, Any]] = ()) -> LengthGain | None:
    """From runs of role "shorter" and their partners, of the same mixture and epochs; None: there are none.

    Where loss falls as B D^-b, two lengths a factor r apart tell d loss / d ln D = -difference * b / (r^b - 1), which
    hardly depends on b. noise: selection.json's rows.
    """
    if "role" not in runs.kept:
        return None
    losses, tokens, params = aim.of(runs.losses), runs.numbers("tokens"), runs.numbers("params")
    roles, seeds = runs.kept["role"].to_numpy(), runs.numbers("seed")
    unique = np.stack([runs.numbers(f"pool/{name}") for name in runs.domains], axis=1) / tokens[:, None]
    rises, factors = [], []
    for i in np.flatnonzero((roles == SHORTER) & np.isfinite(losses)):
        there = (runs.groups == runs.groups[i]) & (tokens > 1.2 * tokens[i]) & np.isfinite(losses) & (roles != SHORTER)
        there &= np.isnan(params) & np.isnan(params[i]) | (params == params[i])
        alike = np.isclose(unique, unique[i], rtol=SAME_UNIQUE, equal_nan=True) | (runs.weights[i] == 0)
        there &= alike.all(axis=1)
        same_seed = there & (seeds == seeds[i])  # shares initialisation and order, so its noise cancels
        partners = np.flatnonzero(same_seed if same_seed.any() else there)
        if len(partners):
            rises.append(float(losses[i] - losses[partners].mean()))
            factors.append(float(tokens[partners].mean() / tokens[i]))
    if not rises:
        return None
    usual, *ends = (_per_ln(rises, factors, b) for b in (USUAL_EXPONENT, *EXPONENT))
    return LengthGain(
        loss=float(np.mean(usual)),
        standard_error=_error(rises, usual, noise),
        low=float(min(map(np.mean, ends))),
        high=float(max(map(np.mean, ends))),
        runs=len(rises),
    )


def _per_ln(rises: Sequence[float], factors: Sequence[float], b: float) -> Floats:
    return np.array(rises) * b / (np.array(factors) ** b - 1)


def _error(rises: Sequence[float], gains: Floats, noise: Sequence[Mapping[str, Any]]) -> float | None:
    """Of the mean of gains: from the noise between repeats if it was measured, else from their own scatter."""
    sd = next((row.get("sd") for row in noise if row.get("target") == "target"), None)
    n = len(rises)
    if sd is not None:
        return float(sd * np.sqrt(2 / n) * abs(gains.sum() / (np.sum(rises) or 1.0)))
    return float(gains.std(ddof=1) / np.sqrt(n)) if n >= 3 else None


def shadow_prices(
    predictor: Any,
    fold_predictors: Sequence[Any],
    aim: Target,
    feasible: Feasible,
    weights: Floats,
    *,
    pools: Mapping[str, float | None] | None,
    tokens: float | None,
    longer: LengthGain | None = None,
    level: float,
    seed: int = 0,
) -> dict[str, Any]:
    """What recommendation.json says of shadow prices, as JSON-able numbers and text.

    predictor: of all texts, with `gradient`, at the full run's unique shares; fold_predictors: alike, fitted without
    one fold each. weights: the recommended mixture. pools, tokens: of the full run. longer: what longer runs gained.
    Every loss is at the proxies' scale.
    """
    told = {"level": level, "method": METHOD, "sees_repetition": hasattr(predictor, "unique_gradient")}
    empty: dict[str, Any] = {"domains": [], "tokens": None}
    if not hasattr(predictor, "gradient"):
        return told | empty | {"why": "the predictor has no slopes, so prices can't be read from it"}
    unique = None if tokens is None else full_unique(feasible.domains, pools or {}, tokens)
    if tokens is None or unique is None:
        return told | empty | {"why": "the full run's tokens or its pools of unique text are not known"}
    here = prices(predictor, aim, feasible, unique, weights)
    others = [
        prices(one, aim, feasible, unique, _best_again(one, aim, feasible, weights))
        for one in fold_predictors
        if hasattr(one, "gradient")
    ]
    drawn = _draws(here, others, np.random.default_rng([seed, 7]))
    spread = Spread(here, drawn, level, unique, longer, np.random.default_rng([seed, 8]))
    rows = [spread.row(j, feasible, weights, tokens, pools or {}) for j in range(len(weights))]
    return told | {"folds": len(others), "tokens": spread.longer_run(tokens), "domains": rows, "why": None}


def _best_again(predictor: Any, aim: Target, feasible: Feasible, weights: Floats) -> Floats:
    """The mixture that another predictor likes best, near the recommended one."""
    return polish(
        lambda w: aim.of(predictor.predict(w)),
        lambda w: np.einsum("t,ntd->nd", aim.by_target, predictor.gradient(w)),
        feasible,
        start=weights,
    ).weights


def _draws(here: Prices, others: Sequence[Prices], rng: np.random.Generator) -> Prices:
    """Prices as they might have come out, (DRAWS, n_domains): Student's t, with the jackknife's covariance.

    What no fold has below 0 isn't drawn below 0.
    """

    def drawn(name: str, noise: Floats) -> Floats:
        centre, folds = getattr(here, name), np.array([getattr(one, name) for one in others])
        values = centre + noise @ (folds - folds.mean(axis=0))
        return np.where((folds >= 0).all(axis=0) & (centre >= 0), np.maximum(values, 0.0), values)

    if len(others) < 2:
        return Prices(here.unique[None], here.cap[None])
    freedom = len(others) - 1
    noise = rng.standard_normal((DRAWS, len(others))) * np.sqrt(freedom / len(others))
    noise *= np.sqrt(
        freedom / rng.chisquare(freedom, (DRAWS, 1))
    )  # a spread over few folds is known roughly: Student's t
    return Prices(drawn("unique", noise), drawn("cap", noise))


class Spread:
    """Prices with their intervals, in the units that recommendation.json has."""

    def __init__(
        self,
        here: Prices,
        drawn: Prices,
        level: float,
        unique: Floats,
        longer: LengthGain | None,
        rng: np.random.Generator,
    ) -> None:
        self._here, self._drawn, self._unique = here, drawn, unique
        self._ends = (1 - level) / 2, (1 + level) / 2
        self._known = len(drawn.unique) > 1
        limited = np.where(np.isfinite(unique), unique, 0.0)
        self._longer = longer
        self._gain, self._gains = np.nan, np.full(len(drawn.unique), np.nan)
        if longer is not None:
            # Longer on the same pools: longer at the same epochs, less what smaller unique shares and tighter caps cost
            error = longer.standard_error or 0.0
            same_epochs = rng.uniform(longer.low, longer.high, len(drawn.unique))
            same_epochs = same_epochs + error * rng.standard_normal(len(drawn.unique))
            self._gain = longer.loss - float(here.unique @ limited)
            self._gains = same_epochs - drawn.unique @ limited

    def longer_run(self, tokens: float) -> dict[str, Any] | None:
        """What one more training token takes off the loss, at the same pools."""
        if self._longer is None:
            return None
        told = self._told(self._gain / tokens, self._gains / tokens)
        return told | {"at_same_epochs": self._longer.loss / tokens, "runs": self._longer.runs}

    def row(
        self, j: int, feasible: Feasible, weights: Floats, tokens: float, pools: Mapping[str, float | None]
    ) -> dict[str, Any]:
        name, limited = feasible.domains[j], bool(np.isfinite(self._unique[j]))
        unique = self._told(self._here.unique[j] / tokens, self._drawn.unique[:, j] / tokens) if limited else None
        return {
            "domain": name,
            "pool": pools.get(name) if limited else None,
            "epochs": float(weights[j] / self._unique[j]) if limited else None,
            "unique": unique,
            "worth": self._worth(j) if limited else None,
            "cap": self._cap(j, feasible, weights),
        }

    def _worth(self, j: int) -> dict[str, Any] | None:
        """How many more training tokens one more unique token is worth; inf: no number of them."""
        if self._longer is None:
            return None
        if self._here.unique[j] == 0 and not self._drawn.unique[:, j].any():
            return self._told(0.0, self._drawn.unique[:, j])
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = np.where(self._gains > 0, self._drawn.unique[:, j] / self._gains, np.inf)
            ratio = self._here.unique[j] / self._gain if self._gain > 0 else np.inf
        return self._told(ratio, ratios)

    def _cap(self, j: int, feasible: Feasible, weights: Floats) -> dict[str, Any] | None:
        """What a higher cap takes off the loss: per epoch more, or per unit of share; None where none is met."""
        setting, high, low = feasible.why_high[j], feasible.high[j], feasible.low[j]
        if setting == "fixed" or high >= 1 or high <= low or weights[j] < high - 1e-4:
            return None
        unit = self._unique[j] if setting == "max_epochs" else 1.0
        told = self._told(self._here.cap[j] * unit, self._drawn.cap[:, j] * unit)
        return {"setting": setting, "at": float(high / unit)} | told

    def _told(self, value: float, drawn: Floats) -> dict[str, Any]:
        """{"gain", "low", "high"}, with an interval only where folds tell one."""
        low, high = self._quantiles(drawn) if self._known else (None, None)
        return {"gain": float(value), "low": low, "high": high}

    def _quantiles(self, drawn: Floats) -> tuple[float, float]:
        low, high = (float(np.quantile(drawn, end, method="inverted_cdf")) for end in self._ends)
        return low, high
