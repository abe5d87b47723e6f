"""One contract for every predictor."""

import json
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from regressors import ESTIMATORS, LAWS, PREDICTORS, LawRegressor, RegMixLightGBM, from_dict
from regressors.laws import make_effective_data

every_predictor = pytest.mark.parametrize("name", PREDICTORS)


def toy_runs(*, runs=40, domains=4, targets=3, seed=0, noise=0.005):
    """Mixtures with zeros and smooth losses; target k likes domain k. nats/token."""
    rng = np.random.default_rng(seed)
    W = rng.dirichlet(np.full(domains, 0.7), size=runs).round(3)
    own = W[:, np.arange(targets) % domains]
    return W, 3 + 0.8 / (0.5 + own**0.5) + noise * rng.standard_normal((runs, targets))


@parametrize_with_checks([factory(0) for factory in PREDICTORS.values()])
def test_scikit_learn_accepts_every_predictor(estimator, check):
    check(estimator)


def test_importing_the_package_loads_no_heavy_library():
    heavy = "torch", "sklearn", "lightgbm", "scipy", "pandas"
    code = f"import sys, regressors; print([m for m in {heavy} if m in sys.modules], len(regressors.PREDICTORS))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == f"[] {len(PREDICTORS)}"


@every_predictor
def test_predictions_have_the_shape_of_the_losses(name):
    W, Y = toy_runs()
    assert PREDICTORS[name](0).fit(W, Y).predict(W[:7]).shape == (7, 3)
    assert PREDICTORS[name](0).fit(W, Y[:, :1]).predict(W[:7]).shape == (7, 1)
    assert PREDICTORS[name](0).fit(W, Y[:, 0]).predict(W[:7]).shape == (7,)


@every_predictor
def test_unseen_mixtures_are_ranked_well(name):
    W, Y = toy_runs(runs=100)
    predicted = PREDICTORS[name](0).fit(W[:60], Y[:60]).predict(W[60:])
    for k in range(Y.shape[1]):
        assert np.corrcoef(predicted[:, k], Y[60:, k])[0, 1] > 0.75  # a straight line reaches .82, the others .97


@every_predictor
@pytest.mark.parametrize("domains", [2, 100])
def test_two_to_a_hundred_domains_are_fitted(name, domains):
    W, Y = toy_runs(domains=domains, runs=24, targets=1)
    W[:, -1] = 0  # a domain that no run has seen
    predicted = PREDICTORS[name](0).fit(W, Y).predict(np.eye(domains))
    assert predicted.shape == (domains, 1) and np.isfinite(predicted).all()


@every_predictor
def test_the_same_seed_gives_the_same_fit(name):
    W, Y = toy_runs()
    first, second = (PREDICTORS[name](7).fit(W, Y).predict(W) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@every_predictor
def test_permuting_domains_permutes_the_fit_and_nothing_else(name):
    W, Y = toy_runs(domains=6)
    shuffle = np.random.default_rng(1).permutation(6)
    as_is, permuted = PREDICTORS[name](0).fit(W, Y), PREDICTORS[name](0).fit(W[:, shuffle], Y)
    points = np.random.default_rng(2).dirichlet(np.ones(6), size=20)
    # exactly: columns are put in an order of their own before anything is summed
    np.testing.assert_array_equal(permuted.predict(points[:, shuffle]), as_is.predict(points))


@every_predictor
def test_a_missing_loss_costs_only_its_own_target_that_run(name):
    W, Y = toy_runs()
    holed = Y.copy()
    holed[3, 1] = np.nan
    both, others = PREDICTORS[name](0).fit(W, holed), np.delete(np.arange(len(W)), 3)
    alone = PREDICTORS[name](0).fit(W[others], Y[others, 1])
    # optima are found to about 1e-7 of the objective, which leaves losses 1e-4 nats/token at the most
    np.testing.assert_allclose(both.predict(W)[:, 1], alone.predict(W), atol=1e-4)
    np.testing.assert_allclose(both.predict(W)[:, 0], PREDICTORS[name](0).fit(W, Y).predict(W)[:, 0], atol=1e-4)


@every_predictor
def test_a_stored_fit_predicts_the_same(name):
    W, Y = toy_runs()
    for losses in (Y, Y[:, 0]):
        fitted = PREDICTORS[name](3).fit(W, losses)
        rebuilt = from_dict(json.loads(json.dumps(fitted.to_dict(), allow_nan=False)))
        np.testing.assert_array_equal(rebuilt.predict(W), fitted.predict(W))  # JSON keeps every bit of a float
        assert rebuilt.get_params() == fitted.get_params()


@every_predictor
def test_bad_input_is_refused(name):
    W, Y = toy_runs()
    with pytest.raises(ValueError, match="Negative"):
        PREDICTORS[name](0).fit(W - 0.1, Y)
    with pytest.raises(ValueError, match=r"column\(s\) \[2\]"):
        PREDICTORS[name](0).fit(W, np.where([False, False, True], np.nan, Y))
    with pytest.raises(ValueError, match="2 runs"):
        PREDICTORS[name](0).fit(W[:1], Y[:1])
    with pytest.raises(NotFittedError):
        PREDICTORS[name](0).to_dict()


def test_unknown_or_broken_stored_fits_are_refused():
    with pytest.raises(ValueError, match="choose from"):
        from_dict({"estimator": "os.system"})
    with pytest.raises(ValueError, match="lacks"):
        from_dict({"estimator": "RegMixLinear"})
    W, Y = toy_runs()
    stored = PREDICTORS["regmix-linear"](0).fit(W, Y).to_dict()
    with pytest.raises(ValueError, match="RegMixLinear"):
        RegMixLightGBM.from_dict(stored)
    assert stored["estimator"] in ESTIMATORS


def test_an_unknown_law_is_named_with_the_choice():
    W, Y = toy_runs()
    with pytest.raises(ValueError, match="exponential-mixing"):
        LawRegressor("no-such-law").fit(W, Y)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("flat", [True, False])
def test_the_gradient_is_the_slope_of_the_prediction(law, flat):
    W, Y = toy_runs()
    fitted = LawRegressor(law, random_state=0).fit(W, Y[:, 0] if flat else Y)
    points = np.random.default_rng(1).dirichlet(np.ones(4), size=5)
    slopes = fitted.gradient(points)
    for k in range(4):
        step = 1e-6 * np.eye(4)[k]
        numeric = (fitted.predict(points + step) - fitted.predict(points - step)) / 2e-6
        # central differences of losses near 4 at steps of 1e-6 are good to about 1e-9
        np.testing.assert_allclose(slopes[..., k], numeric, rtol=1e-5, atol=1e-7)


def test_a_law_of_ones_own_fits_but_is_not_stored_as_code():
    W, Y = toy_runs()
    two = LawRegressor(make_effective_data(skills=2), starts=1, random_state=0)
    assert np.isfinite(clone(two).fit(W, Y).predict(W)).all()
    with pytest.raises(ValueError, match="code"):
        two.fit(W, Y).to_dict()


def test_a_law_passed_as_a_record_is_stored_by_name():
    W, Y = toy_runs()
    fitted = clone(LawRegressor(LAWS["effective-data"], starts=1, random_state=0)).fit(W, Y)
    assert fitted.to_dict()["options"]["law"] == "effective-data"
