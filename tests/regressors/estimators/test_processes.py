"""Gaussian processes, Scheffe's polynomial, and predictors made of predictors."""

import numpy as np
import pytest
from sklearn import gaussian_process
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from regressors import (
    PREDICTORS,
    EnsembleRegressor,
    GaussianProcessRegressor,
    LawRegressor,
    RegMixLinearRegressor,
    ResidualProcessRegressor,
    ScheffeRegressor,
)
from regressors.estimators.ensemble import best_weights
from regressors.estimators.gaussian_process import JITTER, Evidence, Features


def draw(runs=50, domains=4, *, strength=1.0, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(domains, strength), size=runs)


def rms(errors):
    return float(np.sqrt(np.mean(np.square(errors))))


def bent(W):
    """A loss that no law of the list has: it turns at 30% of the first domain."""
    return 3 + 2 * (W[:, 0] - 0.3) ** 2 + 0.3 * W[:, 1]


# --- Gaussian process


@pytest.mark.parametrize("features", ["log", "sqrt"])
def test_the_evidence_is_scikit_learns_and_its_slopes_are_exact(features):
    W = draw(30)
    y = (bent(W) - bent(W).mean()) / bent(W).std()
    evidence = Evidence(Features(features), W, y, amplitude=4.0, noise=0.03)
    for seed in range(3):
        z = 0.5 * np.random.default_rng(seed).standard_normal(evidence.spread.shape[1])
        value, slopes = evidence(z)
        hyper = evidence.hyper(z)
        kernel = ConstantKernel(hyper.amplitude) * Matern(hyper.length, nu=2.5) + WhiteKernel(
            hyper.noise + JITTER * hyper.amplitude
        )
        theirs = gaussian_process.GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None)
        theirs.fit(Features(features).of(W, hyper.offset), y)
        constant = 0.5 * len(W) * np.log(2 * np.pi)
        assert value - 0.5 * z @ z == pytest.approx(-theirs.log_marginal_likelihood_value_ - constant, rel=1e-6)
        for k in range(len(z)):
            step = 1e-5 * np.eye(len(z))[k]
            numeric = (evidence(z + step)[0] - evidence(z - step)[0]) / 2e-5
            assert slopes[k] == pytest.approx(numeric, rel=1e-4, abs=1e-4)  # what central differences are good for


def test_predictions_are_scikit_learns_at_the_same_hyperparameters():
    W, at = draw(30), draw(8, seed=1)
    fitted = GaussianProcessRegressor("sqrt").fit(W, bent(W))
    hyper = fitted.hyper_[0]
    kernel = ConstantKernel(hyper.amplitude) * Matern(hyper.length, nu=2.5) + WhiteKernel(hyper.noise)
    theirs = gaussian_process.GaussianProcessRegressor(
        kernel, alpha=JITTER * hyper.amplitude, optimizer=None, normalize_y=True
    )
    features, order = Features("sqrt"), fitted.order_
    theirs.fit(features.of(W[:, order], hyper.offset), bent(W))
    # a stiff system of 30 runs: a few digits are lost either way
    assert fitted.predict(at) == pytest.approx(theirs.predict(features.of(at[:, order], hyper.offset)), rel=1e-6)


def test_a_domain_that_does_not_matter_gets_the_longest_length():
    W = draw(80)
    fitted = GaussianProcessRegressor().fit(W, 3 + 1 / (0.3 + np.sqrt(W[:, 0])))
    assert fitted.order_[fitted.hyper_[0].length.argmin()] == 0 and fitted.converged_.all()


def test_a_process_learns_what_no_law_says():
    W, at = draw(60), draw(40, seed=1)
    law, process = (kind.fit(W, bent(W)) for kind in (LawRegressor(random_state=0), GaussianProcessRegressor()))
    assert rms(process.predict(at) - bent(at)) < 0.5 * rms(law.predict(at) - bent(at)) + 1e-6
    assert rms(process.predict(at) - bent(at)) < 0.1 * bent(at).std()


def test_of_many_runs_a_random_part_is_fitted():
    W = draw(60)
    Y = np.column_stack([bent(W), np.where(np.arange(60) == 17, 3.0, np.nan)])
    fitted = GaussianProcessRegressor(max_runs=30, random_state=1).fit(W, Y)
    assert 30 <= len(fitted.runs_) <= 31  # and the one run that knows the second target
    assert fitted.predict(W)[:, 1] == pytest.approx(3.0)
    assert rms(fitted.predict(W)[:, 0] - bent(W)) < 0.2 * bent(W).std()


def test_repeats_and_equal_losses_are_no_trouble():
    W = np.repeat(draw(5), 6, axis=0)
    assert np.isfinite(GaussianProcessRegressor().fit(W, bent(W)).predict(W)).all()
    assert GaussianProcessRegressor().fit(W, np.full(30, 2.5)).predict(W) == pytest.approx(2.5)


def test_unknown_features_are_named_with_the_choice():
    with pytest.raises(ValueError, match="log or sqrt"):
        GaussianProcessRegressor("cube").fit(draw(), bent(draw()))


# --- Scheffe's polynomial


def test_scheffe_finds_a_quadratic():
    W, at = draw(120), draw(40, seed=1)
    fitted = ScheffeRegressor(random_state=0).fit(W, bent(W))
    assert rms(fitted.predict(at) - bent(at)) < 0.05 * bent(at).std()  # the lasso's pull is what is left


def test_scheffe_drops_terms_that_say_nothing():
    W = draw(60, 10)
    fitted = ScheffeRegressor(random_state=0).fit(W, 3 - W[:, 0] + 0.01 * np.random.default_rng(0).standard_normal(60))
    assert (fitted.coef_ == 0).mean() > 0.5
    kept = fitted.order_[np.abs(fitted.coef_[0, :10]).argmax()]
    assert kept == 0


def test_scheffe_says_whether_its_descent_got_through_and_nothing_else():
    W = draw(40, 30, strength=0.2)
    assert ScheffeRegressor(random_state=0).fit(W, bent(W)).converged_.dtype == bool  # warnings would fail this test


# --- made of predictors


def test_a_process_on_residuals_finds_what_its_base_leaves():
    W, at = draw(60), draw(40, seed=1)
    base, both = (kind.fit(W, bent(W)) for kind in (RegMixLinearRegressor(), ResidualProcessRegressor("regmix-linear")))
    assert rms(both.predict(at) - bent(at)) < 0.3 * rms(base.predict(at) - bent(at))


def test_a_process_on_residuals_does_not_hurt_a_law_that_is_right():
    W, at = draw(60), draw(200, seed=1)
    truth = 2 + np.exp(W @ [0.1, -0.5, 0.7, 0.2])
    law, both = (
        kind.fit(W, truth + 0.05 * np.random.default_rng(0).standard_normal(60))
        for kind in (
            LawRegressor("exponential-mixing", random_state=0),
            ResidualProcessRegressor("exponential-mixing", random_state=0),
        )
    )
    at_truth = 2 + np.exp(at @ [0.1, -0.5, 0.7, 0.2])
    assert rms(both.predict(at) - at_truth) < rms(law.predict(at) - at_truth) + 0.1 * 0.05  # a tenth of the noise


def test_an_ensemble_is_the_mean_of_its_members():
    W = draw()
    made = EnsembleRegressor(("regmix-linear", "exponential-mixing"), random_state=0).fit(W, bent(W))
    parts = [member.predict(W[:, made.order_])[:, 0] for member in made.estimators_]
    np.testing.assert_allclose(made.predict(W), np.mean(parts, axis=0), rtol=1e-12)
    assert (made.weights_ == 0.5).all()


def test_held_out_weights_prefer_the_member_that_predicts():
    W, at = draw(60), draw(40, seed=1)
    made, equal = (
        EnsembleRegressor(("regmix-linear", "gp-sqrt"), weights=weights, random_state=0).fit(W, bent(W))
        for weights in ("held-out", "equal")
    )
    assert made.weights_[0, 1] > 0.8 and made.weights_.sum() == pytest.approx(1)
    assert rms(made.predict(at) - bent(at)) < 0.5 * rms(equal.predict(at) - bent(at))


def test_held_out_weights_need_no_loss_in_every_fold():
    W = draw(12)
    Y = np.column_stack([bent(W), np.where(np.arange(12) == 3, 3.0, np.nan)])
    made = EnsembleRegressor(("regmix-linear", "exponential-mixing"), weights="held-out", random_state=0).fit(W, Y)
    assert made.weights_[1] == pytest.approx(0.5) and np.isfinite(made.predict(W)).all()
    one_mixture = np.repeat(W[:1], 4, axis=0)
    assert (made.fit(one_mixture, np.ones(4)).weights_ == 0.5).all()


def test_best_weights_are_shares():
    rng = np.random.default_rng(0)
    truth = rng.standard_normal(200)
    weights = best_weights(np.column_stack([truth, rng.standard_normal(200), -truth]), truth)
    assert (weights >= 0).all() and weights.sum() == pytest.approx(1) and weights[0] > 0.9
    assert best_weights(np.zeros((5, 2)), np.zeros(5)) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("members", "sloped"),
    [(("gp-log", "scheffe"), True), (("gp-log", "regmix-lightgbm"), False), (("ensemble", "regmix-linear"), False)],
)
def test_an_ensemble_has_a_gradient_if_all_its_estimators_have(members, sloped):
    assert hasattr(EnsembleRegressor(members), "gradient") == sloped
    assert hasattr(ResidualProcessRegressor(members[1]), "gradient") == sloped


def test_estimators_that_see_epochs_are_given_the_pools():
    W = draw()
    unique = [0.02, None, 0.3, 1.0]
    alone = PREDICTORS["effective-data"](0).set_params(unique=unique).fit(W, bent(W))
    for blend in (
        EnsembleRegressor(("effective-data",), unique=unique, random_state=0),
        ResidualProcessRegressor("effective-data", unique=unique, random_state=0),
    ):
        law = blend.fit(W, bent(W)).estimators_[0]
        np.testing.assert_allclose(law.predict(W[:, blend.order_])[:, 0], alone.predict(W), atol=1e-3)
        stored = type(blend).from_dict(blend.to_dict())
        np.testing.assert_array_equal(stored.predict(W), blend.predict(W))


def test_unknown_estimators_and_weights_are_named_with_the_choice():
    W = draw()
    with pytest.raises(ValueError, match="gp-log"):
        EnsembleRegressor(("effective-data", "no-such")).fit(W, bent(W))
    with pytest.raises(ValueError, match="held-out"):
        EnsembleRegressor(weights="best").fit(W, bent(W))
