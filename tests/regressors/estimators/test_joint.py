"""Joint laws of mixture, parameters and tokens, and the regressor that extrapolates with them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.estimator_checks import parametrize_with_checks

from regressors.estimators.joint import JOINT_LAWS, AtScale, JointRegressor, Trial, best_strength, splits_of
from regressors.estimators.joint_fit import late_weights, run_weights
from regressors.evaluation.cross_validation import size_bins
from regressors.fitting.solve import measure
from regressors.fitting.transforms import Space, complex_step
from regressors.laws.joint import BENT, JOINT_EFFECTIVE_DATA

every_law = pytest.mark.parametrize("law", [BENT, *JOINT_LAWS.values()], ids=lambda law: law.name)
PRIORS = {param.name: param.prior for param in JOINT_EFFECTIVE_DATA.params}


def some_inputs(law, *, runs=6, domains=3):
    rng = np.random.default_rng(0)
    w = rng.dirichlet(np.ones(domains), size=runs)
    w[0] = np.eye(domains)[0]  # a run of one domain
    sizes, tokens = rng.lognormal(0, 1, runs), rng.lognormal(0, 1, runs)
    return [w, sizes, tokens] if "w" in law.inputs else [sizes, tokens]


def some_values(law, *, targets=2, domains=3):
    rng = np.random.default_rng(1)
    space = Space(law, measure(2 + rng.random((9, targets)), domains=domains))
    return space.values(0.3 * rng.standard_normal((targets, space.size)), np.arange(targets))


@pytest.mark.parametrize("law", JOINT_LAWS.values(), ids=lambda law: law.name)
def test_hand_written_derivatives_equal_the_complex_step(law):
    inputs, values = some_inputs(law), some_values(law)
    loss, by_hand = law.jacobian(*inputs, **values)
    same, exact = complex_step(law.formula)(*inputs, **values)
    np.testing.assert_allclose(loss, same, rtol=1e-13)
    assert loss.shape == (2, 6) and by_hand.keys() == exact.keys()
    for name in exact:
        # both are exact but for rounding; cancelling terms may cost a few digits
        np.testing.assert_allclose(by_hand[name], exact[name], rtol=1e-10, atol=1e-12, err_msg=name)


@every_law
def test_more_parameters_and_more_tokens_never_raise_the_loss(law):
    *w, sizes, tokens = some_inputs(law)
    values = some_values(law)
    loss = law.formula(*w, sizes, tokens, **values)
    assert (law.formula(*w, 2 * sizes, tokens, **values) < loss).all()
    assert (law.formula(*w, sizes, 2 * tokens, **values) < loss).all()
    far = law.formula(*w, 1e90 * sizes, 1e90 * tokens, **values)
    assert (far >= values["E"][:, None]).all()  # and never below what nothing removes


def runs_of(*, sizes=(1e8, 3e8), checkpoints=5, mixtures=12, alpha=0.28, beta=0.35, targets=2, noise=0.002, seed=0):
    """Checkpoints of runs whose losses follow a joint law with these exponents. X (rows, 3 domains + 2), Y."""
    rng = np.random.default_rng(seed)
    W = rng.dirichlet(np.ones(3), size=mixtures)
    tokens = np.geomspace(2e9, 2e10, checkpoints)
    grid = [(*w, n, d) for w in W for n in sizes for d in tokens]
    X = np.array(grid)
    late = 0.5 * (X[:, 3] / 2e8) ** -alpha + 0.4 * (X[:, 4] / 1e10) ** -beta
    Y = np.column_stack([1.6 + 0.1 * k + 0.3 / (0.4 + X[:, k] ** 0.4) + late for k in range(targets)])
    return X, Y * np.exp(noise * rng.standard_normal(Y.shape))


@parametrize_with_checks([JointRegressor(), JointRegressor("joint-log-linear", strength=1, shared=False)])
def test_scikit_learn_accepts_the_joint_regressor(estimator, check):
    check(estimator)


@pytest.mark.parametrize("name", JOINT_LAWS)
def test_larger_models_are_predicted_better_than_by_the_largest_that_was_trained(name):
    X, Y = runs_of()
    larger, truth = runs_of(sizes=(3e9,), noise=0)
    predicted = JointRegressor(name, strength=1).fit(X, Y).predict(larger)
    largest = (
        JointRegressor(name, strength=1).fit(X, Y).predict(np.column_stack([larger[:, :3], larger[:, 3:] * [0.1, 1]]))
    )
    assert np.abs(predicted / truth - 1).mean() < 0.5 * np.abs(largest / truth - 1).mean()


def test_a_loss_is_predicted_at_ten_times_the_size_within_a_percent_where_the_priors_hold():
    X, Y = runs_of()
    larger, truth = runs_of(sizes=(3e9,), noise=0)
    assert np.abs(JointRegressor().fit(X, Y).predict(larger) / truth - 1).mean() < 0.01


@pytest.mark.parametrize("sizes", [(1e8,), (1e8, 3e8)])
@pytest.mark.parametrize("shared", [True, False])
def test_fewer_than_three_sizes_say_nothing_of_the_sizes_exponent(sizes, shared):
    fitted = JointRegressor(shared=shared).fit(*runs_of(sizes=sizes, alpha=0.5))
    alpha = fitted.exponents_[0]
    assert alpha.name == "alpha" and alpha.prior == pytest.approx(np.exp(PRIORS["alpha"].centre))
    assert alpha.value == pytest.approx([alpha.prior] * len(alpha.value), rel=1e-4)
    # the width of what is held is known to rounding only
    assert (
        alpha.sd == pytest.approx([alpha.prior_sd] * len(alpha.sd), rel=1e-3) and alpha.prior_sd == PRIORS["alpha"].sd
    )
    assert fitted.strength_["size"] == 1


def test_many_sizes_identify_their_exponent():
    fitted = JointRegressor(strength=0.5).fit(*runs_of(sizes=np.geomspace(1e7, 1e10, 6), alpha=0.4))
    alpha = fitted.exponents_[0]
    assert alpha.sd[0] < 0.5 * alpha.prior_sd == PRIORS["alpha"].sd
    assert alpha.value[0] == pytest.approx(0.4, rel=0.1)


def test_priors_that_are_wrong_are_loosened_by_what_they_fail_to_predict():
    X, Y = runs_of(sizes=(1e8, 3e8, 9e8), alpha=0.08, noise=1e-3)
    larger, truth = runs_of(sizes=(9e9,), alpha=0.08, noise=0)
    auto, fixed = JointRegressor().fit(X, Y), JointRegressor(strength=1).fit(X, Y)
    assert auto.strength_["size"] < 1
    errors = [np.abs(fitted.predict(larger) / truth - 1).mean() for fitted in (auto, fixed)]
    assert errors[0] < 0.5 * errors[1]


def test_priors_that_are_right_are_kept():
    assert JointRegressor().fit(*runs_of(sizes=(1e8, 3e8, 1e9))).strength_ == {"size": 1, "tokens": 1}


def test_targets_share_their_exponents_only_when_asked():
    X, Y = runs_of(sizes=(1e8, 3e8, 1e9), targets=3, noise=0.01)
    shared, apart = JointRegressor(strength=1).fit(X, Y), JointRegressor(strength=1, shared=False).fit(X, Y)
    for name in ("alpha", "beta"):
        assert np.ptp(shared.values_[name]) < 1e-9 < 1e-3 < np.ptp(apart.values_[name])
    assert [len(e.value) for e in (*shared.exponents_, *apart.exponents_)] == [1, 1, 3, 3]


def test_checkpoints_of_one_run_count_as_few():
    inputs = {"w": np.array([[0.5, 0.5]] * 8 + [[1, 0]]), "params": np.array([1.0] * 8 + [1.0])}
    np.testing.assert_allclose(run_weights(inputs, 4.0), [0.5] * 8 + [1])


def test_permuting_domains_permutes_the_fit_and_nothing_else():
    X, Y = runs_of()
    shuffle = [2, 0, 1, 3, 4]
    as_is, permuted = JointRegressor().fit(X, Y), JointRegressor().fit(X[:, shuffle], Y)
    np.testing.assert_array_equal(permuted.predict(X[:, shuffle]), as_is.predict(X))


def test_parameters_and_tokens_are_told_apart_from_shares_by_their_place_alone():
    X, Y = runs_of()
    tiny = X * [1, 1, 1, 1e-9, 1e-11]  # counts as small as shares: in billions, say
    assert JointRegressor(strength=1).fit(tiny, Y).order_.shape == (5,)
    larger = X[:3] * [1, 1, 1, 10, 1]
    fitted = JointRegressor(strength=1).fit(X, Y)
    assert (fitted.predict(larger) < fitted.predict(X[:3])).all()


def test_a_missing_loss_costs_only_its_own_target_that_run():
    X, Y = runs_of()
    holed = Y.copy()
    holed[3, 1] = np.nan
    options = {"strength": 1, "shared": False}
    both, others = JointRegressor(**options).fit(X, holed), np.delete(np.arange(len(X)), 3)
    alone = JointRegressor(**options).fit(X, Y)
    # optima are found to about 1e-6 of the objective
    np.testing.assert_allclose(both.predict(X)[:, 0], alone.predict(X)[:, 0], rtol=1e-4)
    assert np.abs(both.predict(X[others])[:, 1] / Y[others, 1] - 1).mean() < 0.005


@pytest.mark.parametrize("strength", ["auto", 0])
def test_a_stored_fit_predicts_the_same(strength):
    X, Y = runs_of(sizes=(1e8, 3e8, 1e9))
    for losses in (Y, Y[:, 0]):
        fitted = JointRegressor(JOINT_EFFECTIVE_DATA, strength=strength).fit(X, losses)
        rebuilt = JointRegressor.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
        np.testing.assert_array_equal(rebuilt.predict(X), fitted.predict(X))  # JSON keeps every bit of a float
        assert rebuilt.exponents_ == fitted.exponents_ and rebuilt.trials_ == fitted.trials_
        assert rebuilt.strength_ == fitted.strength_


@pytest.mark.parametrize("flat", [True, False])
def test_a_joint_law_at_one_scale_is_a_predictor_of_mixtures_with_exact_slopes(flat):
    X, Y = runs_of()
    fitted = JointRegressor(strength=1).fit(X, Y[:, 0] if flat else Y)
    at = fitted.at(7e9, 1e12)
    W = np.random.default_rng(1).dirichlet(np.ones(3), size=5)
    np.testing.assert_array_equal(at.predict(W), fitted.predict(np.column_stack([W, [7e9] * 5, [1e12] * 5])))
    slopes = at.gradient(W)
    assert slopes.shape == ((5, 3) if flat else (5, 2, 3))
    for k in range(3):
        step = 1e-6 * np.eye(3)[k]
        numeric = (at.predict(W + step) - at.predict(W - step)) / 2e-6
        # central differences of losses near 2 at steps of 1e-6 are good to about 1e-9
        np.testing.assert_allclose(slopes[..., k], numeric, rtol=1e-5, atol=1e-7)
    rebuilt = AtScale.from_dict(json.loads(json.dumps(at.to_dict())))
    np.testing.assert_array_equal(rebuilt.predict(W), at.predict(W))


def test_without_share_columns_size_and_tokens_alone_are_fitted():
    X, Y = runs_of(mixtures=1)
    fitted = JointRegressor().fit(X[:, 3:], Y)
    assert "C" not in fitted.values_
    assert np.abs(fitted.predict(X[:, 3:]) / Y - 1).max() < 0.02


def test_young_checkpoints_of_larger_models_are_predicted():
    """Early losses hardly depend on size, here as in real runs: a sum of powers of size and tokens can't say so."""

    def young(**options):
        X, Y = runs_of(checkpoints=8, noise=0, targets=1, **options)
        early = 1.5 * (X[:, 4] / 2e9) ** -0.7
        return X, 1.6 + ((Y[:, 0] - 1.6) ** 4 + early**4) ** 0.25

    errors = {}
    for name in ("joint-effective-data", "joint-additive"):
        fitted = JointRegressor(name, strength=1).fit(*young())
        larger, truth = young(sizes=(3e9,))
        youngest = larger[:, 4] < 2.1e9
        errors[name] = np.abs(fitted.predict(larger) / truth - 1)[youngest].mean()
    assert errors["joint-effective-data"] < 0.25 * errors["joint-additive"]


def test_bad_input_is_refused():
    X, Y = runs_of()
    with pytest.raises(ValueError, match="joint-additive"):
        JointRegressor("no-such-law").fit(X, Y)
    with pytest.raises(ValueError, match="parameters and tokens are missing"):
        JointRegressor().fit(X[:, :1], Y)
    with pytest.raises(ValueError, match="Negative"):
        JointRegressor().fit(-X, Y)
    own = replace(JOINT_EFFECTIVE_DATA, params=JOINT_EFFECTIVE_DATA.params[::-1])
    with pytest.raises(ValueError, match="code"):
        JointRegressor(own, strength=1).fit(X, Y).to_dict()


def test_sizes_that_hardly_differ_are_one_size():
    np.testing.assert_array_equal(size_bins(np.array([1e8, 1.2e8, 9e8, 1e9, 3e8])), [0, 0, 2, 2, 1])


def test_splits_leave_out_the_largest_size_and_the_latest_checkpoints():
    X, _ = runs_of(sizes=(1e8, 3e8, 1e9), mixtures=1, checkpoints=8)
    by_kind = {split.kind: split for split in splits_of(X[:, 3], X[:, 4])}
    assert (X[by_kind["size"].predicted, 3] == 1e9).all() and (X[by_kind["size"].fitted, 3] < 1e9).all()
    tokens = by_kind["tokens"]
    assert X[tokens.fitted, 4].max() <= 1e10 < X[tokens.predicted, 4].min()
    np.testing.assert_array_equal(tokens.fitted, ~tokens.predicted)


def test_two_sizes_and_final_checkpoints_allow_no_split():
    X, Y = runs_of(checkpoints=1)
    assert splits_of(X[:, 3], X[:, 4]) == []
    assert JointRegressor().fit(X, Y).strength_ == {"size": 1, "tokens": 1}


@given(st.lists(st.floats(1e-4, 1), min_size=2, max_size=5, unique=True))
@settings(max_examples=50)
def test_a_strength_is_left_for_a_clearly_better_one_only(errors):
    trials = [
        Trial("size", strength, error) for strength, error in zip((1.0, 2.0, 0.5, 0.25, 0.0), errors, strict=False)
    ]
    chosen = best_strength(trials)
    error = next(t.error for t in trials if t.strength == chosen)
    assert (chosen == 1) == (min(errors) >= 0.75 * errors[0])
    assert chosen == 1 or error == min(errors)


def test_published_tables_from_two_sizes_to_a_third(shared_data):
    """Fitted on 70M and 160M parameters, judged on 305M: with priors better than without."""
    import pandas as pd

    table = pd.read_csv(shared_data / "mixing_scale" / "mixinglaws_5mix_70m_305m.csv")
    X = table[[*(c for c in table if c.startswith("w_")), "N_nonemb", "tokens"]].to_numpy()
    Y = table[["loss_ArXiv", "loss_Github", "loss_Pile-CC"]].to_numpy()
    small = table["size"].to_numpy() != "305M"
    errors = {}
    for strength in (1, 0):
        predicted = JointRegressor(strength=strength).fit(X[small], Y[small]).predict(X[~small])
        errors[strength] = np.nanmean(np.abs(predicted / Y[~small] - 1))
    assert errors[1] < 0.02 and errors[1] < errors[0]


# Residuals that persist


def uneven(**options):
    """Runs whose curves wind around the law by up to 2 %, by twice as much for one kind of mixture."""
    X, Y = runs_of(noise=0, targets=1, **options)
    return X, Y * np.exp(0.02 * (0.5 + X[:, 0]) * np.sin(3 * np.log(X[:, 4] / 2e9)))[:, None]


def test_what_a_law_misses_in_the_runs_is_predicted_to_persist_at_larger_sizes():
    larger, truth = uneven(sizes=(9e8,))
    errors = {}
    for residuals in (False, True):
        fitted = JointRegressor(strength=1, residuals=residuals).fit(*uneven())
        errors[residuals] = np.abs(fitted.predict(larger) / truth - 1).mean()
    assert errors[True] < 0.5 * errors[False]


def test_runs_own_departures_do_not_persist():
    X, Y = runs_of(sizes=(1e8, 1.1e8, 1.2e8, 4e8), mixtures=4, noise=0)
    rng = np.random.default_rng(3)
    run = np.unique(X[:, :4], axis=0, return_inverse=True)[1].reshape(-1)
    fitted = JointRegressor(strength=1, residuals=True).fit(X, Y * np.exp(0.02 * rng.standard_normal(20)[run])[:, None])
    even = JointRegressor(strength=1, residuals=True).fit(*uneven())
    assert fitted.residuals_ and even.residuals_
    assert even.residuals_.run < fitted.residuals_.run


def test_residuals_are_stored_have_exact_slopes_and_follow_permuted_domains():
    X, Y = uneven()
    Y = np.column_stack([Y, Y])
    Y[3, 1] = np.nan
    fitted = JointRegressor(strength=1, residuals=True).fit(X, Y)
    rebuilt = JointRegressor.from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
    np.testing.assert_array_equal(rebuilt.predict(X), fitted.predict(X))
    plain = fitted.of_law_alone()
    assert not np.allclose(plain.predict(X), fitted.predict(X)) and plain.residuals_ is None
    at, W = fitted.at(9e8, 4e10), np.random.default_rng(1).dirichlet(np.ones(3), size=4)
    for k in range(3):
        step = 1e-6 * np.eye(3)[k]
        numeric = (at.predict(W + step) - at.predict(W - step)) / 2e-6
        np.testing.assert_allclose(at.gradient(W)[..., k], numeric, rtol=1e-5, atol=1e-6)
    shuffle = [2, 0, 1, 3, 4]
    permuted = JointRegressor(strength=1, residuals=True).fit(X[:, shuffle], Y)
    np.testing.assert_allclose(permuted.predict(X[:, shuffle]), fitted.predict(X), rtol=1e-12)


def test_one_mistyped_loss_bends_no_prediction_beyond_the_runs():
    X, Y = runs_of(targets=1)
    wrong = Y.copy()
    wrong[7] *= 10
    larger, _ = runs_of(sizes=(9e8,))
    right, bent = (JointRegressor(strength=1, residuals=True).fit(X, losses).predict(larger) for losses in (Y, wrong))
    assert np.abs(bent / right - 1).max() < 0.02  # over .6 if residuals were not cut off


def test_later_rows_of_a_run_count_more_and_a_run_as_much_as_before():
    inputs = {"w": np.ones((5, 1)), "params": np.array([1.0] * 4 + [2.0]), "tokens": np.array([1.0, 2, 3, 4, 9])}
    found = late_weights(inputs, run_weights(inputs, 2.0))
    np.testing.assert_allclose(found, [0.2, 0.4, 0.6, 0.8, 1.0])
