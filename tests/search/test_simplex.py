"""Facts about the set of mixtures that one may recommend."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.errors import MixoptError
from mixopt.search.simplex import Feasible, distance_to_hull, feasible, inside_hull, nearest, total_variation


@st.composite
def limits(draw, most=7):
    """A set that is not empty: limits drawn around a mixture inside it."""
    d = draw(st.integers(1, most))
    unit = st.floats(0, 1)
    inside = np.array(draw(st.lists(st.floats(0.001, 1), min_size=d, max_size=d)))
    inside /= inside.sum()
    low = inside * np.array(draw(st.lists(unit, min_size=d, max_size=d)))
    high = inside + (1 - inside) * np.array(draw(st.lists(unit, min_size=d, max_size=d)))
    fixed = np.array(draw(st.lists(st.booleans(), min_size=d, max_size=d)))
    low, high = np.where(fixed, inside, low), np.where(fixed, inside, high)
    names = tuple(f"d{i}" for i in range(d))
    return Feasible(domains=names, low=low, high=high, why_high=("max_weight",) * d), inside


def points(d):
    return st.lists(st.floats(-3, 3), min_size=d, max_size=d).map(np.array)


@settings(deadline=None)
@given(st.data(), limits())
def test_a_projection_is_feasible(data, drawn):
    space, _ = drawn
    w = space.project(data.draw(points(len(space.domains))))
    assert space.contains(w, tolerance=1e-12)


@settings(deadline=None)
@given(limits())
def test_a_feasible_mixture_is_its_own_projection(drawn):
    space, inside = drawn
    np.testing.assert_allclose(space.project(inside), inside, atol=1e-12)


@settings(deadline=None)
@given(st.data(), limits())
def test_no_feasible_mixture_is_nearer_than_the_projection(data, drawn):
    space, inside = drawn
    v = data.draw(points(len(space.domains)))
    w = space.project(v)
    # The nearest point of a convex set: no feasible direction makes an acute angle with v - w.
    for other in (inside, *space.sample(5, rng=np.random.default_rng(0), steps=5)):
        assert (v - w) @ (other - w) <= 1e-9


@settings(deadline=None)
@given(st.data(), limits())
def test_projecting_permuted_domains_permutes_the_projection(data, drawn):
    space, _ = drawn
    v = data.draw(points(len(space.domains)))
    order = np.array(data.draw(st.permutations(range(len(v)))))
    permuted = Feasible(
        domains=tuple(space.domains[i] for i in order),
        low=space.low[order],
        high=space.high[order],
        why_high=space.why_high,
    )
    np.testing.assert_allclose(permuted.project(v[order]), space.project(v)[order], atol=1e-12)


@settings(deadline=None)
@given(limits(), st.integers(0, 2**32 - 1))
def test_samples_are_feasible_and_repeat_with_their_seed(drawn, seed):
    space, inside = drawn
    a, b = (space.sample(4, rng=np.random.default_rng(seed), steps=20) for _ in range(2))
    near = space.sample_near(inside, 4, rng=np.random.default_rng(seed))
    assert (a == b).all()
    assert all(space.contains(w, tolerance=1e-9) for w in (*a, *near))


def test_samples_of_the_whole_simplex_are_close_to_uniform():
    space = feasible(["a", "b", "c", "d"])
    w = space.sample(4000, rng=np.random.default_rng(0))
    # Uniform on the 3-simplex: each weight is Beta(1, 3), mean 1/4, variance 3/80. Six standard errors.
    np.testing.assert_allclose(w.mean(axis=0), 0.25, atol=6 * np.sqrt(3 / 80 / 4000))
    np.testing.assert_allclose(w.var(axis=0), 3 / 80, atol=0.006)


def test_samples_reach_both_ends_of_a_capped_set():
    space = feasible(["a", "b", "c"], min_weight={"a": 0.2}, max_weight={"a": 0.5, "b": 0.3})
    w = space.sample(2000, rng=np.random.default_rng(1))
    assert w[:, 0].min() < 0.21
    assert w[:, 0].max() > 0.49
    assert w[:, 1].max() > 0.29


def test_a_pool_caps_its_domain_at_max_epochs():
    space = feasible(["a", "b"], pools={"a": 20.0, "b": None}, tokens=200.0, max_epochs=4)
    np.testing.assert_allclose(space.high, [0.4, 1.0])
    assert space.at_limits([0.4, 0.6]) == [("a", "max_epochs")]


def test_a_weight_that_the_others_limits_settle_cannot_move():
    assert feasible(["a", "b", "c"], min_weight={"a": 0.5, "b": 0.5}).free.tolist() == [False] * 3
    assert feasible(["a", "b"], max_weight=0.5).free.tolist() == [False] * 2


def test_a_fixed_weight_stays_where_it_is():
    space = feasible(["a", "b", "c"], fixed={"b": 0.25})
    np.testing.assert_allclose(space.project([[3.0, 9.0, -1.0], [0.0, 0.0, 0.0]])[:, 1], 0.25)
    assert space.free.tolist() == [True, False, True]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": 2, "pools": {"a": 30, "b": 20}, "tokens": 120}, r"sum to 0\.8333.*raise max_epochs"),
        ({"max_weight": 0.3}, r"sum to 0\.6.*raise max_weight"),
        ({"min_weight": 0.6}, r"'a', 'b' already sum to 1\.2"),
        (
            {"min_weight": {"a": 0.3}, "max_epochs": 1, "pools": {"a": 2}, "tokens": 10},
            r"a: min_weight 0\.3 is above 0\.2.*max_epochs",
        ),
        ({"min_weight": {"a": 0.3}, "max_weight": {"a": 0.2}}, "lower min_weight or raise max_weight"),
        ({"fixed": {"a": 0.5}, "max_weight": {"a": 0.2}}, r"a is fixed at 0\.5, but max_weight allows 0\.2"),
        ({"fixed": {"a": 0.5}, "min_weight": {"a": 0.7}}, r"fixed at 0\.5, but min_weight is 0\.7"),
        ({"fixed": {"a": -0.5}}, "share between 0 and 1"),
        ({"fixed": {"a": 0.5, "b": 0.4}}, r"sum to 0\.9.*fixed"),
        ({"min_weight": -0.1}, "share between 0 and 1"),
        ({"max_weight": 1.5}, "share between 0 and 1"),
        ({"max_epochs": {"c": 2}}, "'c', which is no domain: choose from a, b"),
        ({"max_epochs": 2, "pools": {"a": 30}}, r"set full\.tokens"),
        ({"max_epochs": 0, "pools": {"a": 30}, "tokens": 120}, "above 0"),
    ],
)
def test_limits_that_cannot_be_kept_are_refused_by_name(settings, message):
    with pytest.raises(MixoptError, match=message):
        feasible(["a", "b"], **settings)


@settings(deadline=None)
@given(st.integers(2, 6), st.integers(1, 12), st.integers(0, 1000))
def test_a_blend_of_runs_is_inside_their_hull(d, n, seed):
    rng = np.random.default_rng(seed)
    runs = rng.dirichlet(np.ones(d), size=n)
    assert inside_hull(rng.dirichlet(np.ones(n)) @ runs, runs)


def test_distance_to_the_hull_is_the_share_of_tokens_to_move():
    runs = np.array([[0.5, 0.5, 0.0], [0.2, 0.8, 0.0]])
    assert distance_to_hull([0.4, 0.4, 0.2], runs) == pytest.approx(0.2)
    assert distance_to_hull([0.9, 0.1, 0.0], runs) == pytest.approx(0.4)
    assert not inside_hull([0.9, 0.1, 0.0], runs)


def test_nearest_run_is_found_by_total_variation():
    row, distance = nearest([0.5, 0.5], [[1.0, 0.0], [0.4, 0.6], [0.0, 1.0]])
    assert (row, distance) == (1, pytest.approx(0.1))
    assert total_variation([1.0, 0.0], [0.0, 1.0]) == 1.0
