"""Shadow prices against what a looser limit changes once the mixture is searched again."""

from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import pytest

from mixopt.mixture.marginal_value import main_price_sentences, price_sentences
from mixopt.mixture.results import Recommendation
from mixopt.runs.objective import Target
from mixopt.runs.table import RunTable
from mixopt.search.local import polish
from mixopt.search.shadow_prices import LengthGain, length_gain, prices_at, shadow_prices
from mixopt.search.simplex import feasible
from mixopt.serialization import nan_to_null
from regressors.laws.effective_tokens import effective_shares

DOMAINS = ("math", "code", "web", "junk")
TOKENS = 20e9
POOLS = {"math": 1e9, "code": 3e9, "web": 40e9, "junk": 2e9}
OBJECTIVE = Target({"quotes": 1.0}, np.array([1.0]))


@dataclass(frozen=True)
class Repeating:
    """Loss that falls with each domain's effective tokens; junk's are worth nothing."""

    unique: np.ndarray
    worth: tuple[float, ...] = (1.0, 0.6, 0.4, 0.0)
    r_star: float = 4.0

    def _loss(self, w, unique):
        return 2.0 + 1 / (0.2 + np.sqrt(effective_shares(w, unique, self.r_star) + 0.01) @ np.array(self.worth))

    def predict(self, W):
        return self._loss(np.asarray(W), self.unique)[:, None]

    def gradient(self, W):
        return self._slopes(np.asarray(W), in_weights=True)

    def unique_gradient(self, W):
        return self._slopes(np.asarray(W), in_weights=False)

    def _slopes(self, W, *, in_weights):
        out = np.empty((len(W), 1, W.shape[1]))
        for j in range(W.shape[1]):
            step = np.zeros(W.shape[1], dtype=complex)
            step[j] = 1e-30j
            moved = (W + step, self.unique + 0 * step) if in_weights else (W + 0 * step, self.unique + step)
            out[:, 0, j] = np.imag(self._loss(*moved)) / 1e-30
        return out


def shares_of(pools, tokens=TOKENS):
    return np.array([pools[name] / tokens for name in DOMAINS])


def solved(pools, tokens=TOKENS, **limits):
    """The best mixture and its loss, and all that they were found with."""
    law = Repeating(shares_of(pools, tokens))
    space = feasible(DOMAINS, pools=pools, tokens=tokens, **limits)
    best = polish(
        lambda w: law.predict(w)[:, 0], lambda w: law.gradient(w)[:, 0], space, start=space.project(np.full(4, 0.25))
    )
    return law, space, best


LIMITS = {
    "no cap": {},
    "caps on epochs": {"max_epochs": {"math": 3.0, "code": 1.5}},
    "a cap on a share": {"max_weight": {"web": 0.25}},
    "one pass": {"max_epochs": 1.0},
    "a fixed share": {"fixed": {"code": 0.5}},
}
# A polish ends within 1e-7 of the lowest loss; over a step of 2e-3 in a unique share of .05 that is 1e-3.
TOLERANCE = 1e-3


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("name", DOMAINS)
def test_more_unique_text_changes_the_best_loss_by_what_its_price_says(name, limits):
    law, space, best = solved(POOLS, **limits)
    found = prices_at(law, OBJECTIVE, space, law.unique, best.weights)
    j, step = DOMAINS.index(name), 1e-3
    more = solved(POOLS | {name: POOLS[name] * (1 + step)}, **limits)[2]
    fewer = solved(POOLS | {name: POOLS[name] * (1 - step)}, **limits)[2]
    assert found.unique[j] == pytest.approx(
        (fewer.loss - more.loss) / (2 * step * law.unique[j]), rel=TOLERANCE, abs=TOLERANCE
    )


@pytest.mark.parametrize("name", ["math", "code"])
def test_a_higher_cap_changes_the_best_loss_by_what_its_price_says(name):
    caps = {"math": 3.0, "code": 1.5}
    law, space, best = solved(POOLS, max_epochs=caps)
    rows = priced(law, space, best)["domains"]
    cap = rows[DOMAINS.index(name)]["cap"]
    ends = [solved(POOLS, max_epochs=caps | {name: caps[name] + d})[2].loss for d in (-1e-3, 1e-3)]
    assert (cap["setting"], cap["at"]) == ("max_epochs", pytest.approx(caps[name]))
    assert cap["gain"] == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=1e-3)


@pytest.mark.parametrize("limits", LIMITS.values(), ids=LIMITS)
def test_a_longer_run_on_the_same_text_gains_what_its_price_says(limits):
    """A run 1% longer falls by what length brings at the same epochs, and pays for more epochs."""
    law, space, best = solved(POOLS, **limits)
    found = priced(law, space, best, longer=LengthGain(0.5, 0.0, 0.5, 0.5, 1))
    step = 1e-3
    longer, shorter = (solved(POOLS, TOKENS * (1 + d), **limits)[2].loss for d in (step, -step))
    measured = 0.5 - (longer - shorter) / np.log((1 + step) / (1 - step))
    assert found["tokens"]["gain"] * TOKENS == pytest.approx(measured, rel=1e-3)
    assert found["tokens"]["at_same_epochs"] * TOKENS == pytest.approx(0.5)


def priced(law, space, best, *, folds=(), longer=None, **given):
    given = {"pools": POOLS, "tokens": TOKENS, "level": 0.8} | given
    return asdict(shadow_prices(law, folds, OBJECTIVE, space, best.weights, longer=longer, **given))


def folds_of(law, n=10, spread=0.05):
    rng = np.random.default_rng(1)
    return [replace(law, worth=tuple(np.array(law.worth) * rng.uniform(1 - spread, 1 + spread, 4))) for _ in range(n)]


def test_a_unique_token_is_worth_so_many_training_tokens():
    law, space, best = solved(POOLS)
    found = priced(law, space, best, folds=folds_of(law), longer=LengthGain(0.5, 0.01, 0.49, 0.51, 2))
    row = found["domains"][0]
    assert row["worth"]["gain"] == pytest.approx(row["unique"]["gain"] / found["tokens"]["gain"])
    for price in (row["unique"], row["worth"], found["tokens"]):
        assert price["low"] < price["gain"] < price["high"]


def test_text_that_is_not_repeated_has_a_price_of_0_and_unlimited_text_none():
    law, space, best = solved(POOLS)
    rows = {row["domain"]: row for row in priced(law, space, best, folds=folds_of(law))["domains"]}
    assert rows["math"]["epochs"] > 1 and rows["math"]["unique"]["gain"] > 0
    for name in ("web", "junk"):
        assert rows[name]["epochs"] < 1
        assert rows[name]["unique"] == {"gain": 0.0, "low": 0.0, "high": 0.0}
    unlimited = priced(law, space, best, pools=POOLS | {"web": None})["domains"][2]
    assert (unlimited["unique"], unlimited["epochs"], unlimited["pool"]) == (None, None, None)


def test_intervals_widen_with_the_folds_and_are_absent_without():
    law, space, best = solved(POOLS)
    narrow, wide = (
        priced(law, space, best, folds=folds_of(law, spread=s))["domains"][0]["unique"] for s in (0.01, 0.1)
    )
    assert wide["high"] - wide["low"] > 3 * (narrow["high"] - narrow["low"])
    assert priced(law, space, best)["domains"][0]["unique"]["low"] is None


def test_prices_are_equal_for_equal_seeds():
    law, space, best = solved(POOLS)
    longer = LengthGain(0.5, 0.01, 0.49, 0.51, 2)
    one, again = (priced(law, space, best, folds=folds_of(law), longer=longer) for _ in range(2))
    assert one == again


class Blind:
    """Sees shares alone."""

    def __init__(self, law):
        self.predict, self.gradient = law.predict, law.gradient


def test_a_predictor_that_sees_shares_alone_prices_caps_alone():
    law, space, best = solved(POOLS, max_epochs={"math": 3.0})
    found = priced(Blind(law), space, best)
    assert not found["sees_repetition"]
    assert found["domains"][0]["unique"]["gain"] > 0
    assert found["domains"][1]["unique"]["gain"] == 0.0
    assert price_sentences(recorded(found))[0].startswith("The predictor sees shares alone")


@pytest.mark.parametrize(
    ("given", "why"),
    [({"tokens": None}, "full run's tokens"), ({"pools": None}, "pools"), ({"pools": {"math": None}}, "pools")],
)
def test_without_pools_or_tokens_it_says_why_there_are_no_prices(given, why):
    law, space, best = solved(POOLS)
    found = priced(law, space, best, **given)
    assert found["domains"] == ()
    assert why in found["why"]
    assert why in price_sentences(recorded(found))[0]


def test_prices_of_a_fitted_law_are_what_searching_again_with_more_text_gains():
    from regressors.estimators.pool_aware import PoolRegressor

    rng = np.random.default_rng(0)
    W, made_by = rng.dirichlet(np.ones(4), 40), Repeating(shares_of(POOLS))
    unique = made_by.unique * np.where(np.arange(40)[:, None] % 3, 1.0, 3.0)
    Y = np.vstack([replace(made_by, unique=u).predict(w[None]) for w, u in zip(W, unique, strict=True)])
    law = PoolRegressor(random_state=0).fit(np.hstack([W, unique]), Y + rng.normal(0, 1e-3, Y.shape))
    space = feasible(DOMAINS, pools=POOLS, tokens=TOKENS, max_epochs={"code": 1.0})

    def best_at(u):
        one = law.at(u)
        return polish(
            lambda w: one.predict(w)[:, 0],
            lambda w: one.gradient(w)[:, 0],
            space,
            start=space.project(np.full(4, 0.25)),
        )

    here = made_by.unique
    found = prices_at(law.at(here), OBJECTIVE, space, here, best_at(here).weights)
    step = 1e-3 * here * np.array([1.0, 0.0, 0.0, 0.0])  # math's: code's would move its cap too
    fall = best_at(here - step).loss - best_at(here + step).loss
    assert found.unique[0] == pytest.approx(fall / (2 * step[0]), rel=0.01)
    assert found.unique[0] > 0.1


# What longer runs gained


def runs_with_shorter(*, rise=0.07, pool=1e6, shorter_pool=5e5):
    """Three mixtures, one of them trained for half the tokens too, and another seed of that."""
    rows = [
        {"run_id": "a", "role": "uniform", "tokens": 2e6, "seed": 0, "loss/quotes": 3.0, "w/x": 0.5, "w/y": 0.5},
        {"run_id": "b", "role": "repeat", "tokens": 2e6, "seed": 1, "loss/quotes": 3.4, "w/x": 0.5, "w/y": 0.5},
        {"run_id": "c", "role": "natural", "tokens": 2e6, "seed": 0, "loss/quotes": 2.5, "w/x": 0.9, "w/y": 0.1},
        {"run_id": "d", "role": "shorter", "tokens": 1e6, "seed": 0, "loss/quotes": 3.0 + rise, "w/x": 0.5, "w/y": 0.5},
    ]
    frame = pd.DataFrame(rows).assign(params=1e6, diverged=False)
    frame["pool/x"] = np.where(frame["role"] == "shorter", shorter_pool, pool)
    frame["pool/y"] = np.nan
    return RunTable(frame=frame, domains=("x", "y"), targets=("quotes",))


def test_runs_of_half_the_tokens_tell_what_length_gains():
    found = length_gain(runs_with_shorter(), OBJECTIVE, 0.01)
    assert found is not None
    # 0.07 between 1e6 and 2e6 tokens is B 1e6^-b (1 - 2^-b) of a loss B D^-b, whose slope in ln D at 2e6 is this.
    assert found.loss == pytest.approx(0.07 * 0.35 / (2**0.35 - 1))
    assert found.low < found.loss < found.high < 1.06 * found.loss
    assert found.standard_error == pytest.approx(0.01 * 2**0.5 * 0.35 / (2**0.35 - 1))
    assert found.runs == 1


def test_a_power_law_of_tokens_is_recovered_from_two_lengths():
    b, amplitude = 0.35, 40.0
    rise = amplitude * (1e6**-b - 2e6**-b)
    found = length_gain(runs_with_shorter(rise=rise), OBJECTIVE)
    assert found is not None
    assert found.loss == pytest.approx(b * amplitude * 2e6**-b)


def test_a_shorter_run_at_other_epochs_tells_nothing():
    assert length_gain(runs_with_shorter(shorter_pool=1e6), OBJECTIVE) is None
    frame = runs_with_shorter().frame.query("role != 'shorter'")
    assert length_gain(RunTable(frame, ("x", "y"), ("quotes",)), OBJECTIVE) is None


# In words


def sentences(limits=(), **given):
    law, space, best = solved(POOLS, **dict(limits))
    found = priced(law, space, best, folds=folds_of(law), **given)
    return price_sentences(recorded(found))


def recorded(found):
    """The prices as recommendation.json gives them back."""
    return Recommendation.from_json({"shadow_prices": nan_to_null(found)}).shadow_prices


def test_a_unique_token_is_compared_with_training_tokens_where_longer_runs_tell():
    said = sentences(longer=LengthGain(0.5, 0.01, 0.49, 0.51, 2))
    assert said[0].startswith("One million more unique tokens of math are worth ")
    assert " million more training tokens (80% interval " in said[0]
    assert said[1].startswith("The same for one million more unique tokens of another domain: ") and said[1].endswith(
        " for code."
    )


def test_without_longer_runs_the_loss_alone_is_told():
    said = sentences()
    assert said[0].startswith("10% more unique text of math (100 million tokens) would lower the loss by about 0.00")
    assert said[1].startswith("The same number of unique tokens of another domain would lower it by 0.000")


def test_where_longer_runs_gain_nothing_on_the_same_text_that_is_said():
    assert sentences(longer=LengthGain(0.01, 0.0, 0.01, 0.01, 2))[0].startswith(
        "On these runs, a longer run on the same text would not lower the loss. 10% more"
    )


def test_a_cap_that_costs_is_named_with_what_a_higher_one_brings():
    assert sentences({"max_epochs": {"math": 3.0, "code": 1.5}})[-1].startswith(
        "Raising the cap on math from 3 to 3.3 epochs would lower the loss by about 0.00"
    )
    assert sentences({"max_weight": {"web": 0.25}})[-1].startswith(
        "Raising the cap on web from 25.0% to 26.0% of the tokens would lower the loss by about 0.00"
    )


def test_without_repetition_more_text_is_said_to_change_nothing():
    plenty = {name: 100e9 for name in DOMAINS}
    law, space, best = solved(plenty)
    found = recorded(priced(law, space, best, folds=folds_of(law), pools=plenty))
    expected = ["No domain is repeated: more unique text would change nothing at this budget."]
    assert price_sentences(found) == main_price_sentences(found) == expected


def test_older_recommendations_say_nothing():
    assert price_sentences(None) == main_price_sentences(None) == []
