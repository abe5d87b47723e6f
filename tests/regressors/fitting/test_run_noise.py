"""Runs that went wrong for all texts count less, runs that are alike count the same."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import f as f_distribution

from regressors import LawRegressor
from regressors.fitting.run_noise import fitted_nu, independent_targets, log_f, run_noise


def runs(*, bad=(), noise=0.01, n=60, texts=6, seed=0):
    """Mixtures, exact losses, and losses of runs of which some, `bad`, are ten times as noisy on every text."""
    rng = np.random.default_rng(seed)
    W = rng.dirichlet(np.ones(4), n)
    exact = 2 + np.exp(W @ rng.normal(0, 0.7, (4, texts)))
    level = np.full((n, 1), noise)
    level[list(bad)] *= 10
    return W, exact, exact + level * rng.standard_normal(exact.shape)


def levels(W, Y, **options):
    law = LawRegressor("exponential-mixing", random_state=0, **options).fit(W, Y)
    return law._posterior.scatter


def test_runs_that_are_noisy_on_every_text_are_found():
    bad = [3, 17, 40]
    W, _, Y = runs(bad=bad)
    level = levels(W, Y)[0]
    assert set(np.argsort(level)[-3:]) == set(bad)
    assert level[bad].min() > 3 and np.median(level) < 1


def test_runs_that_are_alike_count_the_same():
    W, _, Y = runs(n=100)
    assert levels(W, Y)[0].max() < 1.3


def test_all_texts_share_a_runs_level_and_its_mean_is_1():
    W, _, Y = runs(bad=[5])
    level = levels(W, Y)
    assert (level == level[0]).all()
    assert np.log(level[0]).mean() == pytest.approx(0, abs=1e-12)


def test_telling_runs_apart_brings_the_fit_nearer_to_the_truth():
    better = 0
    for seed in range(6):
        W, exact, Y = runs(bad=range(8), n=40, seed=seed)
        told, alike = (
            LawRegressor("exponential-mixing", shared=shared, random_state=0).fit(W, Y).predict(W)
            for shared in (True, False)
        )
        better += np.mean((told - exact) ** 2) < np.mean((alike - exact) ** 2)
    assert better >= 5


def test_a_text_whose_loss_is_missing_says_nothing_of_a_run():
    W, _, Y = runs(bad=[7])
    Y[7, 1:] = np.nan
    one_text = levels(W, Y)[0, 7]
    W, _, Y = runs(bad=[7])
    assert 1 < one_text < levels(W, Y)[0, 7]


def test_a_single_text_will_do():
    W, exact, Y = runs(bad=[2, 9], texts=1)
    law = LawRegressor("exponential-mixing", random_state=0).fit(W, Y[:, 0])
    assert np.isfinite(law._posterior.scatter).all()
    assert np.abs(law.predict(W) - exact[:, 0]).max() < 0.03  # three times the noise of the good runs


def test_texts_that_repeat_each_other_are_one_text():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((1, 200))
    assert independent_targets(np.repeat(one, 5, axis=0)) == pytest.approx(1, rel=0.02)
    assert independent_targets(rng.standard_normal((5, 200))) == pytest.approx(5, rel=0.1)


@given(st.floats(0.01, 50), st.floats(0.5, 30), st.floats(1, 1000))
def test_the_density_is_scipys(x, top, bottom):
    assert log_f(np.array(x), top, np.array(bottom)) == pytest.approx(f_distribution.logpdf(x, top, bottom), abs=1e-8)


@pytest.mark.parametrize("nu", [2.0, 8.0, 1e6])
def test_degrees_of_freedom_are_recovered(nu):
    rng = np.random.default_rng(0)
    variance = nu / rng.chisquare(nu, 2000)
    square = 3.0 * variance * rng.chisquare(6, 2000) / 6
    found = fitted_nu(square, 6.0)
    assert nu / 2 <= found <= nu * 2 or (nu > 100 and found >= 64)


def test_a_run_that_the_fit_followed_is_judged_as_if_it_had_not():
    W, _, Y = runs(n=12, texts=5, seed=2)
    law = LawRegressor("exponential-mixing", shared=False, random_state=0).fit(W, Y)
    level = run_noise(law._posterior, law._found.z)
    assert np.isfinite(level).all() and (level > 0).all()
