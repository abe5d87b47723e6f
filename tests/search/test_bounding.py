"""Lower bounds over all mixtures, where repeated text makes a law not convex."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.runs.objective import Target
from mixopt.search.bounding import CLOSE, certified, lower_bound
from mixopt.search.optimize import Found, search
from mixopt.search.simplex import feasible
from regressors.convexity import convexity
from regressors.laws import LAWS
from regressors.laws.effective_tokens import repetition_aware
from regressors.relaxation import RISING, relaxation
from tests.search.test_certificate import Fitted, random_values

D = 3
NAMES = ("a", "b", "c")
AIM = Target({"x": 0.5, "y": 0.5}, np.array([0.5, 0.5]))


class Law(Fitted):
    """A repetition-aware law at random values, a predictor of shares with slopes."""

    def __init__(self, name, seed):
        rng = np.random.default_rng(seed)
        law = repetition_aware(LAWS[name], harm=bool(seed % 2))
        super().__init__(law, random_values(law, rng, D, 0.8), unique=10 ** rng.uniform(-1.7, 0.3, D))
        helps = RISING[name]
        # Enough harm that repetition, which makes less of it, may be the better choice: a second valley.
        self.values_[helps] = self.values_[helps] + 2.0 * (rng.random(D) < 0.5)
        self.values_["R"] = self.values_["R"] * 0.2

    def predict(self, W):
        return np.real(self.losses(np.asarray(W))).T

    def gradient(self, W):
        out = np.empty((len(W), 2, D))
        for j in range(D):
            step = np.zeros(D, dtype=complex)
            step[j] = 1e-30j
            out[..., j] = np.imag(self.losses(np.asarray(W) + step)).T / 1e-30
        return out


def relaxed_of(law):
    return relaxation(law, np.ones(D), np.ones(2, dtype=bool))


@pytest.mark.parametrize("name", RISING)
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_a_relaxed_law_lies_below_the_law_and_never_rises_above_its_chords(name, seed):
    law, rng = Law(name, seed), np.random.default_rng(seed)
    low = rng.uniform(0, 0.3, D)
    high = low + rng.uniform(0, 0.6, D)
    relaxed = relaxed_of(law)
    if relaxed is None:  # an exponent above 1: not covered
        return
    a, b = rng.uniform(low, high, (2, 40, D))
    below = relaxed.predict(a, low, high)
    assert (below <= law.predict(a) * (1 + 1e-12)).all()
    middle = relaxed.predict((a + b) / 2, low, high)
    assert (middle <= (below + relaxed.predict(b, low, high)) / 2 * (1 + 1e-12)).all()
    np.testing.assert_allclose(relaxed.predict(low[None], low, high), law.predict(low[None]), rtol=1e-12)


@pytest.mark.parametrize("name", ["effective-data", "exponential-mixing"])
def test_slopes_of_the_bounds_agree_with_differences(name):
    law, rng = Law(name, 3), np.random.default_rng(0)
    low, high = np.zeros(D), np.full(D, 0.8)
    relaxed, w = relaxed_of(law), rng.uniform(0.1, 0.7, (4, D))
    assert relaxed is not None
    for j in range(D):
        step = 1e-6 * np.eye(D)[j]
        ends = [relaxed.predict(w + s, low, high) for s in (-step, step)]
        np.testing.assert_allclose(
            relaxed.gradient(w, low, high)[..., j], (ends[1] - ends[0]) / 2e-6, rtol=1e-5, atol=1e-7
        )


@pytest.mark.parametrize("name", ["effective-data", "exponential-mixing", "additive-offset-factor"])
@pytest.mark.parametrize("seed", range(8))
def test_no_mixture_lies_below_the_bound_and_the_best_one_met_lies_close_above(name, seed):
    law = Law(name, seed)
    relaxed = relaxed_of(law)
    if relaxed is None:
        pytest.skip("an exponent above 1: not covered")
    space = feasible(NAMES)
    grid = np.array([[i, j, 60 - i - j] for i in range(61) for j in range(61 - i)]) / 60
    losses = AIM.of(law.predict(grid))
    found = lower_bound(lambda w: AIM.of(law.predict(w)), relaxed, AIM.by_target, space, np.array([0.0, 0.0, 1.0]))
    assert found.bound <= losses.min() + 1e-9
    assert found.loss <= losses.min() + 1e-6 + CLOSE
    assert found.loss - found.bound <= CLOSE + 1e-9
    assert space.contains(found.weights)


def found_at(weights, law):
    loss = float(AIM.of(law.predict(weights[None]))[0])
    return Found(weights, "random", 10, 2, found=loss, polished=loss, agreeing_starts=3, starts=4)


def test_a_proof_that_meets_a_better_mixture_recommends_that():
    law = Law("effective-data", 1)
    space = feasible(NAMES)
    assert not convexity(law, space.high, np.ones(2)).proven
    poor = np.array([1.0, 0.0, 0.0])
    found, certificate = certified(law, AIM, space, found_at(poor, law))
    best = search(lambda w: AIM.of(law.predict(w)), lambda w: np.einsum("ntd->nd", law.gradient(w)) / 2, space)
    assert found.polished <= best.polished + CLOSE
    assert found.agreeing_starts == 0
    assert certificate["scope"] == "global"
    assert certificate["gap"] <= CLOSE + 1e-9
    assert "branch and bound over" in certificate["why"]


def test_a_budget_of_boxes_that_runs_out_leaves_an_honest_gap():
    space, start = feasible(NAMES), np.full(D, 1 / D)

    def bounded(law, most):
        relaxed = relaxed_of(law)
        assert relaxed is not None
        return lower_bound(lambda w: AIM.of(law.predict(w)), relaxed, AIM.by_target, space, start, most=most)

    laws = [law for law in (Law("effective-data", seed) for seed in range(40)) if relaxed_of(law)]
    hard = next(law for law in laws if bounded(law, 10).boxes > 9)
    cut_short, whole = bounded(hard, 2), bounded(hard, 150)
    assert cut_short.bound <= whole.bound + 1e-9
    assert cut_short.loss - cut_short.bound > CLOSE


def test_predictors_that_are_not_covered_have_no_bounds():
    assert relaxation(SimpleNamespace(), np.ones(D), np.ones(2)) is None
    plain = Law("effective-data", 0)
    plain._of = LAWS["bimix"]
    plain.values_ = random_values(LAWS["bimix"], np.random.default_rng(0), D)
    assert relaxation(plain, np.ones(D), np.ones(2, dtype=bool)) is None
