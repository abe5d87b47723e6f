"""What a reader of a recommendation is warned of, and what draws no warning."""

import numpy as np

from mixopt.mixture.results import Noise
from mixopt.search.simplex import feasible
from tests.factories.recommendation import (
    DOMAINS,
    Bowl,
    Held,
    SmoothBowl,
    made,
    made_runs,
    warned,
)


def test_a_sound_study_draws_no_warning():
    assert made(pools={name: 50e9 for name in DOMAINS})["warnings"] == []


def test_small_proxies_are_said_to_rank_large_models_poorly():
    assert "models of 1.2M parameters, which rank mixtures" in warned(made(*made_runs(params=1.2e6)), "small-proxy")[0]


def test_a_gain_within_the_uncertainty_is_said_to_be_none():
    table, held = made_runs(noise=0.3)
    assert "not clearly better than the natural one" in warned(made(table, held), "no-gain")[0]


def test_a_predictor_that_ranks_poorly_is_named():
    table, held = made_runs()
    shuffled = Held(np.random.default_rng(0).permutation(held.predicted), held.fold)
    assert warned(made(table, shuffled), "poor-ranking")


def test_losses_that_never_differ_are_named():
    flat, held = made_runs(**{"loss/quotes": 2.5})
    assert warned(made(flat, held), "unranked")


def test_a_recommendation_beyond_the_runs_is_an_extrapolation():
    table, held = made_runs(concentration=200.0)
    found = made(table, held)
    assert not found["search"]["inside_hull"]
    assert warned(found, "outside-hull")
    assert warned(found, "far-from-runs")


def test_a_measured_mixture_as_good_as_the_prediction_is_pointed_out():
    table, held = made_runs(noise=0.0, **{"loss/quotes": np.linspace(1.5, 2.5, 40)})
    found = made(table, held)
    assert warned(found, "run-as-good")[0].startswith("The best measured mixture, run r00, reached 1.500")


def test_a_small_gain_over_the_best_measured_mixture_is_said_to_be_unsure():
    table, held = made_runs()
    unsure = Held(held.predicted + np.random.default_rng(0).normal(0, 0.03, held.predicted.shape), held.fold)
    assert warned(made(table, unsure), "run-within-uncertainty")


def test_optimism_about_favourites_is_measured_on_held_out_runs():
    table, held = made_runs()
    worst = np.argsort(held.predicted[:, 0])[:4]
    predicted = held.predicted.copy()
    predicted[worst] -= 0.2
    told = warned(made(table, Held(predicted, held.fold)), "optimistic")
    assert told
    assert "on average 0.200 nats/token worse" in told[0]


def test_noise_is_reported_for_the_texts_that_count():
    noise = [Noise(text, sd=0.02, signal_sd=0.01, signal_to_noise=0.5, repeats=4) for text in ("quotes", "spanish")]
    told = warned(made(noise=noise), "noise")
    assert len(told) == 1
    assert "quotes" in told[0]
    unknown = [Noise("quotes", repeats=0)]
    assert warned(made(noise=unknown), "no-repeats")


def test_more_repetition_than_any_run_saw_is_extrapolated():
    table, held = made_runs(**{f"pool/{name}": 1e6 for name in DOMAINS})  # the runs pass a pool at most once
    found = made(table, held, pools={"books": 2e9, "code": 50e9, "news": 50e9})
    assert "books would be seen for 2.5 epochs, more than in any run (0." in warned(found, "epochs-beyond-runs")[0]
    seen, held = made_runs(**{f"pool/{name}": 1e5 for name in DOMAINS})
    assert not warned(made(seen, held, pools={"books": 2e9, "code": 50e9, "news": 50e9}), "epochs-beyond-runs")


def test_more_than_four_epochs_are_named_when_the_runs_say_nothing_about_repetition():
    found = made(pools={"books": 1e9, "code": 50e9, "news": 50e9})
    told = warned(found, "many-epochs")
    assert told[0].startswith("books would be seen for 5.0 epochs: beyond about 4, ")
    assert "the runs say nothing about repetition" in told[0]


def test_the_way_out_of_many_epochs_is_a_cap_or_a_lower_one():
    pools = {"books": 1e9, "code": 50e9, "news": 50e9}
    told = warned(made(pools=pools), "many-epochs")
    assert told[0].endswith("the runs say nothing about repetition. search.max_epochs would limit this.")
    capped = feasible(DOMAINS, pools=pools, tokens=10e9, max_epochs=4.5)
    told = warned(made(pools=pools, space=capped), "many-epochs")
    assert told and told[0].endswith("A lower search.max_epochs would limit this.")


def test_repetition_that_runs_have_shown_draws_no_warning_where_the_predictor_sees_it():
    class Seeing(SmoothBowl):
        def unique_gradient(self, W):
            return np.zeros((len(W), 2, 3))

    pools = {"books": 1e9, "code": 50e9, "news": 50e9}
    table, held = made_runs(**{f"pool/{name}": 1e5 for name in DOMAINS})  # up to 10 passes over a pool
    assert warned(made(table, held, pools=pools), "many-epochs")
    assert not about_epochs(made(table, held, pools=pools, estimator=Seeing()))
    fewer, held = made_runs(**{f"pool/{name}": 3e5 for name in DOMAINS})
    assert warned(made(fewer, held, pools=pools, estimator=Seeing()), "epochs-beyond-runs")
    assert not about_epochs(made(fewer, held, pools=pools, estimator=Seeing(), runs=table))


def about_epochs(found):
    return warned(found, "many-epochs") + warned(found, "epochs-beyond-runs")


def test_starts_that_disagree_are_named():
    class Valleys(Bowl):
        def predict(self, W):
            W = np.asarray(W)
            return np.repeat(3.0 - W.max(axis=1)[:, None], 2, axis=1)

    found = made(estimator=Valleys(), sampler="random", trials=200)
    assert warned(found, "starts-disagree")
    assert "takes 100% of the tokens" in warned(found, "one-domain")[0]


def test_diverged_runs_are_named():
    lost = np.arange(40) == 7
    table, held = made_runs(diverged=lost, reason=["loss rose" if one else None for one in lost])
    assert warned(made(table, held), "runs-left-out") == ["1 of 40 runs diverged and are left out: r07 (loss rose)."]


def test_runs_of_several_sizes_are_named():
    table, held = made_runs(tokens=np.where(np.arange(40) < 20, 1e6, 2e6))
    assert "differ in training tokens (1e+06 to 2e+06)" in warned(made(table, held), "mixed-tokens")[0]
