"""Facts about the recommendation, on a made-up law whose best mixture is known."""

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixopt
from mixopt.errors import MixoptError
from mixopt.recommending import domain_rows, recommend
from mixopt.runtable import RunTable
from mixopt.simplex import feasible
from mixopt.summary import HEADER, summary_rows, told_optimism
from regressors.judge import Rehearsal

DOMAINS = ("books", "code", "news")
TEXTS = ("quotes", "spanish")
BEST = {"quotes": np.array([0.5, 0.3, 0.2]), "spanish": np.array([0.1, 0.2, 0.7])}
NATURAL = np.array([0.1, 0.1, 0.8])
POOLS = {"books": 3e9, "code": 6e9, "news": None}


@dataclass
class Bowl:
    """Loss on each text: 2 nats/token at that text's best mixture, more elsewhere; `bias` everywhere."""

    bias: float = 0.0

    def predict(self, W):
        W = np.asarray(W)
        return np.stack([2.0 + self.bias + ((W - BEST[text]) ** 2).sum(axis=1) for text in TEXTS], axis=1)


class SmoothBowl(Bowl):
    def gradient(self, W):
        return np.stack([2.0 * (W - BEST[text]) for text in TEXTS], axis=1)


@dataclass
class Held:
    """Held-out predictions off by known amounts."""

    predicted: np.ndarray
    fold: np.ndarray
    estimators: list = field(default_factory=lambda: [SmoothBowl() for _ in range(5)])
    rehearsal: Rehearsal | None = None

    def at(self, W):
        return np.stack([estimator.predict(W) for estimator in self.estimators])


def made_runs(n=40, *, seed=0, noise=0.0, concentration=1.0, **columns):
    """Runs of the bowls at Dirichlet mixtures, natural and uniform first; and a perfect predictor's held-out view."""
    rng = np.random.default_rng(seed)
    w = np.vstack([NATURAL, np.full(3, 1 / 3), rng.dirichlet(np.full(3, concentration), n - 2)])
    losses = Bowl().predict(w) + rng.normal(0, noise, (n, 2))
    frame = pd.DataFrame(
        {"run_id": [f"r{i:02d}" for i in range(n)], "params": 30e6, "tokens": 1e6, "seed": 0}
        | {f"w/{name}": w[:, i] for i, name in enumerate(DOMAINS)}
        | {f"loss/{text}": losses[:, j] for j, text in enumerate(TEXTS)}
        | columns
    )
    kept = ~np.asarray(columns.get("diverged", np.zeros(n, dtype=bool)))
    held = Held(predicted=Bowl().predict(w[kept]), fold=np.arange(kept.sum()) % 5)
    return RunTable(frame=frame, domains=DOMAINS, targets=TEXTS), held


def made(table=None, held=None, *, space=None, estimator=None, **options):
    """A recommendation for the quotes."""
    runs = made_runs()
    settled = {"target": {"quotes": 1.0}, "natural": NATURAL, "pools": POOLS, "full_tokens": 10e9, "trials": 60}
    return recommend(
        table or runs[0],
        estimator or SmoothBowl(),
        held or runs[1],
        space or feasible(DOMAINS),
        study="made",
        predictor="bowl",
        **(settled | options),
    )


def warned(recommendation, words):
    return [text for text in recommendation["warnings"] if words in text]


def shares(recommendation, key="recommended"):
    return np.array([row[key] for row in recommendation["domains"]])


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
    found = made(full_params=1e9, storage=tmp_path / "search.db", seed=4)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {
        "mixopt", "study", "seed", "target", "full", "proxy", "predictor", "domains", "predicted", "gain",
        "by_text", "interval", "optimism", "search", "effects", "warnings",
    }  # fmt: skip
    assert (found["mixopt"], found["study"], found["seed"]) == (mixopt.__version__, "made", 4)
    assert found["full"] == {"params": 1e9, "tokens": 10e9}
    assert found["proxy"] == {"params": 30_000_000, "tokens": 1_000_000}
    assert [row["domain"] for row in found["domains"]] == list(DOMAINS)
    for row in found["domains"]:
        assert set(row) == {
            "domain", "natural", "uniform", "recommended", "best_measured", "tokens", "epochs", "pool", "min", "max",
        }  # fmt: skip
    assert set(found["search"]) == {
        "sampler", "trials", "seeded", "found", "polished", "polish_gain", "agreeing_starts", "starts", "inside_hull",
        "nearest_run",
    }  # fmt: skip
    assert (tmp_path / "search.db").is_file()


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
    assert warned(none, "No trained mixture keeps the limits")


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
    return table, held, replace(held, rehearsal=Rehearsal(rows, predicted))


def test_optimism_is_unknown_where_nothing_was_rehearsed():
    found = made()
    assert found["optimism"]["loss"] is None and found["optimism"]["standard_error"] is None
    assert told_optimism(found) == ""


def test_rehearsed_optimism_is_told_and_moves_the_interval_of_the_recommendation_alone():
    table, plain, held = rehearsed(0.05)
    found, without = made(table, held), made(table, plain)
    assert 0.005 < found["optimism"]["loss"] < 0.05
    assert 0 < found["optimism"]["standard_error"] < found["optimism"]["loss"]
    assert told_optimism(found).startswith(f"Expected optimism {found['optimism']['loss']:.3f} ± ")
    best, before = found["predicted"]["recommended"], without["predicted"]["recommended"]
    assert best["loss"] == before["loss"]
    assert best["high"] > before["high"] + 0.01
    assert found["predicted"]["uniform"] == without["predicted"]["uniform"]
    assert "rehearsed choices" in found["interval"]["method"]


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
    held = Held(losses + 0.01, np.arange(40) % 5, rehearsal=Rehearsal(rows, [losses[some] + 0.01 for some in rows]))
    found = made(table, held)
    assert found["optimism"]["loss"] == pytest.approx(-0.01)  # every run was better than predicted
    assert "no optimism is to be expected" in told_optimism(found)


def test_few_runs_give_open_intervals_as_null():
    table, held = made_runs(n=5)
    found = made(table, Held(held.predicted, np.arange(5)), level=0.9)
    assert found["predicted"]["recommended"]["low"] is None
    assert found["gain"]["low"] is None
    assert warned(found, "too few for an interval")


def test_unknown_pools_leave_natural_epochs_and_tokens_open():
    found = made(natural=None, pools=None, full_tokens=None)
    assert found["predicted"]["natural"] is None
    assert found["gain"]["over"] == "uniform"
    for row in found["domains"]:
        assert (row["natural"], row["tokens"], row["epochs"], row["pool"]) == (None,) * 4
    assert warned(found, "How often text would be repeated is not known")
    assert summary_rows(found)[0] == ("books", "–", "50.0%", "–", "–")


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
    assert warned(found, "stops at limits that were set: books (max_epochs)")


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


# Warnings


def test_a_sound_study_draws_no_warning():
    assert made(pools={name: 50e9 for name in DOMAINS})["warnings"] == []


def test_small_proxies_are_said_to_rank_large_models_poorly():
    assert warned(made(*made_runs(params=1.2e6)), "models of 1.2M parameters, which rank mixtures")


def test_a_gain_within_the_uncertainty_is_said_to_be_none():
    table, held = made_runs(noise=0.3)
    assert warned(made(table, held), "no better than the natural one")


def test_a_predictor_that_ranks_poorly_is_named():
    table, held = made_runs()
    shuffled = Held(np.random.default_rng(0).permutation(held.predicted), held.fold)
    assert warned(made(table, shuffled), "rank correlation of only")


def test_losses_that_never_differ_are_named():
    flat, held = made_runs(**{"loss/quotes": 2.5})
    assert warned(made(flat, held), "Too few runs differ")


def test_a_recommendation_beyond_the_runs_is_an_extrapolation():
    table, held = made_runs(concentration=200.0)
    found = made(table, held)
    assert not found["search"]["inside_hull"]
    assert warned(found, "outside what the runs span")
    assert warned(found, "far from every trained one")


def test_a_measured_mixture_as_good_as_the_prediction_is_pointed_out():
    table, held = made_runs(noise=0.0, **{"loss/quotes": np.linspace(1.5, 2.5, 40)})
    found = made(table, held)
    assert warned(found, "The best measured mixture, run r00, reached 1.500")
    assert warned(found, "Train both before choosing")


def test_a_small_gain_over_the_best_measured_mixture_is_said_to_be_unsure():
    table, held = made_runs()
    unsure = Held(held.predicted + np.random.default_rng(0).normal(0, 0.03, held.predicted.shape), held.fold)
    assert warned(made(table, unsure), "the measured mixture may do as well")


def test_optimism_about_favourites_is_measured_on_held_out_runs():
    table, held = made_runs()
    worst = np.argsort(held.predicted[:, 0])[:4]
    predicted = held.predicted.copy()
    predicted[worst] -= 0.2
    told = warned(made(table, Held(predicted, held.fold)), "optimistic about the mixtures it likes best")
    assert told
    assert "measured 0.200 nats/token worse" in told[0]


def test_noise_is_reported_for_the_texts_that_count():
    noise = [
        {"target": "quotes", "sd": 0.02, "signal_sd": 0.01, "signal_to_noise": 0.5, "repeats": 4},
        {"target": "spanish", "sd": 0.02, "signal_sd": 0.01, "signal_to_noise": 0.5, "repeats": 4},
    ]
    told = warned(made(noise=noise), "Noise swamps")
    assert len(told) == 1
    assert "quotes" in told[0]
    unknown = [{"target": "quotes", "sd": None, "signal_sd": None, "signal_to_noise": None, "repeats": 0}]
    assert warned(made(noise=unknown), "No mixture was trained twice")


def test_more_repetition_than_any_run_saw_is_extrapolated():
    table, held = made_runs(**{f"pool/{name}": 1e6 for name in DOMAINS})  # the runs pass a pool at most once
    found = made(table, held, pools={"books": 2e9, "code": 50e9, "news": 50e9})
    assert warned(found, "books would be read 2.5 times, more than any run has read it (0.")
    seen, held = made_runs(**{f"pool/{name}": 1e5 for name in DOMAINS})
    assert not warned(made(seen, held, pools={"books": 2e9, "code": 50e9, "news": 50e9}), "would be read")


def test_more_than_four_epochs_are_named_when_the_runs_say_nothing_about_repetition():
    found = made(pools={"books": 1e9, "code": 50e9, "news": 50e9})
    assert warned(found, "books would be read 5.0 times: beyond about 4 passes")
    assert warned(found, "the runs say nothing about repetition")


def test_starts_that_disagree_are_named():
    class Valleys(Bowl):
        def predict(self, W):
            W = np.asarray(W)
            return np.repeat(3.0 - W.max(axis=1)[:, None], 2, axis=1)

    found = made(estimator=Valleys(), sampler="random", trials=200)
    assert warned(found, "local searches ended near")
    assert warned(found, "takes 100% of the tokens")


def test_diverged_runs_are_named():
    lost = np.arange(40) == 7
    table, held = made_runs(diverged=lost, reason=["loss rose" if one else None for one in lost])
    assert warned(made(table, held), "1 of 40 runs diverged and are left out: r07 (loss rose).")


def test_runs_of_several_sizes_are_named():
    table, held = made_runs(tokens=np.where(np.arange(40) < 20, 1e6, 2e6))
    assert warned(made(table, held), "The runs differ in training tokens (1e+06 to 2e+06)")


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
    with pytest.raises(MixoptError, match="no run has a loss on every text of the target"):
        made(table, held, target={"quotes": 0.5, "spanish": 0.5})


# The terminal


def test_the_terminal_rows_are_text_with_the_largest_share_first():
    rows = summary_rows(made())
    assert len(HEADER) == len(rows[0])
    assert rows == [
        ("books", "10.0%", "50.0%", "5B", "1.7"),
        ("code", "10.0%", "30.0%", "3B", "0.5"),
        ("news", "80.0%", "20.0%", "2B", "–"),
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
