import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.mixture.design import MOST_EPOCHS, dirichlet_points, mixtures, separating_runs, tempered
from mixopt.study.jobs import natural_mixture, run_id

PRIOR = natural_mixture([5, 4, 1, 0.5, 0.6, 0.8, 6, 2])

few = settings(max_examples=40)  # a design takes a while
priors = st.lists(st.floats(0.01, 10), min_size=2, max_size=30).map(natural_mixture)


@few
@given(priors, st.integers(2, 80), st.integers(0, 1000))
def test_every_design_is_of_shares_and_of_the_size_asked_for(prior, count, seed):
    rows = mixtures(prior, count, seed=seed)
    assert len(rows) == count
    W = np.array([w for _, w in rows])
    assert (W >= 0).all()
    assert np.allclose(W.sum(1), 1, atol=1e-9)


@few
@given(priors, st.integers(0, 1000))
def test_mixtures_of_a_design_differ(prior, seed):
    W = np.array([w for _, w in mixtures(prior, 32, seed=seed)])
    assert len(np.unique(np.round(W, 6), axis=0)) == 32


@pytest.mark.parametrize("pools", [[1e9] * 7, [3.0, 3.0], [1e6, 1e6 + 0.1, 1e6]])
def test_equal_pools_make_one_mixture_of_the_natural_and_the_uniform_one(pools):
    rows = mixtures(natural_mixture(pools), 20, seed=0)
    assert [role for role, _ in rows].count("uniform") == 1
    assert "natural" not in [role for role, _ in rows]
    assert len(np.unique(np.round([w for _, w in rows], 6), axis=0)) == len(rows) == 20


def test_a_longer_list_of_draws_begins_with_a_shorter_one():
    """Or a design would change with the number of draws that are made to replace equal ones."""
    centres = [np.full(4, 0.25), np.array([0.7, 0.1, 0.1, 0.1])]
    assert np.array_equal(dirichlet_points(centres, 20, seed=3), dirichlet_points(centres, 80, seed=3)[:20])


def test_the_natural_and_the_uniform_mixture_come_first():
    rows = mixtures(PRIOR, 20, seed=0)
    assert [role for role, _ in rows[:2]] == ["natural", "uniform"]
    assert np.allclose(rows[0][1], PRIOR)
    assert np.allclose(rows[1][1], 1 / 8)


def test_each_domain_is_left_out_once_when_there_is_room():
    left = [w for role, w in mixtures(PRIOR, 24, seed=0) if role == "leave-out"]
    assert [int(np.flatnonzero(w == 0)[0]) for w in left] == list(range(8))
    assert not [w for role, w in mixtures(PRIOR, 12, seed=0) if role == "leave-out"]


def test_the_same_seed_gives_the_same_design_and_another_one_does_not():
    a, b, c = (np.array([w for _, w in mixtures(PRIOR, 32, seed=s)]) for s in (1, 1, 2))
    assert (a == b).all()
    assert not np.allclose(a, c)


def test_draws_reach_towards_a_target_that_is_trained_on():
    towards = np.array([0, 0, 0, 0, 0.3, 0.4, 0, 0.3])
    plain, leaning = (
        np.array([w for role, w in mixtures(PRIOR, 60, seed=0, towards=t) if role == "dirichlet"])
        for t in (None, towards)
    )
    share = towards > 0
    assert leaning[:, share].sum(1).max() > 0.85
    assert leaning[:, share].sum(1).mean() > plain[:, share].sum(1).mean() + 0.05


def test_draws_scatter_around_their_centres_at_several_strengths():
    centre = np.full(6, 1 / 6)
    W = np.array(dirichlet_points([centre], 256, seed=0))
    assert np.abs(W.mean(0) - centre).max() < 0.02
    largest = W.max(1)
    assert largest.min() < 0.3 and largest.max() > 0.7


@given(priors)
def test_tempering_goes_from_the_prior_to_uniform(prior):
    assert np.allclose(tempered(prior, 1.0), prior)
    assert np.allclose(tempered(prior, 0.0), 1 / len(prior))
    assert tempered(prior, 0.5).max() <= prior.max() + 1e-12


def test_a_design_of_one_mixture_is_refused():
    with pytest.raises(ValueError, match="at least 2"):
        mixtures(PRIOR, 1, seed=0)


def test_a_run_id_follows_every_input_and_no_order():
    base = {"weights": {"a": 0.5, "b": 0.5}, "seed": 0}
    assert run_id(base) == run_id({"seed": 0, "weights": {"b": 0.5, "a": 0.5}})
    assert run_id(base) != run_id({"weights": {"a": 0.5, "b": 0.5}, "seed": 1})
    assert run_id(base).startswith("r") and len(run_id(base)) == 17


# Runs that tell weight and repetition apart

OWN = np.array([8000.0, 3000.0, 60000.0])  # unique tokens that the proxies draw on
TOKENS = 20000


def separated(W, *, own=OWN, low=400.0, high=1e6, relevance=None, count=6):
    limits = {"low": np.full(len(own), low), "high": np.full(len(own), high)}
    relevance = np.ones(len(own)) if relevance is None else relevance
    return separating_runs(W, own, tokens=TOKENS, relevance=relevance, count=count, **limits)


simplex = st.lists(
    st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3).filter(lambda w: sum(w) > 0.1), min_size=2, max_size=9
).map(lambda rows: np.array([np.array(w) / sum(w) for w in rows]))


@given(simplex, st.integers(1, 8), st.floats(100, 5000), st.floats(5000, 1e6))
def test_separating_runs_keep_to_the_pools_that_there_are(W, count, low, high):
    found = separated(W, low=low, high=high, count=count)
    assert len(found) <= count
    assert len({(row, tuple(pools)) for row, pools in found}) == len(found)
    for row, pools in found:
        assert 0 <= row < len(W)
        assert (pools >= np.minimum(low, OWN)).all() and (pools <= np.maximum(high, OWN)).all()
        before, after = W[row] * TOKENS / OWN, W[row] * TOKENS / pools
        assert (np.maximum(before, 1) != np.maximum(after, 1)).any()  # something is repeated more, or less


def test_where_no_mixture_repeats_anything_no_runs_are_needed():
    assert separated(np.full((4, 3), 1 / 3), own=np.full(3, 1e5)) == []
    assert separated(np.array([[0.4, 0.1, 0.5], [0.3, 0.15, 0.55]])) == []  # at most one pass


def test_repetition_moves_both_ways_and_where_it_is_most():
    W, own = np.array([[0.9, 0.05, 0.05], [0.1, 0.8, 0.1], [0.05, 0.05, 0.9]]), np.array([30000.0, 3000.0, 60000.0])
    assert separated(W, own=own, count=1)[0][0] == 1  # the second domain's pool is the smallest
    pools = sorted(pools[1] for row, pools in separated(W, own=own, count=6) if row == 1)
    assert pools == [1000, 9000]


def test_a_target_s_own_domains_come_first():
    W = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    own = np.array([3000.0, 3000.0, 60000.0])
    for wanted in (0, 1):
        relevance = np.where(np.arange(3) == wanted, 1.0, 0.1)
        assert separated(W, own=own, relevance=relevance, count=1)[0][0] == wanted


def test_repetition_beyond_all_use_is_no_reason_for_a_run():
    epochs = np.array([MOST_EPOCHS * 4, 0.2, 0.2])
    W = np.array([[0.4, 0.3, 0.3]])
    assert separated(W, own=W[0] * TOKENS / epochs, low=1.0) == []
