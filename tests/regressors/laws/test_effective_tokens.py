import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regressors import LawRegressor, from_dict
from regressors.laws.effective_tokens import R_STAR, effective_shares, unique_shares

shares = st.floats(0, 1)


@given(shares, st.floats(0.001, 1), st.floats(0.5, 100))
def test_the_first_pass_counts_in_full_and_later_ones_ever_less(w, u, r_star):
    seen = effective_shares(np.array([[w]]), np.array([u]), r_star)[0, 0]
    if w <= u:
        assert seen == w
    else:
        assert u <= seen <= w * (1 + 1e-12)
        assert seen <= u * (1 + r_star)


@given(st.floats(0.01, 0.2), st.floats(0.5, 50))
def test_more_repetition_never_counts_less(u, r_star):
    W = np.linspace(0, 1, 101)[:, None]
    seen = effective_shares(W, np.array([u]), r_star)[:, 0]
    assert (np.diff(seen) >= 0).all()
    assert (np.diff(np.diff(seen)) <= 1e-9).all()


def test_it_is_the_published_formula():
    # Muennighoff et al. 2023: D' = U + U R* (1 - exp(-R / R*)), R = D / U - 1.
    u, w = 0.1, 0.7
    expected = u + u * R_STAR * (1 - np.exp(-(w / u - 1) / R_STAR))
    assert effective_shares(np.array([[w]]), np.array([u]), R_STAR)[0, 0] == pytest.approx(expected, rel=1e-12)


def test_an_unlimited_domain_is_left_as_it_is():
    W = np.array([[0.3, 0.7]])
    seen = effective_shares(W, unique_shares([None, 0.1], 2), 5.0)
    assert seen[0, 0] == 0.3 and seen[0, 1] < 0.7


@pytest.mark.parametrize("unique", [[0.1], [0.1, 0.0], [0.1, -1.0], [0.1, float("nan")]])
def test_shares_that_make_no_sense_are_refused(unique):
    with pytest.raises(ValueError, match="unique"):
        unique_shares(unique, 2)


def runs(unique, *, n=40, seed=0, noise=0.003):
    """Losses that follow effective shares: the weight alone can't tell them."""
    rng = np.random.default_rng(seed)
    W = rng.dirichlet(np.full(4, 0.8), size=n)
    seen = effective_shares(W, unique_shares(unique, 4), 3.0)
    Y = 3 + 0.6 / (seen[:, :2] + 0.05) ** 0.4
    return W, Y + noise * rng.standard_normal(Y.shape)


def test_a_law_that_sees_repetition_predicts_repeated_runs_better():
    unique = [0.05, 0.05, None, None]
    W, Y = runs(unique, n=80, noise=0.0003)
    blind, aware = (LawRegressor(unique=u, r_star=3.0, random_state=0).fit(W[:40], Y[:40]) for u in (None, unique))
    errors = [np.sqrt(np.mean((e.predict(W[40:]) - Y[40:]) ** 2)) for e in (blind, aware)]
    assert errors[1] < 0.7 * errors[0]


def test_its_slopes_are_those_of_its_predictions():
    W, Y = runs([0.05, 0.3, None, 0.1])
    law = LawRegressor(unique=[0.05, 0.3, None, 0.1], random_state=0).fit(W, Y)
    at, step = np.array([[0.4, 0.2, 0.15, 0.25]]), 1e-6
    for j in range(4):
        move = step * np.eye(4)[j]
        slope = (law.predict(at + move) - law.predict(at - move)) / (2 * step)
        assert law.gradient(at)[0, :, j] == pytest.approx(slope[0], rel=1e-4, abs=1e-6)


def test_permuting_domains_permutes_nothing_else():
    unique = [0.05, 0.3, None, 0.1]
    W, Y = runs(unique)
    shuffle = [2, 0, 3, 1]
    one = LawRegressor(unique=unique, random_state=0).fit(W, Y)
    other = LawRegressor(unique=[unique[j] for j in shuffle], random_state=0).fit(W[:, shuffle], Y)
    assert np.array_equal(one.predict(W), other.predict(W[:, shuffle]))


def test_it_is_stored_with_its_pools():
    unique = [0.05, None, np.float64(0.3), 0.1]
    W, Y = runs([0.05, None, 0.3, 0.1])
    law = LawRegressor(unique=unique, random_state=0).fit(W, Y)
    again = from_dict(json.loads(json.dumps(law.to_dict())))
    assert np.array_equal(law.predict(W), again.predict(W))
