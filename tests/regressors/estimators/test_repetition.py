"""The default for repeated text: several forms, weighed by runs left out."""

import json
import time

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from regressors import RepetitionRegressor
from regressors.estimators.repetition import splits_of, weights
from regressors.evaluation.cross_validation import configurations
from regressors.laws.overfitting import FORMS


def ladder(sizes=(1e5, 8e5), unique=(1e5, 4e5), epochs=(1, 2, 4, 8, 16, 32)):
    """Runs of every size on every text for every number of passes: (n_runs, 3)."""
    return np.array([[n, u * e, u] for n in sizes for u in unique for e in epochs])


def loss_of(X, harm=0.3):
    """A truth that is none of the forms: repeats decay like 1/(1 + R/8), and harm from about the tenth on."""
    params, tokens, unique = X.T
    unique = np.minimum(tokens, unique)
    repeats = tokens / unique - 1
    seen = unique * (1 + 8 * np.log1p(repeats / 8))
    harmed = harm * (params / 3e5) ** 0.8 * (2e5 / unique) * np.log1p((repeats / 10) ** 2) / 2
    return 1.9 + 3 * (params / 3e5) ** -0.12 + 1.1 * (seen / 1e6) ** -0.35 + harmed


def fitted(X=None, harm=0.3, noise=0.01, seed=0, **options):
    X = ladder() if X is None else X
    y = loss_of(X, harm) * np.exp(noise * np.random.default_rng(seed).standard_normal(len(X)))
    return RepetitionRegressor(**options).fit(X, y), X, y


def rmse_log(predicted, measured):
    return np.sqrt(np.mean(np.log(predicted / measured) ** 2))


@pytest.fixture
def table(shared_data):
    runs = pd.read_csv(shared_data / "repetition" / "datablations_182.csv")
    return runs[["N", "D", "U"]].to_numpy(float), runs["loss"].to_numpy(float)


@pytest.mark.slow
def test_published_runs_are_predicted_from_other_configurations_within_the_bar(table):
    X, y = table
    group = configurations(X)
    fold = (np.random.default_rng(0).permutation(group.max() + 1) % 5)[group]
    predicted = np.empty(len(y))
    for k in range(5):
        predicted[fold == k] = RepetitionRegressor().fit(X[fold != k], y[fold != k]).predict(X[fold == k])
    assert rmse_log(predicted, y) < 0.04  # a bounded penalty alone: .054; the published constants: .110


def test_more_epochs_than_were_fitted_do_not_explode(table):
    X, y = table
    late = X[:, 1] > 60 * X[:, 2]
    model = RepetitionRegressor().fit(X[~late], y[~late])
    predicted = model.predict(X[late])
    r2 = 1 - np.sum((predicted - y[late]) ** 2) / np.sum((y[late] - y[late].mean()) ** 2)
    assert r2 > 0.57  # the published constants have .573, the unbounded penalty -1655
    assert model.outside(X[late]).all() and not model.outside(X[~late]).any()


def test_runs_that_overfit_are_predicted_from_those_that_do_not(table):
    X, y = table
    same = (np.abs(X[:, :1] / X[:, 0] - 1) < 0.01) & (X[:, 2:] == X[:, 2]) & (X[:, 1:2] > X[:, 1])
    rising = (same & (y[:, None] > y + 0.005)).any(axis=1)
    predicted = RepetitionRegressor().fit(X[~rising], y[~rising]).predict(X[rising])
    assert rmse_log(predicted, y[rising]) < 0.077


def test_two_hundred_draws_of_published_runs_are_had_in_about_a_fit_s_time(table):
    X, y = table
    start = time.perf_counter()
    model = RepetitionRegressor().fit(X, y)
    fit = time.perf_counter() - start
    start = time.perf_counter()
    draws = model.draws(X, 200)
    assert time.perf_counter() - start < 5 * fit  # of the order of one second each, on whatever machine
    assert draws.shape == (200, len(X)) and np.isfinite(draws).all()
    assert 0.003 < np.log(draws).std(axis=0).mean() < 0.03


@pytest.mark.parametrize("harm", [0.0, 0.6])
def test_a_small_ladder_is_predicted_half_as_far_again(harm):
    model, X, _ = fitted(harm=harm)
    further = X * [1, 1.5, 1]
    assert rmse_log(model.predict(further), loss_of(further, harm)) < 0.03
    assert rmse_log(model.predict(X), loss_of(X, harm)) < 0.015  # noise is .01


def test_harm_at_the_end_of_a_ladder_is_seen_and_its_absence_too():
    end = np.array([[8e5, 32e5, 1e5], [8e5, 64e5, 1e5]])
    harmed, harmless = (fitted(harm=harm)[0].predict(end) for harm in (0.6, 0.0))
    assert harmed[1] > harmed[0] and harmless[1] < harmless[0]


@pytest.mark.parametrize(
    "X",
    [
        ladder(sizes=(3e5,)),
        ladder(sizes=(3e5,), unique=(2e5,)),
        np.array([[n, 2e6, 2e6 / e] for n in (1e5, 5e5) for e in (1, 2, 4, 8, 16, 32)]),
        ladder(epochs=(1,), unique=(1e5, 2e5, 4e5, 8e5)),
        ladder(sizes=(3e5,), unique=(2e5,), epochs=(1, 4)),
        np.repeat(ladder(sizes=(3e5,), unique=(2e5,), epochs=(1, 4, 16)), 3, axis=0),
    ],
    ids=["one size", "one size and text", "fixed tokens", "no repetition", "two runs", "repeats"],
)
def test_tables_that_say_little_are_fitted_and_what_they_do_not_say_is_named(X):
    model, _, y = fitted(X)
    assert rmse_log(model.predict(X), y) < 0.03
    about = model.identify()["delayed-penalty"]
    vague = {name for name, out in zip(about.names, about.unidentified[0], strict=True) if out}
    repeats = X[:, 1] / X[:, 2] - 1
    if repeats.max() == 0:
        assert {"r_star_d", "P", "onset"} <= vague
    if len(np.unique(X[:, 0])) == 1:
        assert "alpha" in vague or "kappa" in vague
    draws = model.draws(X, 40)
    assert np.isfinite(draws).all() and draws.shape == (40, len(X))


def test_where_runs_say_nothing_of_repetition_draws_part_ways():
    model, _, _ = fitted(ladder(epochs=(1,), unique=(1e5, 2e5, 4e5, 8e5)))
    once, often = np.array([[8e5, 4e5, 4e5]]), np.array([[8e5, 32e5, 1e5]])
    spread = [np.log(model.draws(at, 100)).std() for at in (once, often)]
    assert spread[1] > 3 * spread[0]


def test_forms_that_predict_left_out_runs_better_weigh_more():
    given = weights({"a": {"folds": 0.1, "epochs": 0.1}, "b": {"folds": 0.2, "epochs": 0.2}, "c": {"folds": 0.01}})
    assert given["c"] > 0.99 and given["a"] == 0  # faint ones are left out
    given = weights({"a": {"folds": 0.1, "epochs": 0.1}, "b": {"folds": 0.1, "epochs": 0.2}})
    assert given["a"] > given["b"] > 0 and sum(given.values()) == pytest.approx(1)
    assert weights({"a": {}, "b": {}}) == {"a": 0.5, "b": 0.5}


def test_left_out_runs_are_whole_configurations_and_whole_regions():
    X = np.repeat(ladder(), 2, axis=0)
    splits = splits_of(X, np.random.default_rng(0))
    group = configurations(X)
    folds = [split.predicted for split in splits if split.kind == "folds"]
    assert (np.sum(folds, axis=0) == 1).all()
    for split in splits:
        assert not set(group[split.fitted]) & set(group[split.predicted])
    by_kind = {split.kind: split for split in splits}
    epochs = X[:, 1] / X[:, 2]
    assert epochs[by_kind["epochs"].predicted].min() > epochs[by_kind["epochs"].fitted].max()
    assert splits_of(X[:4], np.random.default_rng(0)) == []


def test_the_order_and_the_units_of_runs_say_nothing():
    model, X, y = fitted()
    order = np.random.default_rng(1).permutation(len(X))
    shuffled = RepetitionRegressor().fit(X[order], y[order])
    for name in FORMS:
        one, two = RepetitionRegressor((name,)).fit(X, y), RepetitionRegressor((name,)).fit(X[order], y[order])
        # sums in another order: where descents stop differs by far less than the noise
        np.testing.assert_allclose(two.predict(X), one.predict(X), rtol=1e-4)
    assert shuffled.errors_.keys() == model.errors_.keys()
    scale = np.array([1e3, 1e3, 1e3])  # thousands of parameters and tokens
    np.testing.assert_allclose(RepetitionRegressor().fit(X / scale, y).predict(X / scale), model.predict(X), rtol=1e-6)


def test_the_loss_takes_counts_of_any_shape_and_complex_ones():
    model, X, _ = fitted()
    np.testing.assert_allclose(model.loss(*X.T.reshape(3, 4, 6)).reshape(-1), model.predict(X), rtol=1e-14)
    at = np.array([4e5, 1e6, 1e5])
    for k in range(3):
        up, down = at.copy(), at.copy()
        up[k], down[k] = at[k] * (1 + 1e-6), at[k] * (1 - 1e-6)
        moved = at.astype(complex)
        moved[k] *= 1 + 1e-20j
        slope = (model.loss(*up) - model.loss(*down)) / 2e-6
        assert model.loss(*moved).imag / 1e-20 == pytest.approx(float(slope), rel=1e-5, abs=1e-9)


def test_refits_are_losses_and_draws_are_their_predictions():
    model, X, _ = fitted()
    refits = model.refits(12, random_state=3)
    np.testing.assert_allclose(
        np.concatenate([refit.loss(*X.T) for refit in refits]), model.draws(X, 12, random_state=3), rtol=1e-12
    )
    assert {refit.form for refit in refits} <= set(FORMS)
    np.testing.assert_array_equal(model.draws(X, 12, random_state=3), model.draws(X, 12, random_state=3))
    assert (model.draws(X, 12, random_state=4) != model.draws(X, 12, random_state=3)).any()


@pytest.mark.slow
def test_draws_hold_the_truth_about_as_often_as_they_say():
    held = []
    for seed in range(6):
        model, X, _ = fitted(seed=seed, noise=0.02)
        low, high = np.quantile(model.draws(X, 100), [0.1, 0.9], axis=0)
        held.append(np.mean((low < loss_of(X)) & (loss_of(X) < high)))
    assert 0.55 < np.mean(held) < 0.98  # 80%, but runs of one table err together


def test_a_profile_has_no_prior_on_its_parameter():
    once, _, _ = fitted(ladder(epochs=(1,), unique=(1e5, 2e5, 4e5, 8e5)))
    found = once.profile("r_star_d")
    assert found.open_low[0] and found.open_high[0] and found.high[0] == np.inf
    model, _, _ = fitted(harm=0.0)
    found = model.profile("r_star_d", form="data-decay")
    assert found.low[0] < model.values_["data-decay"]["r_star_d"] < found.high[0] < np.inf
    assert model.profile("r_star_d", form="data-decay", level=0.95).high[0] > found.high[0]
    with pytest.raises(ValueError, match="has a parameter 'zeta': none"):
        model.profile("zeta")
    with pytest.raises(ValueError, match="bounded-penalty has a parameter 'r_star_d': data-decay"):
        model.profile("r_star_d", form="bounded-penalty")


def test_profiles_of_all_forms_may_lie_apart(table):
    model = RepetitionRegressor().fit(*table)
    found = model.profiles("r_star_d")
    assert list(found) == sorted(found, key=lambda form: -model.forms_[form])
    ends = np.array([[profile.low[0], profile.high[0]] for profile in found.values()])
    assert ends[:, 0].max() > ends[:, 1].min()  # which form is true matters more than any one of them says
    np.testing.assert_array_equal(model.profile("r_star_d").low, next(iter(found.values())).low)


def test_numbers_stored_as_json_give_the_same_predictions_and_refits():
    model, X, _ = fitted(random_state=np.int64(4))
    stored = json.loads(json.dumps(model.to_dict(refits=5), allow_nan=False))
    again = RepetitionRegressor.from_dict(stored)
    np.testing.assert_array_equal(again.predict(X), model.predict(X))
    np.testing.assert_array_equal(again.outside(X * 3), model.outside(X * 3))
    np.testing.assert_allclose(again.draws(X, 5), model.draws(X, 5), rtol=1e-12)
    assert again.values_ == model.values_ and again.forms_ == model.forms_
    with pytest.raises(ValueError, match="5 refits were stored"):
        again.draws(X, 6)
    with pytest.raises(ValueError, match="has no runs"):
        again.profile("r_star_d")
    with pytest.raises(ValueError, match="not of a RepetitionRegressor"):
        RepetitionRegressor.from_dict({"estimator": "Scheffe"})


def test_it_behaves_as_an_estimator_of_scikit_learn():
    model, X, y = fitted(n_starts=1)
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(X)
    np.testing.assert_array_equal(copy.fit(X, y).predict(X), model.predict(X))
    assert model.score(X, y) > 0.9


def test_runs_of_weight_0_and_missing_losses_are_no_runs():
    model, X, y = fitted(forms=("data-decay",))
    holes = np.concatenate([y, [np.nan]])
    more = np.concatenate([X, [[1e7, 1e7, 1e5]]])
    np.testing.assert_allclose(RepetitionRegressor(("data-decay",)).fit(more, holes).predict(X), model.predict(X))
    wrong = np.concatenate([y, [50.0]])
    counted = np.concatenate([np.ones(len(y)), [0]])
    unseen = RepetitionRegressor(("data-decay",)).fit(more, wrong, sample_weight=counted)
    np.testing.assert_allclose(unseen.predict(X), model.predict(X))
    twice = RepetitionRegressor(("data-decay",)).fit(more, wrong, sample_weight=np.concatenate([np.ones(len(y)), [1]]))
    assert rmse_log(twice.predict(X), model.predict(X)) > 0.001


def test_what_cannot_be_fitted_is_refused_in_a_sentence():
    X, y = ladder(), loss_of(ladder())
    with pytest.raises(ValueError, match="2 columns, the forms take 3: params, tokens, unique"):
        RepetitionRegressor().fit(X[:, :2], y)
    with pytest.raises(ValueError, match="above 0"):
        RepetitionRegressor().fit(X * [1, 0, 1], y)
    with pytest.raises(ValueError, match="0 or less has no log"):
        RepetitionRegressor().fit(X, y - y)
    with pytest.raises(ValueError, match="forms that don't exist"):
        RepetitionRegressor(("no-such-form",)).fit(X, y)
    with pytest.raises(ValueError, match="n_samples = 1"):
        RepetitionRegressor().fit(X[:1], y[:1])
    with pytest.raises(ValueError, match=r"n_runs = 24, got \(3,\)"):
        RepetitionRegressor().fit(X, y[:3])
