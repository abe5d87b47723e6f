"""Metrics, held-out judgement and intervals."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from regressors import RegMixLinearRegressor, cross_validate, cv_plus, regret, rmse, spearman
from regressors.evaluation.cross_validation import (
    assign_folds,
    by_last,
    by_length,
    by_region,
    by_share,
    by_size,
    by_size_and_length,
    near_groups,
)
from regressors.evaluation.intervals import held_out_bounds, local_error, scaled_cv_plus
from regressors.evaluation.metrics import coverage

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


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=6), st.integers(1, 7))
def test_regret_of_several_is_the_mean_over_all_ways_to_break_ties(runs, tried):
    predicted, measured = (np.array(x, dtype=float) for x in zip(*runs, strict=True))
    orders = [sorted(order, key=lambda i: predicted[i]) for order in permutations(range(len(runs)))]
    best = [measured[order[:tried]].min() - measured.min() for order in orders]
    assert regret(predicted, measured, tried=tried) == pytest.approx(np.mean(best))


def test_more_tries_never_regret_more_and_none_regrets_nothing():
    rng = np.random.default_rng(0)
    predicted, measured = rng.random(30), rng.random(30)
    regrets = [regret(predicted, measured, tried=k) for k in (1, 2, 5, 29, 30, 99)]
    assert regrets == sorted(regrets, reverse=True) and regrets[-1] == regrets[-2] == 0
    assert regret(np.ones(3000), np.arange(3000.0), tried=1500) == pytest.approx(1500 / 1501)  # (n - k) / (k + 1)
    with pytest.raises(ValueError, match="tried"):
        regret(predicted, measured, tried=0)


def test_coverage_counts_the_runs_between_their_bounds():
    measured = np.array([1.0, 2.0, 3.0, np.nan])
    assert coverage(measured, np.array([1.0, 2.5, -np.inf, 0]), np.array([1.0, 3.0, np.inf, 9])) == pytest.approx(2 / 3)
    assert np.isnan(coverage(measured[3:], measured[3:], measured[3:]))


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


# Groups and splits


def mixtures(n, domains=5, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(domains), size=n)


@given(st.integers(0, 500), st.integers(1, 12), st.integers(1, 4), st.floats(0, 0.9))
def test_repeats_and_near_duplicates_share_a_group_and_others_do_not(seed, centres, copies, jitter):
    rng = np.random.default_rng(seed)
    W = mixtures(centres, seed=seed)
    apart = 0.5 * np.abs(W[:, None] - W).sum(axis=2) + np.eye(centres)
    W = W[apart.min(axis=1) > 0.05]
    near = np.repeat(W, copies, axis=0)
    step = rng.standard_normal(near.shape)
    step -= step.mean(axis=1, keepdims=True)
    step /= np.abs(step).sum(axis=1, keepdims=True)  # two such steps move tokens by a share of 1 at most
    near = np.abs(near + jitter * 0.01 * step)
    order = rng.permutation(len(near))
    label = near_groups(near[order])
    centre = np.repeat(np.arange(len(W)), copies)[order]
    assert len(set(zip(label, centre, strict=True))) == len(set(label)) == len(W)


def test_groups_look_at_shares_and_not_at_sums():
    W = mixtures(6)
    np.testing.assert_array_equal(near_groups(np.vstack([W, 1.02 * W])), np.tile(np.arange(6), 2))


def test_a_fine_grid_of_mixtures_is_not_one_group():
    share = np.linspace(0, 1, 201)  # neighbours are half the tolerance apart
    label = near_groups(np.column_stack([share, 1 - share]))
    assert len(set(label)) >= 60
    assert max(np.ptp(share[label == k]) for k in set(label)) <= 0.021


def test_every_size_is_predicted_from_all_smaller_ones():
    params = np.array([3e8, 1e8, 1e9, 1e8, 3e8])
    splits = by_size(params, most=None, smaller=1)
    found = [(np.flatnonzero(s.fitted).tolist(), np.flatnonzero(s.predicted).tolist()) for s in splits]
    assert found == [([1, 3], [0, 4]), ([0, 1, 3, 4], [2])]
    for fewer in (by_size(params, most=1, smaller=1), by_size(params, most=None)):
        assert [split.fitted.tolist() for split in fewer] == [splits[1].fitted.tolist()]
    assert by_size(np.ones(4)) == []
    with pytest.raises(ValueError, match="size isn't known"):
        by_size(np.array([1.0, np.nan]))


def test_later_checkpoints_are_predicted_from_earlier_ones_of_every_group():
    tokens, group = np.array([1.0, 2, 3, 4, 10, 20, 30, 40]), np.repeat([0, 1], 4)
    (split,) = by_length(tokens, cuts=(0.5, 0.6), within=group)  # both cuts part the rows alike
    assert tokens[split.fitted].tolist() == [1, 2, 10, 20] and (split.predicted == ~split.fitted).all()
    (near,) = by_length(tokens, cuts=(0.1, 0.25), ahead=2.4)  # nothing lies within 2.4 times 4
    assert tokens[near.fitted].max() == 10 and tokens[near.predicted].tolist() == [20]
    assert by_length(tokens, cuts=(0.05,)) == []  # two token counts decide nothing


def test_the_end_of_a_curve_is_held_out_where_enough_of_it_stays():
    tokens, curves = np.array([1.0, 2, 3, 1, 9]), np.array([0, 0, 0, 1, 1])
    (split,) = by_last(tokens, curves)
    assert split.predicted.tolist() == [False, False, True, False, False]
    assert by_last(tokens, curves, least=4) == []


def test_shares_and_regions_are_left_out_whole():
    shares = np.array([0.1, 0.5, 0.1, 0.9])
    assert by_share(shares)[0].predicted.tolist() == [True, False, True, False]
    assert by_share(shares[:3]) == []
    values = np.arange(10.0)
    (split,) = by_region({"size": values, "flat": np.ones(10)}, np.arange(10), share=0.2, least=6)
    assert split.kind == "size" and np.flatnonzero(split.predicted).tolist() == [8, 9]


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
    out = cross_validate(RegMixLinearRegressor, W, Y, np.arange(30), folds=4, seed=0)
    assert out.at(W[:6]).shape == (4, 6, 2)
    np.testing.assert_allclose(out.predicted, Y, atol=1e-10)  # a plane is learnt exactly from any fold
    for k in range(4):
        np.testing.assert_array_equal(out.predicted[out.fold == k], out.at(W)[k][out.fold == k])


def test_cross_validation_refuses_unequal_lengths():
    with pytest.raises(ValueError, match="as long"):
        cross_validate(RegMixLinearRegressor, np.eye(4), np.ones(3), np.arange(4), folds=2, seed=0)


def test_cv_plus_intervals_hold_about_the_share_that_they_promise():
    rng = np.random.default_rng(0)
    slope, held, total = rng.random(5), 0, 0
    for _ in range(60):
        W = rng.dirichlet(np.ones(5), size=60)
        Y = W @ slope + 0.1 * rng.standard_normal(60)
        out = cross_validate(RegMixLinearRegressor, W[:40], Y[:40], np.arange(40), folds=5, seed=0)
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


# Intervals where errors differ in size


def uneven(n=150, seed=0):
    """Predictions whose errors grow fivefold from the lowest loss to the highest, as made by 5 like folds."""
    rng = np.random.default_rng(seed)
    predicted = rng.random(n)
    measured = predicted + (0.1 + 0.4 * predicted) * rng.standard_normal(n)
    return predicted, measured, np.arange(n) % 5


def test_scaled_intervals_hold_their_share_at_low_and_at_high_losses_alike():
    held = {cv_plus: [], scaled_cv_plus: []}
    for seed in range(30):
        predicted, measured, fold = uneven(seed=seed)
        new, truth, _ = uneven(n=400, seed=1000 + seed)
        at, residual = np.tile(new, (5, 1)), measured - predicted
        for method, bounds in (
            (cv_plus, cv_plus(residual, fold, at, 0.8)),
            (scaled_cv_plus, scaled_cv_plus(residual, predicted, fold, at, 0.8)),
        ):
            inside = (bounds[0] <= truth) & (truth <= bounds[1])
            held[method].append([inside[new < 0.25].mean(), inside[new > 0.75].mean()])
    low, high = np.mean(held[scaled_cv_plus], axis=0)
    assert 0.75 < high < low < 0.90  # the quarter that is looked at is drawn towards all a little
    plain_low, plain_high = np.mean(held[cv_plus], axis=0)
    assert plain_low > 0.93 and plain_high < 0.70


def test_scaled_intervals_are_plain_ones_where_all_errors_are_alike():
    rng = np.random.default_rng(0)
    residual, predicted, fold, at = (
        0.1 * np.tile([1.0, -1.0], 20),
        rng.random(40),
        np.arange(40) % 4,
        rng.random((4, 3)),
    )
    for one, other in zip(
        cv_plus(residual, fold, at, 0.8), scaled_cv_plus(residual, predicted, fold, at, 0.8), strict=True
    ):
        np.testing.assert_allclose(one, other)


@given(st.integers(0, 100), st.floats(0.1, 10), st.floats(-5, 5))
def test_scaled_intervals_move_and_stretch_with_the_losses(seed, scale, shift):
    predicted, measured, fold = uneven(40, seed)
    at = np.random.default_rng(seed).random((5, 3))
    one = scaled_cv_plus(measured - predicted, predicted, fold, at, 0.8)
    other = scaled_cv_plus(scale * (measured - predicted), scale * predicted + shift, fold, scale * at + shift, 0.8)
    np.testing.assert_allclose(other, scale * np.array(one) + shift, rtol=1e-7, atol=1e-7)


def test_too_few_runs_support_no_scaled_interval():
    residual, fold = np.array([0.1, np.nan, 0.2]), np.array([0, 0, 1])
    for bounds in (
        scaled_cv_plus(residual, np.ones(3), fold, np.ones((2, 2)), 0.9),
        held_out_bounds(residual, np.ones(3), fold, 0.9),
    ):
        assert np.isneginf(bounds[0]).all() and np.isposinf(bounds[1]).all()


def test_held_out_bounds_hold_their_share_and_know_nothing_of_the_run():
    held = []
    for seed in range(20):
        predicted, measured, fold = uneven(seed=seed)
        low, high = held_out_bounds(measured - predicted, predicted, fold, 0.8)
        held.append(coverage(measured, low, high))
    assert 0.77 < np.mean(held) < 0.84  # 3,000 runs: standard error .008
    changed = measured.copy()
    changed[fold == 2] += 5
    again = held_out_bounds(changed - predicted, predicted, fold, 0.8)
    np.testing.assert_array_equal(again[0][fold == 2], low[fold == 2])
    assert (again[1][fold != 2] > high[fold != 2]).any()


@given(st.integers(2, 60), st.integers(0, 50))
def test_the_error_usual_somewhere_is_a_mean_over_the_runs_next_in_rank(n, seed):
    rng = np.random.default_rng(seed)
    size, predicted = rng.random(n), rng.permutation(n).astype(float)
    for i, error in enumerate(local_error(size, predicted)):
        others = np.delete(np.arange(n), i)
        assert min(size[others].min(), size.mean()) - 1e-9 <= error <= max(size[others].max(), size.mean()) + 1e-9
    count = min(max(10, round(0.25 * n)), n)
    lowest = size[np.argsort(predicted)[:count]]
    expected = (lowest.sum() + 5 * size.mean()) / (count + 5)
    assert local_error(size, predicted, at=np.array([-1.0]))[0] == pytest.approx(expected)


def test_size_and_length_grow_at_once():
    sizes, tokens = np.repeat([0, 1, 2], 4), np.tile([1.0, 2.0, 4.0, 8.0], 3)
    [split] = by_size_and_length(sizes, tokens, cut=0.5)
    np.testing.assert_array_equal(np.flatnonzero(split.fitted), [0, 1, 2, 4, 5, 6])
    np.testing.assert_array_equal(np.flatnonzero(split.predicted), [11])
    assert split.kind == "both"
    assert by_size_and_length(sizes, tokens, cut=0.25) == []  # two token counts are too few
    assert by_size_and_length(sizes[4:] - 1, tokens[4:], cut=0.5) == []  # one smaller size is too few
