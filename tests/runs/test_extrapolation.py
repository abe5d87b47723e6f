"""Facts about intervals of predicted losses: they grow with the distance from the runs and say what was checked."""

import numpy as np
import pytest

from mixopt.runs.extrapolation import (
    MAX_CHECKED,
    UNKNOWN,
    UNSURE,
    fitted_scales,
    gain_intervals,
    is_checked,
    loss_intervals,
    standard_errors,
)
from mixopt.scaling.results import Scale

X = np.array([(0.5, 0.5, n, d) for n in (1e7, 4e7) for d in (1e9, 4e9)])


def losses(X):
    return 2 + 0.5 * X[:, 0] + (X[:, 2] / 1e7) ** -0.3 + (X[:, 3] / 1e9) ** -0.3


@pytest.fixture
def known():
    return fitted_scales(losses, X, losses(X) * np.exp([0.01, -0.01, 0.01, -0.01]))


def at(params, tokens, share=0.5):
    return np.array([[share, 1 - share, params, tokens]])


def test_within_the_runs_only_scatter_counts(known):
    assert known.scatter == pytest.approx(0.01) and (known.sizes, known.lengths) == (2, 2)
    assert standard_errors(known, losses, at(2e7, 2e9)) == pytest.approx(0.01)


def test_beyond_them_a_share_of_what_size_and_tokens_change_is_added(known):
    size = np.log(losses(at(4e8, 2e9)) / losses(at(4e7, 2e9)))
    tokens = np.log(losses(at(4e7, 4e10)) / losses(at(4e7, 4e9)))
    both = np.log(losses(at(4e8, 4e9)) / losses(at(4e7, 4e9))), np.log(losses(at(4e8, 4e10)) / losses(at(4e8, 4e9)))
    assert standard_errors(known, losses, at(4e8, 2e9)) ** 2 == pytest.approx(1e-4 + (UNSURE * size) ** 2)
    assert standard_errors(known, losses, at(4e7, 4e10)) ** 2 == pytest.approx(1e-4 + (UNSURE * tokens) ** 2)
    more = standard_errors(known, losses, at(4e8, 4e10)) ** 2
    assert more == pytest.approx(1e-4 + sum((UNSURE * part) ** 2 for part in both), rel=0.2)  # one after the other


def test_runs_of_one_size_leave_larger_ones_to_the_prior_and_unchecked():
    small = X[:2]
    one = fitted_scales(losses, small, losses(small))
    assert one.sizes == 1 and one.scatter == 0
    change = np.log(losses(at(4e7, 2e9)) / losses(at(1e7, 2e9)))
    assert standard_errors(one, losses, at(4e7, 2e9)) == pytest.approx(UNKNOWN * abs(change))
    assert not is_checked(one, Scale(4e7, 2e9)) and is_checked(one, Scale(1e7, 3e10))


def test_an_interval_is_checked_up_to_a_distance_in_both(known):
    assert is_checked(known, Scale(4e7 * MAX_CHECKED, 4e9 * MAX_CHECKED))
    assert not is_checked(known, Scale(4e7 * MAX_CHECKED * 1.01, 4e9))
    assert not is_checked(known, Scale(4e7, 4e9 * MAX_CHECKED * 1.01))
    assert not is_checked(known, Scale(1e7 / MAX_CHECKED / 1.01, 1e9))


def test_young_rows_count_little_in_the_scatter():
    off = np.array([0.1, 0.0, 0.1, 0.0])  # the shorter ones, a quarter of the longer ones' tokens
    assert fitted_scales(losses, X, losses(X) * np.exp(off)).scatter == pytest.approx(0.1 * np.sqrt(0.2))


def test_a_gain_over_another_mixture_is_known_better_than_either_loss(known):
    rows = np.vstack([at(4e8, 4e10), at(4e8, 4e10, share=0.9)])
    one, other = loss_intervals(known, losses, rows)
    first, gain = gain_intervals(known, losses, rows)
    assert first.low <= 0 <= first.high and gain.low < 0.2 < gain.high
    assert gain.high - gain.low < min(one.high - one.low, other.high - other.low)
    assert one.checked and gain.checked


@pytest.mark.filterwarnings("error")
def test_the_share_of_new_runs_inside_is_eighty_percent_where_the_law_holds():
    rng = np.random.default_rng(0)
    Z = np.repeat(at(2e7, 2e9), 2000, axis=0)
    known = fitted_scales(losses, Z, losses(Z) * np.exp(0.01 * rng.standard_normal(2000)))
    [interval] = loss_intervals(known, losses, Z[:1])
    new = losses(Z) * np.exp(0.01 * rng.standard_normal(2000))
    assert np.mean((interval.low <= new) & (new <= interval.high)) == pytest.approx(0.8, abs=0.03)
