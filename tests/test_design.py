import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.design import dirichlet_points, mixtures, natural_mixture, run_id, tempered

PRIOR = natural_mixture([5, 4, 1, 0.5, 0.6, 0.8, 6, 2])

priors = st.lists(st.floats(0.01, 10), min_size=2, max_size=30).map(natural_mixture)


@given(priors, st.integers(2, 80), st.integers(0, 1000))
def test_every_design_is_of_shares_and_of_the_size_asked_for(prior, count, seed):
    rows = mixtures(prior, count, seed=seed)
    assert len(rows) == count
    W = np.array([w for _, w in rows])
    assert (W >= 0).all()
    assert np.allclose(W.sum(1), 1, atol=1e-9)


@given(st.integers(0, 1000))
def test_mixtures_of_a_design_differ(seed):
    W = np.array([w for _, w in mixtures(PRIOR, 32, seed=seed)])
    assert len(np.unique(np.round(W, 6), axis=0)) == 32


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
