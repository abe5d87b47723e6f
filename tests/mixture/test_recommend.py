"""Facts about the recommendation, on a made-up law whose best mixture is known."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixopt
from mixopt.errors import MixoptError
from mixopt.mixture.recommend import domain_rows
from mixopt.mixture.results import Recommendation
from mixopt.mixture.summary import optimism_text, shares_table
from mixopt.runs.table import RunTable
from mixopt.search.simplex import feasible
from regressors.evaluation.cross_validation import RepeatedHoldout
from tests.factories.recommendation import (
    BEST,
    DOMAINS,
    POOLS,
    TEXTS,
    Bowl,
    Held,
    SmoothBowl,
    made,
    made_runs,
    shares,
    warned,
)


def test_the_recommendation_is_the_best_mixture_of_the_target():
    np.testing.assert_allclose(shares(made()), BEST["quotes"], atol=1e-4)


@pytest.mark.parametrize("estimator", [Bowl(), SmoothBowl()], ids=["no gradient", "gradient"])
def test_a_target_of_two_texts_is_their_weighted_mean(estimator):
    found = made(target={"quotes": 3.0, "spanish": 1.0}, estimator=estimator)
    assert found["target"]["weights"] == {"quotes": 0.75, "spanish": 0.25}
    np.testing.assert_allclose(shares(found), 0.75 * BEST["quotes"] + 0.25 * BEST["spanish"], atol=2e-4)
    text = found["by_text"]
    for name in ("recommended", "natural", "uniform"):
        mean = 0.75 * text["quotes"][name] + 0.25 * text["spanish"][name]
        assert found["predicted"][name]["loss"] == pytest.approx(mean)


def test_it_says_all_that_other_stages_read_and_survives_json(tmp_path):
    found = made(full_params=1e9, storage=tmp_path / "search.journal", seed=4)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {
        "mixopt", "study", "seed", "target", "full", "proxy", "predictor", "domains", "predicted", "gain",
        "by_text", "interval", "optimism", "search", "shadow_prices",
        "effects", "warnings", "warning_codes", "stamp",
    }  # fmt: skip
    assert (found["mixopt"], found["study"], found["seed"]) == (mixopt.__version__, "made", 4)
    assert (found["full"]["params"], found["full"]["tokens"], found["full"]["predicted"]) == (1e9, 10e9, None)
    assert found["proxy"] == {"params": 30_000_000, "tokens": 1_000_000}
    assert [row["domain"] for row in found["domains"]] == list(DOMAINS)
    for row in found["domains"]:
        assert set(row) == {
            "domain", "natural", "uniform", "smallest_rung", "recommended", "best_measured", "tokens", "epochs", "pool",
            "min", "max",
        }  # fmt: skip
    assert set(found["search"]) == {
        "sampler", "trials", "seeded", "found", "polished", "polish_gain", "agreeing_starts", "starts", "inside_hull",
        "nearest_run", "certificate",
    }  # fmt: skip
    assert (tmp_path / "search.journal").is_file()


def test_equal_inputs_give_equal_recommendations():
    assert made(seed=2) == made(seed=2)


def test_the_best_measured_mixture_is_the_mean_of_its_repeats():
    table, held = made_runs(noise=0.0)
    frame = table.frame.copy()
    lucky = frame["loss/quotes"].idxmin()
    other = int(frame["loss/quotes"].nsmallest(2).index[1])
    # A repeat of the best mixture came out badly: on the mean, the second best is ahead.
    repeat = frame.loc[[lucky]].assign(run_id="again", **{"loss/quotes": 3.0})
    table = RunTable(pd.concat([frame, repeat], ignore_index=True), DOMAINS, TEXTS)
    held = Held(np.vstack([held.predicted, held.predicted[[lucky]]]), np.append(held.fold, held.fold[lucky]))
    found = made(table, held)["predicted"]["best_measured"]
    assert found["run_id"] == frame["run_id"][other]
    assert found["measured"] == pytest.approx(frame["loss/quotes"][other])


def test_a_measured_mixture_that_breaks_the_limits_is_passed_over():
    space = feasible(DOMAINS, max_weight={"books": 0.3})
    found = made(space=space)
    assert shares(found, "best_measured")[0] <= 0.301
    none = made(space=feasible(DOMAINS, fixed={"books": 0.123456}))
    assert warned(none, "no-run-within-limits")


def test_intervals_hold_the_loss_and_widen_with_held_out_error():
    table, held = made_runs()
    rng = np.random.default_rng(0)
    noisy = Held(held.predicted + rng.normal(0, 0.05, held.predicted.shape), held.fold)
    sure, unsure = made(table, held), made(table, noisy)
    for name in ("recommended", "natural", "uniform", "best_measured"):
        narrow, wide = sure["predicted"][name], unsure["predicted"][name]
        assert narrow["low"] == pytest.approx(narrow["loss"], abs=1e-9)  # a predictor that is never wrong
        assert wide["low"] < wide["loss"] - 0.02 < wide["loss"] + 0.02 < wide["high"]
    assert sure["interval"]["level"] == 0.8
    assert "CV+ over 5 folds" in sure["interval"]["method"]


def test_the_gain_over_natural_has_an_interval_of_its_own():
    found = made()
    gain = found["predicted"]["natural"]["loss"] - found["predicted"]["recommended"]["loss"]
    assert found["gain"] == {"over": "natural", "loss": gain, "low": pytest.approx(gain), "high": pytest.approx(gain)}


def test_an_error_that_all_runs_share_leaves_the_gain_certain():
    table, held = made_runs()
    found = made(table, Held(held.predicted + 0.1, held.fold))
    assert found["gain"]["high"] - found["gain"]["low"] == pytest.approx(0.0, abs=1e-9)
    assert found["predicted"]["natural"]["high"] - found["predicted"]["natural"]["low"] > 0.15


def rehearsed(too_low, *, noise=0.01, n=40):
    """A table, and a held-out view whose rehearsed favourites measure `too_low` worse than predicted."""
    table, held = made_runs(n)
    rng = np.random.default_rng(0)
    losses = table.losses
    rows = [np.sort(rng.permutation(n)[: n // 2]) for _ in range(8)]
    predicted = [losses[some] + rng.normal(0, noise, (len(some), 2)) for some in rows]
    for some, guess in zip(rows, predicted, strict=True):
        lowest = losses[some].argmin(axis=0)
        guess[lowest, [0, 1]] = losses[some[lowest], [0, 1]] - too_low
    held = Held(losses + rng.normal(0, noise, losses.shape), held.fold)
    return table, held, replace(held, repeated_holdout=RepeatedHoldout(rows, predicted))


def sentence(found):
    return optimism_text(Recommendation.from_json(found))


def test_optimism_is_unknown_where_nothing_was_rehearsed():
    found = made()
    assert found["optimism"]["loss"] is None and found["optimism"]["standard_error"] is None
    assert sentence(found) == ""


def test_rehearsed_optimism_is_told_and_moves_the_interval_of_the_recommendation_alone():
    table, plain, held = rehearsed(0.05)
    found, without = made(table, held), made(table, plain)
    assert 0.005 < found["optimism"]["loss"] < 0.05
    assert 0 < found["optimism"]["standard_error"] < found["optimism"]["loss"]
    assert sentence(found).startswith(f"Expected optimism {found['optimism']['loss']:.3f} ± ")
    best, before = found["predicted"]["recommended"], without["predicted"]["recommended"]
    assert best["loss"] == before["loss"]
    assert best["high"] > before["high"] + 0.01
    assert found["predicted"]["uniform"] == without["predicted"]["uniform"]
    assert "repeated holdouts" in found["interval"]["method"]


def test_optimism_lessens_the_gain():
    table, plain, held = rehearsed(0.05)
    found, without = made(table, held), made(table, plain)
    for end in ("low", "high"):
        assert found["gain"][end] == pytest.approx(without["gain"][end] - found["optimism"]["loss"])
    assert found["gain"]["loss"] == without["gain"]["loss"]


def test_a_predictor_that_keeps_its_promises_is_said_to():
    table, _ = made_runs(noise=0.01)
    rows = [np.arange(i, 40, 2) for i in (0, 1)]
    losses = table.losses
    held = Held(
        losses + 0.01, np.arange(40) % 5, repeated_holdout=RepeatedHoldout(rows, [losses[some] + 0.01 for some in rows])
    )
    found = made(table, held)
    assert found["optimism"]["loss"] == pytest.approx(-0.01)  # every run was better than predicted
    assert "no optimism is expected" in sentence(found)


def test_few_runs_give_open_intervals_as_null():
    table, held = made_runs(n=5)
    found = made(table, Held(held.predicted, np.arange(5)), level=0.9)
    assert found["predicted"]["recommended"]["low"] is None
    assert found["gain"]["low"] is None
    assert "too few runs for an interval" in warned(found, "no-gain")[0]


def test_unknown_pools_leave_natural_epochs_and_tokens_open():
    found = made(natural=None, pools=dict.fromkeys(DOMAINS), full_tokens=None)
    assert found["predicted"]["natural"] is None
    assert found["gain"]["over"] == "uniform"
    for row in found["domains"]:
        assert (row["natural"], row["tokens"], row["epochs"], row["pool"]) == (None,) * 4
    assert warned(found, "unknown-pools")
    table = shares_table(Recommendation.from_json(found))
    assert [column.name for column in table.columns] == ["Domain", "Recommended", "Best run"]


@given(
    st.lists(st.floats(0.001, 1), min_size=2, max_size=8),
    st.floats(1e6, 1e13),
    st.floats(1e3, 1e12),
)
@settings(deadline=None)
def test_tokens_are_shares_of_the_run_and_epochs_are_tokens_over_the_pool(weights, tokens, pool):
    names = tuple(f"d{i}" for i in range(len(weights)))
    w = np.array(weights) / np.sum(weights)
    mixtures = {"recommended": w, "natural": None, "uniform": w, "best_measured": w}
    rows = domain_rows(names, mixtures, feasible(names), pools={"d0": pool, "d1": None}, tokens=tokens)
    for row, weight in zip(rows, w, strict=True):
        assert row["tokens"] == weight * tokens
    assert rows[0]["epochs"] == rows[0]["tokens"] / pool
    assert rows[1]["epochs"] is None
    assert sum(row["tokens"] for row in rows) == pytest.approx(tokens)


def test_a_cap_on_epochs_is_kept_by_the_recommendation():
    space = feasible(DOMAINS, pools=POOLS, tokens=10e9, max_epochs=1)
    found = made(space=space)
    epochs = {row["domain"]: row["epochs"] for row in found["domains"]}
    assert epochs["books"] == pytest.approx(1.0)
    assert epochs["books"] <= 1.0 + 1e-9
    assert "is at limits of the search: books (max_epochs)" in warned(found, "at-limits")[0]


def test_an_effect_curve_passes_through_the_recommendation_and_the_limits():
    space = feasible(DOMAINS, min_weight={"code": 0.1}, max_weight={"code": 0.6})
    found = made(space=space)
    code = found["effects"]["code"]
    assert code["weight"][0] == 0.1
    assert code["weight"][-1] == 0.6
    here = code["weight"].index(shares(found)[1])
    assert code["loss"][here] == pytest.approx(found["predicted"]["recommended"]["loss"])
    end = np.array([0.4 * 5 / 7, 0.6, 0.4 * 2 / 7])  # the others stay 5 to 2
    assert code["loss"][-1] == pytest.approx(Bowl().predict([end])[0, 0], abs=1e-4)


def test_an_effect_curve_of_the_only_domain_spreads_the_rest_as_the_pools_do():
    class Code(Bowl):
        def predict(self, W):
            return np.repeat(3.0 - np.asarray(W)[:, [1]] ** 2, 2, axis=1) + 0.1 * np.asarray(W)[:, [0]]

    found = made(estimator=Code())
    assert shares(found).tolist() == [0.0, 1.0, 0.0]
    # Without code the natural 1 to 8 of books and news remain.
    assert found["effects"]["code"]["loss"][0] == pytest.approx(3.0 + 0.1 / 9)
    assert made(space=feasible(DOMAINS, fixed={"books": 1.0}))["effects"]["books"]["weight"] == [1.0]


# What speaks for the mixture, and what more text is worth


def test_a_predictor_of_unknown_curvature_has_first_order_conditions_alone_and_one_without_a_gradient_nothing():
    found = made(estimator=Bowl())["search"]["certificate"]
    assert found == {"residual": None, "gap": None, "scope": None, "why": "the predictor has no gradient"}
    found = made()["search"]["certificate"]
    assert found == {"residual": found["residual"], "gap": None, "scope": "local", "why": found["why"]}
    assert 0 <= found["residual"] < 1e-3
    assert found["why"] == "the curvature of SmoothBowl is not known"


def test_no_allowed_mixture_of_a_fitted_convex_law_lies_lower_by_more_than_the_gap():
    from regressors.estimators.law import LawRegressor

    table, held = made_runs()
    law = LawRegressor("exponential-mixing", random_state=0).fit(table.weights, table.losses)
    found = made(table, held, estimator=law)["search"]["certificate"]
    assert found["scope"] is None
    assert 0 <= found["gap"] < 1e-5


def test_caps_are_priced_where_the_predictor_sees_no_repetition():
    space = feasible(DOMAINS, pools=POOLS, tokens=10e9, max_epochs={"books": 1.0})
    priced = made(space=space)["shadow_prices"]
    rows = {row["domain"]: row for row in priced["domains"]}
    assert not priced["sees_repetition"] and priced["folds"] == 5
    # At books .3 the best rest is code .4 and news .3: books slope -.4, the others .2, and its cap falls with its pool.
    assert rows["books"]["unique"]["gain"] * 10e9 == pytest.approx(0.6, rel=1e-3)
    assert rows["code"]["unique"]["gain"] == 0.0
    assert rows["news"]["unique"] is None  # its pool is unlimited
    assert made(full_tokens=None)["shadow_prices"]["why"]


# Refusals


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ({"legal": 1.0}, "'legal', which the runs have no loss on: choose from quotes, spanish"),
        ({"quotes": 0.0}, "one above 0"),
        ({"quotes": -1.0, "spanish": 2.0}, "0 or more"),
        ({}, "one above 0"),
    ],
)
def test_a_target_that_is_none_is_refused(target, said):
    with pytest.raises(MixoptError, match=said):
        made(target=target)


def test_a_target_that_no_run_has_in_full_is_refused():
    halves = np.arange(40) < 20
    table, held = made_runs(
        **{"loss/quotes": np.where(halves, 2.0, np.nan), "loss/spanish": np.where(halves, np.nan, 2.0)}
    )
    with pytest.raises(MixoptError, match="no run has a loss on every validation set of the target"):
        made(table, held, target={"quotes": 0.5, "spanish": 0.5})


# The table of shares


def test_the_table_of_shares_has_the_largest_first():
    table = shares_table(Recommendation.from_json(made()))
    names = [column.name for column in table.columns]
    rows = [dict(zip(names, row, strict=True)) for row in table.rows]
    keys = ("Domain", "Natural", "Recommended", "× natural", "Tokens", "Epochs", "Pool")
    assert [tuple(row[key] for key in keys) for row in rows] == [
        ("books", "10.0%", "50.0%", "5.0", "5B", "1.67", "3B"),
        ("code", "10.0%", "30.0%", "3.0", "3B", "0.50", "6B"),
        ("news", "80.0%", "20.0%", "0.25", "2B", "–", "–"),
    ]


# With a predictor of ours


def test_a_fitted_predictor_finds_what_the_runs_were_made_of():
    from regressors import PREDICTORS, cross_validate

    table, _ = made_runs(n=48, noise=0.002)
    make = PREDICTORS["gp-log"]  # a bowl is no law of data: it rises where a domain has too much
    held = cross_validate(lambda: make(0), table.weights, table.losses, table.groups, folds=4, seed=0)
    estimator = make(0).fit(table.weights, table.losses)
    found = made(table, held, estimator=estimator, target={"quotes": 0.5, "spanish": 0.5})
    best = (BEST["quotes"] + BEST["spanish"]) / 2
    truth = Bowl().predict([best, shares(found)]).mean(axis=1)
    assert truth[1] - truth[0] < 0.005  # a hundredth of the runs' range
    assert found["gain"]["low"] > 0
