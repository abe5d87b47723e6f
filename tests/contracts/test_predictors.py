"""One contract for every predictor."""

import ast
import inspect
import json
import pickle
import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

import mixopt
import regressors
from regressors import (
    DEFAULT,
    ESTIMATORS,
    LAWS,
    PREDICTORS,
    SEES_EPOCHS,
    SIMPLICITY,
    EnsembleRegressor,
    EpochLawRegressor,
    GaussianProcessRegressor,
    LawRegressor,
    RegMixLightGBMRegressor,
    RegMixLinearRegressor,
    ResidualProcessRegressor,
    ScheffeRegressor,
    from_dict,
)
from regressors.estimators.effective_data import EffectiveDataRegressor
from regressors.laws import make_effective_data
from regressors.registry import load

every_predictor = pytest.mark.parametrize("name", PREDICTORS)
# the cheapest of each class
OF_EACH_CLASS = (
    LawRegressor("exponential-mixing", random_state=0),
    EpochLawRegressor(n_starts=1, random_state=0),
    EffectiveDataRegressor(skills=1, random_state=0),
    ScheffeRegressor(cv=2, random_state=0),
    GaussianProcessRegressor(random_state=0),
    ResidualProcessRegressor("regmix-linear", random_state=0),
    EnsembleRegressor(("exponential-mixing", "regmix-linear"), random_state=0),
    RegMixLinearRegressor(),
    RegMixLightGBMRegressor(n_estimators=20, random_state=0),
)
SLOW = (
    "effective-data-epochs",
    "effective-data-gp",
    "ensemble",
    "stacked",
)  # on many domains; their parts are tested there


def quick(name, seed=0):
    """The predictor, with as little of what costs time as leaves its workings whole."""
    made = PREDICTORS[name](seed)
    cheap = {
        "n_starts": 1,
        "n_estimators": 200,
        "estimator": "exponential-mixing",
        "estimators": ("bimix", "gp-log"),
        "cv": 3,
    }
    return made.set_params(**{key: value for key, value in cheap.items() if key in made.get_params()})


def toy_runs(*, runs=40, domains=4, targets=3, seed=0, noise=0.005):
    """Mixtures with zeros and smooth losses; target k likes domain k. nats/token."""
    rng = np.random.default_rng(seed)
    W = rng.dirichlet(np.full(domains, 0.7), size=runs).round(3)
    own = W[:, np.arange(targets) % domains]
    return W, 3 + 0.8 / (0.5 + own**0.5) + noise * rng.standard_normal((runs, targets))


@cache
def fitted(name, *, flat=False):
    W, Y = toy_runs()
    return quick(name).fit(W, Y[:, 0] if flat else Y)


@parametrize_with_checks(list(OF_EACH_CLASS))
def test_scikit_learn_accepts_every_class(estimator, check):
    check(estimator)


def test_no_class_is_left_out():
    with_files_of_their_own = {
        name for name in ESTIMATORS if name.startswith(("At", "Continual", "Joint", "Ladder", "Pool", "Rep"))
    }
    assert {estimator.stored_name for estimator in OF_EACH_CLASS} == set(ESTIMATORS) - with_files_of_their_own


def test_every_public_estimator_ends_in_regressor_and_is_restored_by_its_stored_name():
    for stored_name, place in ESTIMATORS.items():
        kind = load(place)
        if not stored_name.startswith("At"):  # an estimator at fixed inputs
            assert kind.__name__.endswith("Regressor") and kind.stored_name == stored_name
            assert getattr(regressors, kind.__name__) is kind


@pytest.mark.parametrize("package", [mixopt, regressors], ids=lambda package: package.__name__)
def test_old_names_import_with_a_warning(package):
    for old, new in regressors.RENAMED.items():
        with pytest.warns(DeprecationWarning, match=f"{old} is called {new} now"):
            assert getattr(package, old) is getattr(package, new)


@pytest.mark.parametrize("package", [mixopt, regressors], ids=lambda package: package.__name__)
def test_the_table_of_public_names_and_the_imports_for_type_checkers_agree(package):
    (block,) = (node for node in ast.parse(inspect.getsource(package)).body if isinstance(node, ast.If))
    imported = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        imported |= {name.asname or name.name: node.module for name in node.names}
    prefix = "regressors." if package is regressors else ""
    assert imported == {name: prefix + home for name, home in package.HOMES.items()}


def test_old_options_are_taken_with_a_warning():
    with pytest.warns(DeprecationWarning, match="the option starts is called n_starts now"):
        assert LawRegressor(starts=3).get_params()["n_starts"] == 3


def test_stored_options_keep_the_names_of_files_and_both_names_load():
    W, Y = toy_runs()
    stored = ScheffeRegressor(cv=3, random_state=0).fit(W, Y).to_dict()
    assert stored["estimator"] == "Scheffe" and stored["options"] == {"folds": 3, "random_state": 0}
    assert from_dict(stored).cv == from_dict(stored | {"options": {"cv": 3}}).cv == 3


@pytest.mark.slow
@parametrize_with_checks([factory(0) for factory in PREDICTORS.values()])
def test_scikit_learn_accepts_every_predictor(estimator, check):
    check(estimator)


def test_every_predictor_has_its_place_in_the_order_of_simplicity():
    assert sorted(SIMPLICITY) == sorted(PREDICTORS) and len(set(SIMPLICITY)) == len(SIMPLICITY)
    assert DEFAULT in PREDICTORS
    for name in SEES_EPOCHS:
        assert "unique" in PREDICTORS[name](0).get_params()


def test_importing_the_package_loads_no_heavy_library():
    heavy = "torch", "sklearn", "lightgbm", "scipy", "pandas"
    code = f"import sys, regressors; print([m for m in {heavy} if m in sys.modules], len(regressors.PREDICTORS))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == f"[] {len(PREDICTORS)}"


@every_predictor
def test_predictions_have_the_shape_of_the_losses(name):
    W, Y = toy_runs()
    assert fitted(name).predict(W[:7]).shape == (7, 3)
    assert quick(name).fit(W, Y[:, :1]).predict(W[:7]).shape == (7, 1)
    assert fitted(name, flat=True).predict(W[:7]).shape == (7,)


@every_predictor
def test_unseen_mixtures_are_ranked_well(name):
    W, Y = toy_runs(runs=100)
    predicted = quick(name).fit(W[:60], Y[:60]).predict(W[60:])
    for k in range(Y.shape[1]):
        assert np.corrcoef(predicted[:, k], Y[60:, k])[0, 1] > 0.75  # a straight line reaches .82, the others .97


@pytest.mark.parametrize(
    ("name", "domains"),
    [(name, 2) for name in PREDICTORS]
    + [pytest.param(name, 100, marks=[pytest.mark.slow] if name in SLOW else []) for name in PREDICTORS],
)
def test_two_to_a_hundred_domains_are_fitted(name, domains):
    W, Y = toy_runs(domains=domains, runs=24, targets=1)
    W[:, -1] = 0  # a domain that no run has seen
    predicted = quick(name).fit(W, Y).predict(np.eye(domains))
    assert predicted.shape == (domains, 1) and np.isfinite(predicted).all()


@every_predictor
def test_the_same_seed_gives_the_same_fit(name):
    W, Y = toy_runs()
    np.testing.assert_array_equal(quick(name).fit(W, Y).predict(W), fitted(name).predict(W))


@every_predictor
def test_permuting_domains_permutes_the_fit_and_nothing_else(name):
    W, Y = toy_runs(domains=6)
    shuffle = np.random.default_rng(1).permutation(6)
    as_is, permuted = quick(name).fit(W, Y), quick(name).fit(W[:, shuffle], Y)
    points = np.random.default_rng(2).dirichlet(np.ones(6), size=20)
    # exactly: columns are put in an order of their own before anything is summed
    np.testing.assert_array_equal(permuted.predict(points[:, shuffle]), as_is.predict(points))


@pytest.mark.parametrize("name", [name for name in PREDICTORS if name != "stacked"])  # a run less, other inner folds
def test_a_missing_loss_costs_only_its_own_target_that_run(name, monkeypatch):
    # texts tell of each other's runs which went wrong; that apart, each is fitted by itself
    monkeypatch.setattr("regressors.fitting.solve.run_noise", lambda posterior, z: np.ones(posterior.rows.y.shape[1]))
    W, Y = toy_runs()
    holed = Y.copy()
    holed[3, 1] = np.nan
    both, others = quick(name).fit(W, holed), np.delete(np.arange(len(W)), 3)
    alone = quick(name).fit(W[others], Y[others, 1])
    # optima are found to about 1e-7 of the objective, which leaves losses 1e-4 nats/token at the most
    np.testing.assert_allclose(both.predict(W)[:, 1], alone.predict(W), atol=1e-4)
    np.testing.assert_allclose(both.predict(W)[:, 0], quick(name).fit(W, Y).predict(W)[:, 0], atol=1e-4)


@every_predictor
def test_a_stored_fit_predicts_the_same(name):
    W, _ = toy_runs()
    for kept in (fitted(name), fitted(name, flat=True)):
        rebuilt = from_dict(json.loads(json.dumps(kept.to_dict(), allow_nan=False)))
        np.testing.assert_array_equal(rebuilt.predict(W), kept.predict(W))  # JSON keeps every bit of a float
        assert rebuilt.get_params() == kept.get_params()


@every_predictor
def test_a_fit_survives_pickling(name):
    W, _ = toy_runs()
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(fitted(name))).predict(W), fitted(name).predict(W))


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
        RegMixLightGBMRegressor.from_dict(stored)
    assert stored["estimator"] in ESTIMATORS


def test_an_unknown_law_is_named_with_the_choice():
    W, Y = toy_runs()
    with pytest.raises(ValueError, match="exponential-mixing"):
        LawRegressor("no-such-law").fit(W, Y)


@pytest.mark.parametrize("name", [name for name in PREDICTORS if hasattr(PREDICTORS[name](0), "gradient")])
@pytest.mark.parametrize("flat", [True, False])
def test_the_gradient_is_the_slope_of_the_prediction(name, flat):
    kept = fitted(name, flat=flat)
    points = np.random.default_rng(1).dirichlet(np.ones(4), size=5)
    slopes = kept.gradient(points)
    for k in range(4):
        step = 1e-6 * np.eye(4)[k]
        numeric = (kept.predict(points + step) - kept.predict(points - step)) / 2e-6
        # central differences of losses near 4 at steps of 1e-6 are good to about 1e-9; a Gaussian process sums terms
        # that cancel, which costs it three digits
        np.testing.assert_allclose(slopes[..., k], numeric, rtol=1e-5, atol=1e-4 if hasattr(kept, "alpha_") else 1e-6)


@pytest.mark.parametrize("name", [name for name in PREDICTORS if hasattr(PREDICTORS[name](0), "gradient")])
def test_slopes_are_finite_where_weights_are_zero(name):
    assert np.isfinite(fitted(name).gradient(np.eye(4))).all()


def test_only_trees_and_straight_lines_have_no_gradient():
    without = {name for name in PREDICTORS if not hasattr(PREDICTORS[name](0), "gradient")}
    assert without == {"regmix-lightgbm", "regmix-linear"}


def test_a_law_that_sees_epochs_gets_passes_over_each_domains_text():
    W, Y = toy_runs()
    unique = [0.5, None, 0.1, 2.0]  # the second is as good as one run's tokens
    told = EpochLawRegressor(unique=unique, n_starts=1, random_state=0).fit(W, Y)
    by_hand = EpochLawRegressor(n_starts=1, random_state=0).fit(W / [0.5, 1.0, 0.1, 2.0] / 4, Y)
    np.testing.assert_allclose(told.predict(W), by_hand.predict(W / [0.5, 1.0, 0.1, 2.0] / 4), atol=1e-4)


def test_pools_are_permuted_with_their_domains():
    W, Y = toy_runs()
    unique, shuffle = np.array([0.5, 1.0, 0.1, 2.0]), [2, 0, 3, 1]
    for kind in (EpochLawRegressor, LawRegressor):
        as_is = kind(unique=unique.tolist(), n_starts=1, random_state=0).fit(W, Y)
        permuted = kind(unique=unique[shuffle].tolist(), n_starts=1, random_state=0).fit(W[:, shuffle], Y)
        np.testing.assert_array_equal(permuted.predict(W[:, shuffle]), as_is.predict(W))


def test_a_law_of_ones_own_fits_but_is_not_stored_as_code():
    W, Y = toy_runs()
    three = LawRegressor(make_effective_data(skills=3), n_starts=1, random_state=0)
    assert np.isfinite(clone(three).fit(W, Y).predict(W)).all()
    with pytest.raises(ValueError, match="code"):
        three.fit(W, Y).to_dict()


def test_a_law_passed_as_a_record_is_stored_by_name():
    W, Y = toy_runs()
    fitted = clone(LawRegressor(LAWS["effective-data"], n_starts=1, random_state=0)).fit(W, Y)
    assert fitted.to_dict()["options"]["law"] == "effective-data"
