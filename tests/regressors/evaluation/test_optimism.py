"""What favourites fall short of their prediction."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regressors import RegMixLinearRegressor
from regressors.evaluation.cross_validation import RepeatedHoldout, repeated_holdout
from regressors.evaluation.optimism import expected_optimism


def rehearsed(*, n=60, noise=0.0, misfit=0.0, times=8, seed=0, texts=1):
    """Rehearsals of a predictor that errs by `noise`, and by `misfit` more at the lowest losses."""
    rng = np.random.default_rng(seed)
    measured = 3 + rng.random((n, texts))
    guess = measured + noise * rng.standard_normal((n, texts))
    lowest = measured < np.quantile(measured, 0.3, axis=0)
    guess = guess - misfit * lowest
    rows = [np.sort(rng.permutation(n)[: n // 2]) for _ in range(times)]
    return rows, [guess[some] for some in rows], measured, (measured - guess)[:, 0]


def test_a_perfect_predictor_promises_nothing_that_it_does_not_keep():
    found = expected_optimism(*rehearsed(noise=1e-12))
    assert abs(found.loss) < 1e-11
    assert np.ptp(found.bounds(0.8)) < 1e-11


def test_a_misfit_at_the_lowest_losses_is_found():
    straight, bent = (expected_optimism(*rehearsed(noise=0.02, misfit=m)) for m in (0.0, 0.2))
    assert bent.loss > 0.1 > straight.loss + 3 * straight.standard_error
    low, high = bent.bounds(0.8)
    assert low < bent.loss < high and high > 0.15


def test_noise_alone_makes_favourites_fall_short():
    # Winner's curse: losses of like mixtures differ by less than the predictor errs.
    found = [expected_optimism(*rehearsed(noise=1.0, seed=seed)).loss for seed in range(20)]
    assert np.mean(found) > 0.3


def test_other_texts_lend_their_favourites():
    rows, predicted, measured, residual = rehearsed(noise=0.1, texts=12, seed=3)
    alone = expected_optimism(rows, [p[:, :1] for p in predicted], measured[:, :1], residual)
    pooled = expected_optimism(rows, predicted, measured, residual)
    assert pooled.standard_error < alone.standard_error


@given(st.integers(0, 100), st.floats(0.01, 100))
def test_optimism_has_the_unit_of_the_losses(seed, scale):
    rows, predicted, measured, residual = rehearsed(noise=0.1, seed=seed, texts=3)
    one = expected_optimism(rows, predicted, measured, residual)
    other = expected_optimism(rows, [scale * p for p in predicted], scale * measured, scale * residual)
    assert other.loss == pytest.approx(scale * one.loss, abs=1e-9 * scale)
    assert other.standard_error == pytest.approx(scale * one.standard_error)
    assert one.weights.sum() == pytest.approx(1)


@given(st.integers(0, 100), st.floats(0.05, 0.9))
def test_bounds_widen_with_the_level(seed, level):
    found = expected_optimism(*rehearsed(noise=0.1, seed=seed))
    low, high = found.bounds(level)
    wide_low, wide_high = found.bounds(level + 0.05)
    assert wide_low <= low <= high <= wide_high


def test_missing_losses_are_passed_over():
    rows, predicted, measured, residual = rehearsed(noise=0.1, texts=2)
    measured[::2] = np.nan
    residual[::2] = np.nan
    assert np.isfinite(expected_optimism(rows, predicted, measured, residual).loss)
    measured[:] = np.nan
    assert expected_optimism(rows, predicted, measured, residual) is None
    assert expected_optimism([], [], measured, residual) is None


def table(n=40, seed=0):
    W = np.random.default_rng(seed).dirichlet(np.ones(4), size=n)
    return W, W @ np.array([[1.0, 2.0], [3.0, 1.0], [2.0, 2.0], [0.5, 4.0]])


def test_every_rehearsal_asks_about_half_of_the_mixtures_and_fits_the_others():
    W, Y = table()
    groups = np.repeat(np.arange(20), 2)
    seen = []

    class Spy(RegMixLinearRegressor):
        def fit(self, W, Y):
            seen.append(W)
            return super().fit(W, Y)

    found = repeated_holdout(Spy, W, Y, groups, repeats=5, seed=0)
    assert len(found.rows) == len(found.predicted) == len(seen) == 5
    for rows, predicted, fitted in zip(found.rows, found.predicted, seen, strict=True):
        assert len(rows) == 20 and len(fitted) == 20
        assert not set(groups[rows]) & {groups[np.flatnonzero((w == W).all(axis=1))[0]] for w in fitted}
        np.testing.assert_allclose(predicted, Y[rows], atol=1e-9)  # a plane is learnt exactly from any half
    assert any((found.rows[0] != rows).any() for rows in found.rows[1:])


def test_rehearsals_are_decided_by_their_seed_and_survive_json():
    W, Y = table()
    Y[::2, 1] = np.nan
    Y[3:, 1] = np.nan  # one loss is left: no half can fit it
    found = repeated_holdout(RegMixLinearRegressor, W, Y, np.arange(40), repeats=3, seed=4)
    again = RepeatedHoldout.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    same = repeated_holdout(RegMixLinearRegressor, W, Y, np.arange(40), repeats=3, seed=4)
    for other in (again, same):
        for a, b in zip(found.rows + found.predicted, other.rows + other.predicted, strict=True):
            np.testing.assert_array_equal(a, b)
    assert all(np.isnan(half[:, 1]).all() and np.isfinite(half[:, 0]).all() for half in found.predicted)


def test_too_few_mixtures_cannot_be_rehearsed():
    W, Y = table(14)
    assert repeated_holdout(RegMixLinearRegressor, W, Y, np.repeat(np.arange(7), 2)).rows == []
