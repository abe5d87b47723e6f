"""First-order conditions and duality gaps, against losses whose best mixture is known and against random laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.runs.objective import Target
from mixopt.search.certificate import (
    CONVEX_LAWS,
    Certificate,
    certificate_text,
    certify,
    duality_gap,
    multipliers,
    nonconvexity,
)
from mixopt.search.simplex import feasible
from regressors import PREDICTORS
from regressors.estimators.joint import JOINT_LAWS
from regressors.fitting.solve import in_units
from regressors.laws import LAWS
from regressors.laws.effective_tokens import repetition_aware

DOMAINS = ("books", "code", "news", "talk", "web")
BEST = np.array([0.1, 0.0, 0.25, 0.05, 0.6])


def bowl(W):
    """2 nats/token at BEST, more elsewhere."""
    return 2.0 + ((W - BEST) ** 2).sum(axis=1)


def slopes(W):
    return 2.0 * (W - BEST)


SPACES = {
    "no limits": feasible(DOMAINS),
    "caps": feasible(DOMAINS, max_weight={"web": 0.3, "news": 0.2}),
    "floors": feasible(DOMAINS, min_weight={"code": 0.2, "talk": 0.1}),
    "a fixed share": feasible(DOMAINS, fixed={"code": 0.3}, max_weight={"web": 0.4}),
}


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_the_best_mixture_meets_the_first_order_conditions_and_leaves_no_gap(space):
    best = space.project(BEST)  # exact for a bowl
    slope = slopes(best[None])[0]
    assert multipliers(slope, space, best).residual == pytest.approx(0.0, abs=1e-9)
    assert duality_gap(slope, space, best) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=20)
def test_no_feasible_mixture_of_a_convex_loss_is_lower_by_more_than_the_gap(space, seed):
    w = space.sample(1, rng=np.random.default_rng(seed), steps=20)[0]
    gap = duality_gap(slopes(w[None])[0], space, w)
    assert bowl(w[None])[0] - gap <= bowl(space.project(BEST)[None])[0] + 1e-12


@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=50)
def test_the_gap_is_the_lowest_point_of_the_tangent_plane_among_corners(seed):
    rng = np.random.default_rng(seed)
    space = feasible(("a", "b", "c"), min_weight={"a": 0.1}, max_weight={"b": 0.5})
    slope, w = rng.normal(size=3), space.sample(1, rng=rng, steps=5)[0]
    corners = [[0.1, 0.0, 0.9], [0.1, 0.5, 0.4], [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]
    assert duality_gap(slope, space, w) == pytest.approx(max(slope @ (w - corner) for corner in corners))


def test_a_mixture_beside_the_best_one_has_a_residual():
    w = BEST + np.array([0.05, 0.0, -0.05, 0.0, 0.0])
    # books slope up by .1 and news down by .1: moving between the two gains most
    assert multipliers(slopes(w[None])[0], feasible(DOMAINS), w).residual == pytest.approx(0.2)


@pytest.mark.parametrize("name", ["news", "web"])
def test_a_cap_costs_what_a_higher_one_gains(name):
    caps = {"web": 0.3, "news": 0.2}
    found = multipliers(slopes(SPACES["caps"].project(BEST)[None])[0], SPACES["caps"], SPACES["caps"].project(BEST))
    step, j = 1e-4, DOMAINS.index(name)
    ends = [feasible(DOMAINS, max_weight=caps | {name: caps[name] + d}).project(BEST) for d in (-step, step)]
    low, high = bowl(np.array(ends))
    assert found.cap[j] == pytest.approx((low - high) / (2 * step), rel=1e-3)
    assert found.floor[j] == 0.0


def test_a_floor_costs_what_a_lower_one_gains():
    space = SPACES["floors"]
    best = space.project(BEST)
    found = multipliers(slopes(best[None])[0], space, best)
    ends = [feasible(DOMAINS, min_weight={"code": 0.2 + d, "talk": 0.1}).project(BEST) for d in (-1e-4, 1e-4)]
    low, high = bowl(np.array(ends))
    assert found.floor[1] == pytest.approx((high - low) / 2e-4, rel=1e-3)


def test_a_corner_of_the_limits_has_prices_though_no_weight_can_move_both_ways():
    space = feasible(("a", "b"), max_weight={"a": 0.3})
    found = multipliers(np.array([-2.0, 1.0]), space, np.array([0.3, 0.7]))
    assert found.cap.tolist() == [3.0, 0.0]  # a share more of a is one less of b
    assert found.residual == 0.0
    fixed = multipliers(np.array([-2.0, 1.0]), feasible(("a", "b"), fixed={"a": 0.3}), np.array([0.3, 0.7]))
    assert (fixed.cap.tolist(), fixed.residual) == ([0.0, 0.0], 0.0)


# Which laws are convex


def random_values(law, rng, domains, wide=1.0):
    """Parameters of a law near their priors' centres, (2 targets, ...)."""
    from regressors.fitting.transforms import Space
    from regressors.law import Scale

    scale = Scale(domains, np.array([2.0, 2.5]), np.array([2.4, 3.0]), np.array([0.2, 0.3]))
    space = Space(law, scale)
    return space.values(wide * rng.standard_normal((2, space.size)), np.arange(2))


class Fitted:
    """A law at given values, as an estimator that was fitted to mixtures of domains in their own order."""

    def __init__(self, law, values, unique=None):
        self.values_, self._of, self.unique = values, law, unique
        self.order_ = np.arange(next(v for v in values.values() if v.ndim > 1).shape[-1])

    def _law(self):
        return self._of

    def losses(self, W):
        given = {"w": W, "unique": np.broadcast_to(1.0 if self.unique is None else self.unique, W.shape)}
        given |= {name: np.full(len(W), count) for name, count in (("params", 3.0), ("tokens", 5.0))}
        return self._of.formula(*in_units(self._of, given, {"params": 1.0, "tokens": 1.0}), **self.values_)


MIXTURE_LAWS = [name for name in CONVEX_LAWS if name in LAWS]
LAWS_AT_A_SCALE = [name for name in CONVEX_LAWS if name in JOINT_LAWS]
ALL = np.ones(2, dtype=bool)


def bulge(fitted, rng, domains, high=1.0):
    """How far the loss rises above its chords, as a share of the largest loss: at most a rounding if it is convex."""
    a, b = rng.dirichlet(np.full(domains, 0.5), (2, 60)) * high
    t = rng.uniform(0.05, 0.95, (60, 1))
    ends = np.stack([fitted.losses(a), fitted.losses(b)])
    chord = ends[0] * t.T + ends[1] * (1 - t.T)
    return float((fitted.losses(a * t + b * (1 - t)) - chord).max() / np.abs(ends).max())


@pytest.mark.parametrize("name", MIXTURE_LAWS + LAWS_AT_A_SCALE)
@given(seed=st.integers(0, 10**6), wide=st.sampled_from([0.5, 1.0, 1.5]))
@settings(deadline=None, max_examples=25)
def test_a_law_said_to_be_convex_never_rises_above_its_chords(name, seed, wide):
    rng = np.random.default_rng(seed)
    law = LAWS.get(name) or JOINT_LAWS[name]
    fitted = Fitted(law, random_values(law, rng, 4, wide))
    if not nonconvexity(fitted, np.ones(4), ALL):
        assert bulge(fitted, rng, 4) < 1e-12


@pytest.mark.parametrize("harm", [False, True], ids=["no harm", "harm"])
@pytest.mark.parametrize("name", MIXTURE_LAWS)
@given(seed=st.integers(0, 10**6))
@settings(deadline=None, max_examples=25)
def test_a_law_of_repeated_text_said_to_be_convex_never_rises_above_its_chords(name, harm, seed):
    rng = np.random.default_rng(seed)
    law = repetition_aware(LAWS[name], harm=harm)
    values = random_values(law, rng, 3)
    for helps in {"q", "t"} & set(values):  # half of the time all domains help, or there would be nothing to prove
        values[helps] = -np.abs(values[helps]) if seed % 2 else values[helps]
    fitted = Fitted(law, values, unique=10 ** rng.uniform(-1.5, 0.5, 3))
    if not nonconvexity(fitted, np.ones(3), ALL):
        assert bulge(fitted, rng, 3) < 1e-12


def at_centre(name, repeated=False):
    law = repetition_aware(LAWS[name]) if repeated else LAWS[name]
    return Fitted(law, random_values(law, np.random.default_rng(0), 3, 0.0))


@pytest.mark.parametrize("name", MIXTURE_LAWS)
def test_every_covered_law_is_convex_at_the_centre_of_its_priors_without_repetition(name):
    assert not nonconvexity(at_centre(name), np.ones(3), ALL)


def test_rising_returns_are_not_convex_and_said_so():
    fitted = at_centre("additive-offset")
    fitted.values_["g"] = fitted.values_["g"] + 3.0
    assert nonconvexity(fitted, np.ones(3), ALL) == "an exponent above 1 makes additive-offset non-convex"
    assert bulge(fitted, np.random.default_rng(0), 3) > 1e-4


def test_losses_that_do_not_count_do_not_matter():
    fitted = at_centre("additive-offset")
    fitted.values_["g"][1] += 3.0
    assert not nonconvexity(fitted, np.ones(3), np.array([True, False]))
    assert nonconvexity(fitted, np.ones(3), ALL)


def test_a_harmful_domain_matters_only_where_it_may_be_repeated():
    fitted = at_centre("effective-data", repeated=True)
    fitted.values_["q"][:, 1] = 0.1
    fitted.unique = [0.5, 0.1, None]
    assert nonconvexity(fitted, np.array([1.0, 1.0, 1.0]), ALL) == "repetition makes effective-data non-convex"
    assert not nonconvexity(fitted, np.array([1.0, 0.1, 1.0]), ALL)


def test_a_joint_law_that_counts_tokens_is_not_called_convex_where_text_is_repeated():
    law = repetition_aware(JOINT_LAWS["joint-log-linear"])
    fitted = Fitted(law, random_values(law, np.random.default_rng(0), 3, 0.0), unique=[0.5, None, None])
    assert "not known to be convex" in nonconvexity(fitted, np.ones(3), ALL)
    assert not nonconvexity(fitted, np.array([0.5, 1.0, 1.0]), ALL)


# What is known of a mixture


OBJECTIVE = Target({"x": 0.5, "y": 0.5}, np.array([0.5, 0.5]))


@pytest.mark.parametrize(
    ("name", "scope", "bound", "why"),
    [
        ("effective-data", None, True, "convex at its fitted values"),
        ("exponential-mixing", None, True, "convex at its fitted values"),
        ("gp-log", "local", False, "not known"),
        ("ensemble", "local", False, "not known"),
        ("regmix-linear", None, False, "no gradient"),
    ],
)
def test_a_gap_is_given_where_the_fitted_predictor_is_convex_and_nowhere_else(name, scope, bound, why):
    rng = np.random.default_rng(0)
    W = rng.dirichlet(np.ones(3), 24)
    Y = 2 + 1 / (0.5 + np.sqrt(W) @ np.array([1.0, 0.5, 0.2]))[:, None] + rng.normal(0, 0.003, (24, 2))
    space, w = feasible(("a", "b", "c")), np.array([0.6, 0.3, 0.1])
    predictor = PREDICTORS[name](0).fit(W, Y)
    found = certify(predictor, OBJECTIVE, space, w)
    assert found.scope == scope
    assert why in found.why
    assert (found.residual is None) == (name == "regmix-linear")
    if bound:
        anywhere = OBJECTIVE.of(predictor.predict(rng.dirichlet(np.ones(3), 2000)))
        assert 0 <= OBJECTIVE.of(predictor.predict(w[None]))[0] - anywhere.min() <= found.gap
    else:
        assert found.gap is None


LAW = {"residual": 1e-6, "scope": None, "why": "duality gap of a convex law"}


@pytest.mark.parametrize(
    ("certificate", "text"),
    [
        (LAW | {"gap": 3e-7},
         "No allowed mixture is predicted more than 0.00001 nats/token lower (duality gap of a convex law). "
         "7 of 8 starts agree."),
        (LAW | {"gap": 3e-3},
         "An allowed mixture may be predicted up to 0.003 nats/token lower (duality gap of a convex law). "
         "7 of 8 starts agree."),
        ({"gap": None, "residual": 1e-6, "scope": "local", "why": "x bends"},
         "7 of 8 starts agree; no bound on other mixtures is known: x bends."),
        ({"gap": None, "residual": 0.2, "scope": "local", "why": "x bends"},
         "7 of 8 starts agree; no bound on other mixtures is known: x bends. Moving tokens between two domains would "
         "still gain 0.2 nats/token per unit of share."),
        ({"gap": None, "residual": None, "scope": None, "why": "the predictor has no gradient"},
         "7 of 8 starts agree; no bound on other mixtures is known: the predictor has no gradient."),
        # of older versions
        ({"gap": 3e-5, "residual": 1e-6, "scope": "global", "why": "branch and bound over 9 parts"},
         "No allowed mixture is predicted more than 0.00003 nats/token lower (branch and bound over 9 parts). "
         "7 of 8 starts agree."),
        ({"gap": 3e-7, "residual": 1e-6, "scope": "local", "why": "x bends"},
         "7 of 8 starts agree; no bound on other mixtures is known: x bends."),
        ({}, "7 of 8 starts agree."),
    ],
)  # fmt: skip
def test_the_certificate_is_a_sentence(certificate, text):
    assert certificate_text(Certificate(**certificate), 7, 8) == text


def test_starts_that_disagree_are_a_warning_and_unknown_ones_say_nothing():
    assert "so another search may well end elsewhere" in certificate_text(None, 1, 8)
    assert certificate_text(None, 1, 1) == "1 of 1 start agrees."
    assert certificate_text(None, None, None) == ""
