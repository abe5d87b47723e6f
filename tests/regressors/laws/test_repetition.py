"""Laws of repeated text: their formulas, their published constants, and fits of them with values frozen."""

import subprocess
import sys
from math import inf

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regressors.estimators.scaling import ScalingRegressor
from regressors.fitting.fixed_parameters import freeze
from regressors.fitting.solve import build_posterior
from regressors.fitting.transforms import complex_step
from regressors.laws.overfitting import FORMS
from regressors.laws.presets import PRESETS
from regressors.laws.repetition import (
    BOUNDED_PENALTY,
    BRYANT_LIU,
    DATA_CONSTRAINED,
    DATA_DECAY,
    OVERFIT_DECAY,
    OVERFIT_PENALTY,
    REPETITION_LAWS,
    best_size,
    tied,
)
from regressors.laws.scaling import CHINCHILLA

EVERY = {**REPETITION_LAWS, **{name: law for name, law in FORMS.items() if name.startswith("delayed")}}
every_law = pytest.mark.parametrize("law", EVERY.values(), ids=EVERY)
PUBLISHED = PRESETS["data-constrained"]
FROZEN = {name: value for name, value in PUBLISHED.values.items() if not name.startswith("r_star")}
TYPICAL = {
    "E": 2.0,
    "A": 0.6,
    "B": 0.4,
    "alpha": 0.36,
    "beta": 0.42,
    "r_star_d": 20.0,
    "r_star_n": 6.0,
    "P": 0.01,
    "delta": 0.6,
    "kappa": 1.2,
    "G": 30.0,
    "C": 0.002,
    "gamma": 0.3,
    "eta": 1.0,
    "onset": 20.0,
    "sharpness": 2.0,
    "Q": 5.0,
    "rho": 0.2,
}
BOUNDED = {"A": 0.02, "B": 0.014, "P": 0.0004}  # of what a bounded law adds up


def values_of(law, batch=()):
    """Typical values for counts around 1."""
    special = BOUNDED if "G" in [p.name for p in law.params] else {}
    return {p.name: np.full(batch, (TYPICAL | special)[p.name]) for p in law.params}


def counts(runs=40, seed=0, epochs=40.0):
    """Parameters, tokens and unique tokens around 1, a third of the runs without repetition."""
    rng = np.random.default_rng(seed)
    params, unique = np.exp(rng.uniform(-2, 2, (2, runs)))
    passes = np.exp(rng.uniform(-0.7, np.log(epochs), runs))
    return params, unique * passes, unique


def table(shared_data):
    runs = pd.read_csv(shared_data / "repetition" / "datablations_182.csv")
    return runs[["N", "D", "U"]].to_numpy(float), runs["loss"].to_numpy(float)


def test_the_published_constants_give_the_published_loss():
    assert PUBLISHED.loss(6.34e9, 242e9, 25e9) == pytest.approx(2.2256440890, abs=5e-10)


def test_the_published_size_for_unique_tokens_is_a_share_of_them():
    A, B, alpha, beta = (np.array(PUBLISHED.values[name]) for name in ("A", "B", "alpha", "beta"))
    share = best_size(np.array([1e9, 25e9]), A, B, alpha, beta) / np.array([1e9, 25e9])
    assert share == pytest.approx([0.051, 0.051], abs=5e-4)  # as printed with the paper's own digits


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_knows_where_it_is_from_and_takes_counts_of_any_common_shape(name):
    preset = PRESETS[name]
    assert "arXiv:" in preset.source and preset.note
    grid = preset.loss(np.array([[1e8], [1e9]]), np.array([1e9, 1e10, 1e11]), 1e10)
    assert grid.shape == (2, 3) and grid[1, 2] == preset.loss(1e9, 1e11, 1e10)
    assert preset.loss(1e9, 1e10) == preset.loss(1e9, 1e10, inf)  # nothing is repeated
    assert (np.diff(grid, axis=0) < 0).all() and (np.diff(grid, axis=1) < 0).all()


def test_presets_need_numpy_alone():
    heavy = ("scipy", "sklearn", "pandas", "torch")
    code = f"import sys, regressors.laws.presets; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@pytest.mark.parametrize("which", [0, 1, 2])
def test_presets_have_exact_derivatives_by_complex_counts(which):
    at = [3e9, 9e10, 1e10]
    moved = [value + (value * 1e-20j if k == which else 0) for k, value in enumerate(at)]
    up, down = ([v * (1 + s * (k == which)) for k, v in enumerate(at)] for s in (1e-6, -1e-6))
    slope = (PUBLISHED.loss(*up) - PUBLISHED.loss(*down)) / 2e-6
    assert PUBLISHED.loss(*moved).imag / 1e-20 == pytest.approx(slope, rel=1e-6)


@every_law
def test_without_repetition_unique_tokens_say_nothing(law):
    params, tokens, _ = counts()
    once = law.formula(params, tokens, tokens, **values_of(law))
    more = law.formula(params, tokens, 7 * tokens, **values_of(law))
    np.testing.assert_array_equal(once, more)


@pytest.mark.parametrize(
    "law", [DATA_DECAY, OVERFIT_PENALTY, OVERFIT_DECAY, *list(FORMS.values())[2:]], ids=lambda x: x.name
)
def test_additive_laws_are_chinchilla_without_repetition(law):
    params, tokens, _ = counts()
    base = CHINCHILLA.formula(params, tokens, **values_of(CHINCHILLA))
    np.testing.assert_allclose(law.formula(params, tokens, tokens, **values_of(law)), base, rtol=1e-14)


def test_the_data_constrained_law_is_chinchilla_for_one_epoch_of_models_that_are_not_too_large():
    params, tokens, _ = counts()
    values = values_of(DATA_CONSTRAINED)
    best = best_size(tokens, *(values[name] for name in ("A", "B", "alpha", "beta")))
    base = CHINCHILLA.formula(params, tokens, **values_of(CHINCHILLA))
    loss = DATA_CONSTRAINED.formula(params, tokens, tokens, **values)
    fits = params <= best
    assert fits.any() and (~fits).any()
    np.testing.assert_allclose(loss[fits], base[fits], rtol=1e-14)
    assert (loss[~fits] > base[~fits]).all()


def test_repeats_are_worth_nothing_as_r_star_goes_to_0_and_everything_as_it_grows():
    params, tokens, unique = counts()
    values = values_of(DATA_DECAY)
    base = values_of(CHINCHILLA)
    none = DATA_DECAY.formula(params, tokens, unique, **values | {"r_star_d": np.array(1e-9)})
    np.testing.assert_allclose(none, CHINCHILLA.formula(params, np.minimum(tokens, unique), **base), rtol=1e-8)
    whole = DATA_DECAY.formula(params, tokens, unique, **values | {"r_star_d": np.array(1e9)})
    np.testing.assert_allclose(whole, CHINCHILLA.formula(params, tokens, **base), rtol=1e-7)


def test_bounded_laws_stay_within_their_bounds_and_are_additive_far_below_them():
    params, tokens, unique = counts(epochs=1e4)
    for law in (BOUNDED_PENALTY, BRYANT_LIU):
        values = values_of(law)
        wild = law.formula(1e6 * params, tokens, unique / 1e6, **values)
        assert wild.max() > values["E"] + 0.7 * values["G"]
        assert ((wild > values["E"]) & (wild <= values["E"] + values["G"])).all()
    values = values_of(BOUNDED_PENALTY)
    far = {name: value / 1e6 if name in BOUNDED else value for name, value in values.items()} | {"G": np.array(30e6)}
    plain = {name: value * 30 if name in BOUNDED else value for name, value in values.items() if name != "G"}
    bounded = BOUNDED_PENALTY.formula(params, tokens, unique, **far)
    np.testing.assert_allclose(bounded, OVERFIT_PENALTY.formula(params, tokens, unique, **plain), rtol=1e-4)


def test_late_repeats_harm_by_their_log_and_never_beyond_the_most_that_overfitting_adds():
    law = FORMS["delayed-penalty"]
    epochs = 1 + np.array([0.5, 2.0, 2e3, 2e4, 2e5])
    values = values_of(law) | {"Q": np.array(1e9)}
    ones = np.ones(5)
    harm = law.formula(ones, epochs, ones, **values) - DATA_DECAY.formula(ones, epochs, ones, **values_of(DATA_DECAY))
    assert harm[0] < harm[1] < 0.01 * harm[2]  # the onset is at 20
    assert harm[3] - harm[2] == pytest.approx(TYPICAL["P"] * np.log(10), rel=1e-3)
    assert harm[4] - harm[3] == pytest.approx(TYPICAL["P"] * np.log(10), rel=1e-3)
    most = law.formula(1e9 * ones, epochs, ones, **values_of(law)) - TYPICAL["E"]
    assert (most < TYPICAL["Q"] + TYPICAL["B"]).all()


@every_law
def test_values_at_units_and_as_published_give_one_loss(law):
    params, tokens, unique = counts()
    units = {"params": 3e8, "tokens": 2e10, "unique": 2e10}
    values = values_of(law)
    scaled = law.formula(params, tokens, unique, **values)
    natural = law.formula(params * 3e8, tokens * 2e10, unique * 2e10, **law.published(values, units))
    np.testing.assert_allclose(scaled, natural, rtol=1e-12)


@every_law
@given(order=st.permutations(range(12)))
def test_runs_do_not_touch_each_other(law, order):
    given_counts = [c[:12] for c in counts()]
    loss = law.formula(*given_counts, **values_of(law))
    np.testing.assert_array_equal(law.formula(*(c[order] for c in given_counts), **values_of(law)), loss[order])


@every_law
def test_values_may_have_axes_of_their_own(law):
    params, tokens, unique = counts()
    whole = law.formula(params, tokens, unique, **values_of(law, batch=(2, 3)))
    assert whole.shape == (2, 3, len(params))
    np.testing.assert_array_equal(whole[1, 2], law.formula(params, tokens, unique, **values_of(law)))


@pytest.mark.parametrize("law", [law for law in FORMS.values() if law.jacobian], ids=lambda law: law.name)
def test_hand_written_derivatives_equal_the_complex_step(law):
    loss, by_hand = law.jacobian(*counts(), **values_of(law, batch=(2,)))
    same, exact = complex_step(law.formula)(*counts(), **values_of(law, batch=(2,)))
    np.testing.assert_array_equal(loss, same)
    assert by_hand.keys() == exact.keys()
    for name in exact:
        # both are exact but for rounding
        np.testing.assert_allclose(by_hand[name], exact[name], rtol=1e-9, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("which", [0, 1, 2])
@every_law
def test_counts_may_be_complex(law, which):
    given_counts = [c.astype(complex) for c in counts()]
    given_counts[which] += 1e-20j * given_counts[which].real
    up, down = [list(counts()) for _ in range(2)]
    up[which], down[which] = up[which] * (1 + 1e-6), down[which] * (1 - 1e-6)
    slope = (law.formula(*up, **values_of(law)) - law.formula(*down, **values_of(law))) / 2e-6
    exact = law.formula(*given_counts, **values_of(law)).imag / 1e-20
    np.testing.assert_allclose(exact, slope, rtol=1e-4, atol=1e-8)  # differences of 1e-6 leave so many digits


@pytest.mark.parametrize("law", REPETITION_LAWS.values(), ids=REPETITION_LAWS)
def test_a_fitted_law_predicts_unseen_runs_of_its_own_making(law):
    params, tokens, unique = counts(runs=120)
    X = np.column_stack([params * 1e9, tokens * 1e10, unique * 1e10])
    loss = law.formula(params, tokens, unique, **values_of(law))
    model = ScalingRegressor(law).fit(X[:80], loss[:80])
    # a hundredth of a percent: where the values are told apart only by the last digits, losses still agree
    np.testing.assert_allclose(model.predict(X[80:]), loss[80:], rtol=1e-4)
    assert model.converged_.all()


def test_tied_laws_have_one_exponent():
    law = tied(CHINCHILLA)
    values = {name: value for name, value in values_of(CHINCHILLA).items() if name != "beta"}
    params, tokens, _ = counts()
    same = CHINCHILLA.formula(params, tokens, **values, beta=values["alpha"])
    np.testing.assert_array_equal(law.formula(params, tokens, **values), same)
    assert "beta" not in [p.name for p in law.params]


def test_with_published_values_frozen_the_fit_reaches_below_the_published_pair(shared_data):
    X, loss = table(shared_data)
    size = np.abs(np.log(PUBLISHED.loss(*X.T) / loss))
    objective = np.where(size < 1e-3, size**2 / 2, 1e-3 * (size - 5e-4)).sum()
    assert objective == pytest.approx(0.0158259, abs=5e-8)
    model = ScalingRegressor("data-constrained", frozen=FROZEN).fit(X, loss)
    assert model.objective_[0] == pytest.approx(0.0158047, abs=5e-8)
    assert {name: model.values_[name][0] for name in FROZEN} == pytest.approx(FROZEN)
    assert model.values_["r_star_d"][0] > 5 * PUBLISHED.values["r_star_d"]  # far from the published one, hardly better
    found = model.profile("r_star_d", level=0.95)
    assert 5 < found.low[0] < PUBLISHED.values["r_star_d"] and found.high[0] > 1000


def test_a_profile_without_an_end_says_so_however_far_out_the_optimum_is(shared_data):
    X, loss = table(shared_data)
    model = ScalingRegressor("overfit-decay").fit(X, loss)
    found = model.profile("r_star_d")  # the penalty explains what decay would
    assert found.open_high[0] and found.high[0] == inf
    assert not found.open_low[0] and 100 < found.low[0] < model.values_["r_star_d"][0]


def test_both_stages_of_the_published_fit_can_be_had_from_the_runs(shared_data):
    X, loss = table(shared_data)
    once = X[:, 1] <= X[:, 2]
    first = ScalingRegressor(tied(CHINCHILLA)).fit(X[once, :2], loss[once])
    frozen = {name: float(value[0]) for name, value in first.values_.items()}
    model = ScalingRegressor("data-constrained-tied", frozen=frozen).fit(X, loss)
    assert model.values_["E"][0] == frozen["E"] and model.values_["alpha"][0] == frozen["alpha"]
    whole = ScalingRegressor("data-constrained-tied").fit(X, loss)
    assert whole.objective_[0] < model.objective_[0] < 0.0158047


def test_an_amplitude_frozen_at_1_stands_while_its_exponent_is_fitted():
    params, tokens, unique = counts(runs=80)
    units = {"params": 1e9, "tokens": 1e10, "unique": 1e10}
    natural = DATA_DECAY.published(values_of(DATA_DECAY), units)
    X = np.column_stack([params * 1e9, tokens * 1e10, unique * 1e10])
    loss = DATA_DECAY.formula(*X.T, **natural)
    model = ScalingRegressor("data-decay", frozen={"A": float(natural["A"]), "E": 2.0}).fit(X, loss)
    assert model.values_["A"][0] == pytest.approx(natural["A"])
    assert model.values_["alpha"][0] == pytest.approx(0.36, rel=1e-4)
    assert model.values_["r_star_d"][0] == pytest.approx(20, rel=1e-3)
    assert {p.name for p in model._posterior.law.params} == {"B", "alpha", "beta", "r_star_d"}


def test_frozen_values_must_be_the_laws_own_and_leave_something_to_fit():
    units = {"params": 1.0, "tokens": 1.0, "unique": 1.0}
    with pytest.raises(ValueError, match="no parameter gamma to freeze"):
        freeze(DATA_DECAY, {"gamma": 1.0}, units)
    with pytest.raises(ValueError, match="must lie above 0"):
        freeze(DATA_DECAY, {"A": -1.0}, units)
    with pytest.raises(ValueError, match="nothing to fit"):
        freeze(CHINCHILLA, dict.fromkeys(("E", "A", "B", "alpha", "beta"), 1.0), units)
    assert freeze(DATA_DECAY, {}, units) is DATA_DECAY


def test_unique_tokens_are_measured_as_tokens_are():
    params, tokens, unique = counts()
    inputs = {"params": params, "tokens": tokens, "unique": unique}
    _, units = build_posterior(DATA_DECAY, inputs, np.full((len(params), 1), 3.0) + params[:, None])
    assert units["unique"] == units["tokens"] == pytest.approx(np.exp(np.log(tokens).mean()))
