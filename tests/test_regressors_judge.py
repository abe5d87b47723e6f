"""Metrics, held-out judgement and intervals."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from regressors import RegMixLinear, cross_validate, cv_plus, regret, rmse, spearman
from regressors.judge import assign_folds

losses = st.lists(st.floats(0.5, 12).map(lambda x: round(x, 2)), min_size=2, max_size=30)


@given(st.data(), losses)
def test_spearman_is_scipys_and_sees_ranks_only(data, measured):
    predicted = data.draw(st.lists(st.floats(0.5, 12), min_size=len(measured), max_size=len(measured)))
    value = spearman(predicted, measured)
    if len(set(predicted)) == 1 or len(set(measured)) == 1:
        assert np.isnan(value)
        return
    assert value == pytest.approx(spearmanr(predicted, measured).statistic, abs=1e-9)
    assert spearman(measured, predicted) == pytest.approx(value)
    assert spearman(np.negative(predicted), measured) == pytest.approx(-value)


@given(losses)
def test_a_perfect_predictor_has_no_error_and_no_regret(measured):
    assert rmse(measured, measured) == 0
    assert regret(measured, measured) == 0


@given(losses, st.integers(0, 100))
def test_regret_is_between_nothing_and_the_whole_range(measured, seed):
    predicted = np.random.default_rng(seed).random(len(measured))
    assert 0 <= regret(predicted, measured) <= max(measured) - min(measured)
    assert regret(predicted, measured) == measured[predicted.argmin()] - min(measured)


def test_a_predictor_that_cannot_tell_runs_apart_regrets_the_average_run():
    assert regret([1.0, 1.0, 2.0], [3.0, 4.0, 3.0]) == 0.5


def test_rmse_is_the_root_of_the_mean_square():
    assert rmse([1.0, 2.0], [4.0, -2.0]) == pytest.approx(np.sqrt(12.5))


@pytest.mark.parametrize("metric", [spearman, rmse, regret])
@pytest.mark.parametrize("measured", [[1.0], [1.0, np.nan], [], [[1.0, 2.0]]])
def test_metrics_refuse_what_cannot_be_compared(metric, measured):
    with pytest.raises(ValueError):
        metric([1.0, 2.0], measured)


@given(st.lists(st.integers(0, 9), min_size=10, max_size=60), st.integers(2, 4), st.integers(0, 5))
def test_a_groups_runs_share_a_fold_and_every_fold_is_used(labels, folds, seed):
    if len(set(labels)) < folds:
        with pytest.raises(ValueError, match="distinct mixtures"):
            assign_folds(np.array(labels), folds=folds, seed=seed)
        return
    fold = assign_folds(np.array(labels), folds=folds, seed=seed)
    assert set(fold) == set(range(folds))
    assert all(len(set(fold[np.array(labels) == label])) == 1 for label in labels)
    np.testing.assert_array_equal(fold, assign_folds(np.array(labels), folds=folds, seed=seed))


def test_folds_of_single_runs_are_even_and_depend_on_the_seed():
    first, second = (assign_folds(np.arange(23), folds=5, seed=s) for s in (0, 1))
    assert sorted(np.bincount(first)) == [4, 4, 5, 5, 5]
    assert (first != second).any()


class Memory:
    """Knows the runs that it has seen, and nothing else."""

    def fit(self, W, Y):
        self.seen = {tuple(w): y for w, y in zip(W, Y, strict=True)}
        return self

    def predict(self, W):
        return np.array([self.seen.get(tuple(w), -1.0) for w in W])


def test_no_estimator_has_seen_the_mixtures_that_it_predicts():
    W = np.repeat(np.random.default_rng(0).dirichlet(np.ones(3), size=10), 2, axis=0)  # every mixture twice
    out = cross_validate(Memory, W, np.arange(20.0), np.repeat(np.arange(10), 2), folds=5, seed=0)
    assert (out.predicted == -1).all() and len(out.estimators) == 5
    by_run = cross_validate(Memory, W, np.arange(20.0), np.arange(20), folds=5, seed=0)
    assert (by_run.predicted != -1).any()  # without groups a repeat gives the answer away


def test_held_out_estimators_predict_new_points():
    rng = np.random.default_rng(0)
    W = rng.dirichlet(np.ones(3), size=30)
    Y = W @ rng.random((3, 2))
    out = cross_validate(RegMixLinear, W, Y, np.arange(30), folds=4, seed=0)
    assert out.at(W[:6]).shape == (4, 6, 2)
    np.testing.assert_allclose(out.predicted, Y, atol=1e-10)  # a plane is learnt exactly from any fold
    for k in range(4):
        np.testing.assert_array_equal(out.predicted[out.fold == k], out.at(W)[k][out.fold == k])


def test_cross_validation_refuses_unequal_lengths():
    with pytest.raises(ValueError, match="as long"):
        cross_validate(RegMixLinear, np.eye(4), np.ones(3), np.arange(4), folds=2, seed=0)


def test_cv_plus_intervals_hold_about_the_share_that_they_promise():
    rng = np.random.default_rng(0)
    slope, held, total = rng.random(5), 0, 0
    for _ in range(60):
        W = rng.dirichlet(np.ones(5), size=60)
        Y = W @ slope + 0.1 * rng.standard_normal(60)
        out = cross_validate(RegMixLinear, W[:40], Y[:40], np.arange(40), folds=5, seed=0)
        residual = Y[:40] - out.predicted[:, 0]
        low, high = cv_plus(residual, out.fold, out.at(W[40:])[..., 0], 0.8)
        held += ((low <= Y[40:]) & (Y[40:] <= high)).sum()
        total += 20
    assert 0.77 <= held / total <= 0.88  # .8 promised, a little more given; 1,200 cases: standard error .012


@given(st.integers(0, 50), st.floats(0.1, 0.85))
def test_cv_plus_widens_with_the_level_and_holds_the_folds_median(seed, level):
    rng = np.random.default_rng(seed)
    residual, fold, at_new = rng.standard_normal(40), np.arange(40) % 4, rng.random((4, 3))
    low, high = cv_plus(residual, fold, at_new, level)
    wide_low, wide_high = cv_plus(residual, fold, at_new, level + 0.1)
    assert (wide_low <= low).all() and (high <= wide_high).all()


def test_cv_plus_with_one_answer_from_all_folds_is_a_quantile_of_the_residuals():
    residual = np.array([0.1, -0.2, 0.3, -0.4])  # with 4 runs at level .8: the 4th of 4, by ceil(.8 * 5)
    low, high = cv_plus(residual, np.array([0, 0, 1, 1]), np.full((2, 1), 5.0), 0.8)
    assert (low[0], high[0]) == (pytest.approx(4.6), pytest.approx(5.4))


def test_cv_plus_promises_nothing_from_too_few_runs():
    low, high = cv_plus(np.array([0.1, 0.2, np.nan]), np.array([0, 1, 1]), np.ones((2, 2)), 0.9)
    assert np.isinf(low).all() and np.isinf(high).all()


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0])
def test_cv_plus_refuses_a_level_that_is_no_chance(level):
    with pytest.raises(ValueError, match="level"):
        cv_plus(np.ones(3), np.zeros(3, dtype=int), np.ones((1, 2)), level)


def test_cv_plus_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match="fold"):
        cv_plus(np.ones(3), np.zeros(2, dtype=int), np.ones((1, 2)), 0.8)
