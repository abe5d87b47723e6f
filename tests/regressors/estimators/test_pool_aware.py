"""Laws and predictors that see how often text is repeated, where pools differ from run to run."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from regressors import (
    LAWS,
    SEES_EPOCHS,
    SEES_POOLS,
    EffectiveDataRegressor,
    JointRegressor,
    LawRegressor,
    PoolRegressor,
    from_dict,
)
from regressors.estimators.joint import JOINT_LAWS
from regressors.evaluation.cross_validation import Auxiliary, cross_validate, repeated_holdout
from regressors.fitting.transforms import Space, complex_step
from regressors.law import Scale
from regressors.laws.effective_tokens import effective_shares, repetition_aware
from regressors.laws.epochs import EPOCH_AWARE, EPOCH_AWARE_POOLS
from regressors.laws.joint import BENT

W = np.array([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0], [0.0, 0.0, 1.0], [0.1, 0.8, 0.1]])
UNIQUE = np.array([[0.1, 2.0, 0.05], [0.02, np.inf, 0.3], [0.5, 0.5, 0.04], [0.1, 0.1, 0.1]])
SCALE = Scale(domains=3, low=np.array([2.0, 3.0]), mean=np.array([2.5, 3.2]), spread=np.array([0.2, 0.1]))
every_law = pytest.mark.parametrize("law", [*LAWS.values(), *JOINT_LAWS.values()], ids=lambda law: law.name)


def some_values(law, *, seed=0, targets=2):
    space = Space(law, SCALE)
    z = 0.3 * np.random.default_rng(seed).standard_normal((targets, space.size))
    return space.values(z, np.arange(targets))


def counts(law):
    """Parameters and tokens in units of a usual run's, where the law asks for them."""
    return [np.array([0.5, 1.0, 2.0, 1.0]), np.array([1.0, 0.3, 2.0, 1.5])] if "tokens" in law.inputs else []


@every_law
@pytest.mark.parametrize("per_domain", [False, True])
def test_derivatives_of_every_repetition_aware_law_equal_the_complex_step(law, per_domain):
    aware = repetition_aware(law, per_domain=per_domain, harm=True)
    inputs, values = [W, *counts(law), UNIQUE], some_values(aware)
    loss, slopes = aware.jacobian(*inputs, **values)
    exact_loss, exact = complex_step(aware.formula)(*inputs, **values)
    np.testing.assert_allclose(loss, exact_loss, rtol=1e-13)
    assert set(slopes) == set(exact) == {param.name for param in aware.params}
    for name in exact:
        # both are exact but for rounding; cancelling terms may cost a few digits
        np.testing.assert_allclose(slopes[name], exact[name], rtol=1e-9, atol=1e-11, err_msg=name)


@every_law
def test_unlimited_text_gives_the_law_itself(law):
    aware = repetition_aware(law, harm=True)
    values = some_values(aware)
    plain = {name: value for name, value in values.items() if name not in ("R", "harm", "power")}
    seen = aware.formula(W, *counts(law), np.full_like(W, np.inf), **values)
    # a share of a billionth counts as wasted at the least
    np.testing.assert_allclose(seen, law.formula(W, *counts(law), **plain), rtol=1e-8)


@every_law
def test_repetition_that_never_loses_its_worth_gives_the_law_itself(law):
    aware = repetition_aware(law)
    values = some_values(aware) | {"R": np.full(2, 1e12)}
    plain = {name: value for name, value in values.items() if name != "R"}
    seen = aware.formula(W, *counts(law), UNIQUE, **values)
    np.testing.assert_allclose(seen, law.formula(W, *counts(law), **plain), rtol=1e-7)


def test_a_joint_law_gets_the_effective_tokens_of_all_domains_in_place_of_tokens():
    law = JOINT_LAWS["joint-additive"]
    aware = repetition_aware(law)
    values, (params, tokens) = some_values(aware, targets=1), counts(law)
    seen = effective_shares(W, UNIQUE, float(values["R"][0]))
    plain = {name: value for name, value in values.items() if name != "R"}
    expected = law.formula(seen / seen.sum(axis=1, keepdims=True), params, tokens * seen.sum(axis=1), **plain)
    np.testing.assert_allclose(aware.formula(W, params, tokens, UNIQUE, **values), expected, rtol=1e-12)


def test_harm_grows_faster_than_what_is_wasted():
    law = repetition_aware(LAWS["exponential-mixing"], harm=True)
    values = some_values(law, targets=1) | {"R": np.array([4.0]), "harm": np.array([1.0]), "power": np.array([2.0])}
    none = values | {"harm": np.array([0.0])}
    unique = np.array([[0.02, np.inf, np.inf], [np.inf, 0.02, np.inf], [0.02, 0.02, np.inf]])
    w = np.array([[0.4, 0.4, 0.2]] * 3)
    one, other, both = (law.formula(w, unique, **values) - law.formula(w, unique, **none))[0]
    assert one == pytest.approx(other) and both == pytest.approx(4 * one)


@pytest.mark.parametrize("law", [LAWS["effective-data"], LAWS["epoch-aware"]], ids=lambda law: law.name)
def test_a_repetition_aware_law_survives_pickling(law):
    aware = repetition_aware(law, harm=True)
    assert pickle.loads(pickle.dumps(aware)) == aware


@pytest.mark.parametrize("law", [BENT, repetition_aware(LAWS["bimix"])], ids=lambda law: law.name)
def test_laws_without_a_mixture_or_aware_already_are_refused(law):
    with pytest.raises(ValueError, match=r"can't be made aware"):
        repetition_aware(law)


def test_the_epoch_aware_law_with_usual_pools_is_the_one_without():
    values = some_values(EPOCH_AWARE)
    seen = EPOCH_AWARE_POOLS.formula(W, np.ones_like(W), **values)
    np.testing.assert_array_equal(seen, EPOCH_AWARE.formula(W, **values))


def test_to_the_epoch_aware_law_text_that_is_hardly_read_is_worth_the_same_from_any_pool():
    values = some_values(EPOCH_AWARE) | {"d": np.zeros((2, 3))}
    few, many = (EPOCH_AWARE_POOLS.formula(1e-3 * W, np.full_like(W, size), **values) for size in (1.0, 1e6))
    np.testing.assert_allclose(few, many, rtol=0.01)
    small, large = (EPOCH_AWARE_POOLS.formula(20 * W, np.full_like(W, size), **values) for size in (1.0, 3.0))
    assert (large < small).all()


def test_derivatives_of_the_epoch_aware_law_with_pools_equal_the_complex_step():
    values = some_values(EPOCH_AWARE_POOLS)
    unique = np.where(np.isfinite(UNIQUE), UNIQUE, 1.0)
    loss, slopes = EPOCH_AWARE_POOLS.jacobian(W, unique, **values)
    exact_loss, exact = complex_step(EPOCH_AWARE_POOLS.formula)(W, unique, **values)
    np.testing.assert_allclose(loss, exact_loss, rtol=1e-13)
    for name in exact:
        np.testing.assert_allclose(slopes[name], exact[name], rtol=1e-9, atol=1e-11, err_msg=name)


# The predictor

R_TRUE = 4.0
COMMON = np.array([0.08, 0.15, 0.05, np.inf])


def runs(*, ordinary=36, separating=6, seed=0, noise=0.002, r_star=R_TRUE, harm=0.4):
    """Shares, unique shares and losses: ordinary runs on common pools, and some of their mixtures on other ones."""
    rng = np.random.default_rng(seed)
    w = rng.dirichlet(np.full(4, 0.8), ordinary)
    w = np.vstack([w, w[:separating]])
    unique = np.vstack([np.tile(COMMON, (ordinary, 1)), COMMON * np.resize([[1 / 3], [3.0]], (separating, 1))])
    seen = effective_shares(w, unique, r_star)
    own = seen[:, :2] + 0.3 * seen[:, [2, 3]] + 0.02
    Y = 2 + 0.3 * own**-0.45 + harm * ((w - seen).sum(axis=1) ** 2)[:, None]
    return w, unique, Y + noise * rng.standard_normal(Y.shape)


@pytest.fixture(scope="module")
def fitted():
    w, unique, Y = runs()
    return PoolRegressor(random_state=0).fit(np.hstack([w, unique]), Y)


def test_r_star_is_found_where_runs_separate_weight_and_repetition(fitted):
    profile = fitted.profile("R", level=0.95)
    assert ((profile.low < R_TRUE) & (profile.high > R_TRUE)).all()
    assert (profile.high < 3 * R_TRUE).all()  # the prior alone reaches from 2.2 to 109


def test_runs_that_repeat_nothing_leave_r_star_to_its_prior():
    w, _, Y = runs(separating=0)
    free = PoolRegressor(skills=1, random_state=0).fit(np.hstack([w, np.full_like(w, np.inf)]), Y)
    found = free.identify()
    assert found.unidentified[:, found.names.index("R")].all()
    plain = EffectiveDataRegressor(skills=1, random_state=0).fit(w, Y)
    # the same posterior but for parameters that nothing depends on, as far as the descent goes
    np.testing.assert_allclose(free.at([None] * 4).predict(w), plain.predict(w), atol=2e-4)


def test_seeing_repetition_predicts_other_pools_better():
    w, unique, Y = runs(ordinary=60, separating=40)
    seen, asked = slice(20, 66), np.r_[0:20, 66:100]  # 40 ordinary runs and six from other pools
    aware = PoolRegressor(random_state=0).fit(np.hstack([w, unique])[seen], Y[seen])
    blind = EffectiveDataRegressor(random_state=0).fit(w[seen], Y[seen])
    errors = [
        np.sqrt(np.mean((guess - Y[asked]) ** 2))
        for guess in (aware.predict(np.hstack([w, unique])[asked]), blind.predict(w[asked]))
    ]
    assert errors[0] < 0.3 * errors[1]


@pytest.mark.parametrize("law", ["effective-data", "epoch-aware", "exponential-mixing"])
def test_permuting_domains_in_both_halves_permutes_nothing_else(law):
    w, unique, Y = runs()
    shuffle = [2, 0, 3, 1]
    one = PoolRegressor(law, random_state=0).fit(np.hstack([w, unique]), Y)
    other = PoolRegressor(law, random_state=0).fit(np.hstack([w[:, shuffle], unique[:, shuffle]]), Y)
    place = one.at(COMMON), other.at(COMMON[shuffle])
    np.testing.assert_array_equal(place[0].predict(w), place[1].predict(w[:, shuffle]))
    np.testing.assert_array_equal(place[0].unique_gradient(w)[..., shuffle], place[1].unique_gradient(w[:, shuffle]))


@settings(max_examples=12, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=4, max_size=4), st.lists(st.floats(0.01, 2.0), min_size=4, max_size=4))
def test_slopes_at_fixed_pools_are_those_of_the_predictions(fitted, shares, unique):
    w, u = np.array([shares]) + 0.01, np.array(unique)
    assume((np.abs(w / u - 1) > 1e-3).all())  # there the slopes bend, and a difference straddles the bend
    place, step = fitted.at(u), 1e-6
    for j in range(4):
        move = step * np.eye(4)[j]
        by_share = (place.predict(w + move) - place.predict(w - move)) / (2 * step)
        by_unique = (fitted.at(u + move).predict(w) - fitted.at(u - move).predict(w)) / (2 * step)
        # a central difference's own error: the step squared times the third derivative, and rounding
        np.testing.assert_allclose(place.gradient(w)[..., j], by_share, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(place.unique_gradient(w)[..., j], by_unique, rtol=1e-4, atol=1e-5)


def test_domains_that_are_left_out_or_unlimited_are_worth_no_more_text(fitted):
    slopes = fitted.at(COMMON).unique_gradient(np.array([[0.0, 0.6, 0.1, 0.3]]))[0]
    assert np.isfinite(slopes).all()
    assert (slopes[:, [0, 3]] == 0).all() and (slopes[0, 1] < 0) and (slopes[:, 2] != 0).all()


def test_where_repetition_begins_slopes_have_no_jump(fitted):
    w = np.array([[0.08, 0.3, 0.32, 0.3]])  # of the first domain, one pass exactly
    below, above = (fitted.at(COMMON).gradient(w * [1 + side * 1e-9, 1, 1, 1]) for side in (-1, 1))
    np.testing.assert_allclose(below, above, rtol=1e-6)


@pytest.mark.parametrize("law", ["effective-data", "epoch-aware"])
@pytest.mark.parametrize("flat", [False, True])
def test_a_predictor_at_fixed_pools_is_stored_with_them(law, flat):
    w, unique, Y = runs()
    made = PoolRegressor(law, random_state=0).fit(np.hstack([w, unique]), Y[:, 0] if flat else Y)
    place = made.at([0.05, None, 0.2, np.inf])
    again = from_dict(json.loads(json.dumps(place.to_dict())))
    np.testing.assert_array_equal(place.predict(w), again.predict(w))
    np.testing.assert_array_equal(place.unique_gradient(w), again.unique_gradient(w))
    assert place.unique_gradient(w).shape == ((42, 4) if flat else (42, 2, 4))
    whole = from_dict(json.loads(json.dumps(made.to_dict())))
    np.testing.assert_array_equal(whole.predict(np.hstack([w, unique])), made.predict(np.hstack([w, unique])))


def test_one_law_of_w_alone_can_be_given_but_not_stored():
    own = repetition_aware(LAWS["bimix"])  # not in LAWS by that name, and aware already
    w, unique, Y = runs()
    with pytest.raises(ValueError, match="aware"):
        PoolRegressor(own).fit(np.hstack([w, unique]), Y)
    with pytest.raises(ValueError, match="no law is called"):
        PoolRegressor("nothing").fit(np.hstack([w, unique]), Y)


def test_input_that_makes_no_sense_is_refused(fitted):
    w, unique, Y = runs()
    with pytest.raises(ValueError, match="make it even"):
        PoolRegressor().fit(np.hstack([w, unique])[:, 1:], Y)
    with pytest.raises(ValueError, match="above 0"):
        PoolRegressor().fit(np.hstack([w, 0 * w]), Y)
    with pytest.raises(ValueError, match="NaN"):
        PoolRegressor().fit(np.hstack([w, np.full_like(w, np.nan)]), Y)
    with pytest.raises(ValueError, match="3 shares for 4 domains"):
        fitted.at([1.0, 1.0, 1.0])


def test_what_sees_epochs_sees_pools_too():
    assert set(SEES_POOLS) == set(SEES_EPOCHS)
    for name in SEES_POOLS:
        assert isinstance(SEES_POOLS[name](0), PoolRegressor)


# Joint laws


def test_a_joint_law_with_pools_extrapolates_repetition():
    rng = np.random.default_rng(0)
    w = rng.dirichlet(np.ones(3), 60)
    unique = np.array([0.2, 0.1, np.inf]) * rng.choice([1 / 3, 1, 3], (60, 1))
    params, tokens = rng.choice([1e6, 4e6, 16e6], 60), rng.choice([2e7, 8e7], 60)
    seen = effective_shares(w, unique, 5.0)
    kept = seen.sum(axis=1)
    of_mixture = 1 / (4 * ((seen[:, 0] / kept + 0.02) ** 0.4 + 0.5 * (seen[:, 1] / kept + 0.02) ** 0.3))
    Y = 1.5 + of_mixture + 40 / params**0.28 + 100 / (tokens * kept) ** 0.35 + 0.002 * rng.standard_normal(60)
    aware = JointRegressor(pools=True, strength=1.0).fit(np.column_stack([w, unique, params, tokens]), Y)
    blind = JointRegressor(strength=1.0).fit(np.column_stack([w, params, tokens]), Y)
    assert 3 < aware.values_["R"][0] < 8
    misfit = [np.std(aware.predict(np.column_stack([w, unique, params, tokens])) - Y)]
    misfit.append(np.std(blind.predict(np.column_stack([w, params, tokens])) - Y))
    assert misfit[0] < 0.3 * misfit[1]
    place, step = aware.at(1e7, 1e8, [0.2, 0.1, None]), 1e-6
    again = from_dict(json.loads(json.dumps(place.to_dict())))
    np.testing.assert_array_equal(place.predict(w), again.predict(w))
    moved = (aware.at(1e7, 1e8, [0.2 + side * step, 0.1, None]).predict(w) for side in (1, -1))
    slope = np.subtract(*moved) / (2 * step)
    np.testing.assert_allclose(place.unique_gradient(w)[:, 0], slope, rtol=1e-4, atol=1e-6)
    assert not hasattr(blind.at(1e7, 1e8), "unique_gradient")
    with pytest.raises(ValueError, match="no pools"):
        blind.at(1e7, 1e8, [0.2, 0.1, None])


def test_a_joint_law_with_unlimited_pools_is_the_one_without():
    rng = np.random.default_rng(1)
    w, params, tokens = rng.dirichlet(np.ones(2), 30), rng.choice([1e6, 4e6], 30), rng.choice([2e7, 8e7], 30)
    Y = 2 + 0.5 * (w[:, 0] + 0.1) ** -0.3 + 30 / params**0.28 + 80 / tokens**0.35
    free = JointRegressor(pools=True, strength=1.0).fit(np.column_stack([w, 0 * w + np.inf, params, tokens]), Y)
    plain = JointRegressor(strength=1.0).fit(np.column_stack([w, params, tokens]), Y)
    np.testing.assert_allclose(free.at(1e7, 1e8).predict(w), plain.at(1e7, 1e8).predict(w), rtol=1e-3)


# Runs beside the judged ones


class Spy:
    """Remembers the first feature of all that it was fitted to."""

    def __init__(self, log):
        self.log = log

    def fit(self, X, Y):
        assert len(X) == len(Y)
        self.log.append(set(X[:, 0]))
        return self

    def predict(self, X):
        return np.repeat(X[:, :1], 2, axis=1)


def beside(groups, *, fitted):
    X = np.array(groups, dtype=float)[:, None] + 0.5
    return Auxiliary(X, np.zeros((len(groups), 2)), np.array(groups), fitted=fitted)


@pytest.mark.parametrize("learnt", [False, True])
def test_runs_beside_are_never_learnt_from_by_what_predicts_their_mixture(learnt):
    groups, log = np.repeat(np.arange(6), 2), []
    X, Y = groups[:, None].astype(float), np.zeros((12, 2))
    near = beside([0, 3, 3, 9], fitted=learnt)
    held_out = cross_validate(lambda: Spy(log), X, Y, groups, folds=3, auxiliary=near)
    for k, seen in enumerate(log):
        out = set(groups[held_out.fold == k])
        assert not {x for x in seen if int(x) in out}
        assert (9.5 in seen) == learnt
        assert ({x for x in seen if x % 1} == {0.5, 3.5, 9.5} - {g + 0.5 for g in out}) == learnt or not learnt
    np.testing.assert_array_equal(held_out.auxiliary[:3, 0], [0.5, 3.5, 3.5])
    assert np.isnan(held_out.auxiliary[3]).all()  # no judged run has its mixture, so no fold is its own


def test_a_repeated_holdout_learns_from_the_fitted_halfs_auxiliary_runs_alone():
    groups, log = np.arange(10), []
    found = repeated_holdout(
        lambda: Spy(log),
        groups[:, None].astype(float),
        np.zeros((10, 2)),
        groups,
        auxiliary=beside([2, 7], fitted=True),
    )
    for asked, seen in zip(found.rows, log, strict=True):
        assert {int(x) for x in seen} == set(groups) - set(asked)


def test_a_predictor_of_shares_keeps_its_own_way_of_seeing_one_pool_vector():
    w, _, Y = runs(separating=0)
    unique = [float(u) if np.isfinite(u) else None for u in COMMON]
    aware, plain = (LawRegressor(unique=u, random_state=0).fit(w, Y) for u in (unique, None))
    assert not np.allclose(aware.predict(w), plain.predict(w))
