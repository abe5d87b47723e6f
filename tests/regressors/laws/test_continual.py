"""Laws of continued pretraining: what each says, and that fits find their own making again."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regressors.estimators.continual import ContinualRegressor, early_signs
from regressors.evaluation.critical_share import falls_with_share, least_share
from regressors.fitting.solve import fit_law, measure
from regressors.fitting.transforms import Space, complex_step
from regressors.laws.continual import (
    CONTINUAL_LAWS,
    CRITICAL_SHARE,
    CRITICAL_SHARES,
    CROSS_DOMAIN_DCPT,
    DCPT,
    SHIFT,
    dcpt,
    forgetting,
    shift,
)
from tests.factories.continual_runs import (
    DOMAIN,
    RISING,
    SHARES,
    N,
    arrays,
    domain_runs,
    general_runs,
    grid,
    with_start,
)

every_law = pytest.mark.parametrize("law", CONTINUAL_LAWS.values(), ids=CONTINUAL_LAWS)


def inputs_of(law, runs=6):
    rng = np.random.default_rng(0)
    return [rng.uniform(0.05, 0.95, runs) if name == "r" else rng.lognormal(0, 0.5, runs) for name in law.inputs]


def values_of(law, targets=2):
    rng = np.random.default_rng(1)
    space = Space(law, measure(2 + rng.random((9, targets)), domains=0))
    return space.values(0.3 * rng.standard_normal((targets, space.size)), np.arange(targets))


@every_law
def test_every_law_names_its_source_and_where_it_departs_from_it(law):
    assert law.source and law.departs and pickle.loads(pickle.dumps(law)) == law == copy.deepcopy(law)


@pytest.mark.parametrize("law", [DCPT, SHIFT], ids=lambda law: law.name)
def test_hand_written_derivatives_equal_the_complex_step(law):
    inputs, values = inputs_of(law), values_of(law)
    loss, by_hand = law.jacobian(*inputs, **values)
    same, exact = complex_step(law.formula)(*inputs, **values)
    np.testing.assert_allclose(loss, same, rtol=1e-13)
    assert loss.shape == (2, 6) and by_hand.keys() == exact.keys()
    for name in exact:
        # both are exact but for rounding; cancelling terms may cost a few digits
        np.testing.assert_allclose(by_hand[name], exact[name], rtol=1e-10, atol=1e-12, err_msg=name)


def test_formulas_are_the_published_ones():
    n, d, r, v = 2.0, 3.0, 0.4, DOMAIN
    plain = (
        v["E"]
        + v["A"] / n ** v["alpha"]
        + v["B"] * r ** v["eta"] / d ** v["beta"]
        + v["C"] / (r + v["eps"]) ** v["gamma"]
    )
    given = (np.array([n]), np.array([d]), np.array([r]))
    # a share of 0 stays finite by a trace of 1e-6, which moves others by less than that
    assert dcpt(*given, **arrays(v))[0] == pytest.approx(plain, rel=1e-6)
    k1, k2 = np.array([2.5]), np.array([0.3])
    crossed = CROSS_DOMAIN_DCPT.formula(*given, k1, k2, F=np.array(0.2), mu=np.array(0.7), w=np.array(0.4), **arrays(v))
    assert crossed[0] == pytest.approx(plain + 0.2 / (0.4 / 2.5 + 0.6 * 0.3) ** 0.7, rel=1e-6)
    lost = forgetting(
        *given, np.array([2.8]), A=np.array(0.1), beta=np.array(0.5), B=np.array(20.0), alpha=np.array(0.6)
    )
    assert lost[0] == pytest.approx(2.8 + 0.1 * d**0.5 / ((1 + 20 * r) * n) ** 0.6, rel=1e-12)


@pytest.mark.parametrize(("size", "share"), [("460M", 0.298), ("940M", 0.349), ("1.6B", 0.414), ("3.1B", 0.478)])
def test_published_critical_shares_are_those_of_the_source_at_20_billion_tokens(size, share):
    assert CRITICAL_SHARES[size].domain_share(100 * 2e8) == pytest.approx(share, abs=5e-4)  # printed to a tenth of a %


def test_published_critical_shares_stay_shares():
    tokens = np.geomspace(1e6, 1e14, 40)
    for preset in CRITICAL_SHARES.values():
        shares = preset.domain_share(tokens)
        assert shares.shape == tokens.shape and (shares >= 0).all() and (shares <= 1).all()
        assert (np.diff(shares) >= 0).all()  # more tokens leave room for more of the domain


def test_the_critical_share_law_finds_a_published_curve_again():
    tokens = np.geomspace(20, 100, 12)  # with fewer the published share is 0
    shares = CRITICAL_SHARES["940M"].domain_share(tokens * 2e8)
    fit = fit_law(CRITICAL_SHARE, {"tokens": tokens}, shares[:, None], n_starts=2, rng=np.random.default_rng(0))
    later = fit.predict(CRITICAL_SHARE, {"tokens": np.array([150.0])})[0, 0]
    assert later == pytest.approx(CRITICAL_SHARES["940M"].domain_share(150 * 2e8), abs=0.01)


@given(st.integers(0, 10_000))
@settings(max_examples=30)
def test_dcpt_never_rises_with_tokens_whatever_its_values(seed):
    rng = np.random.default_rng(seed)
    space = Space(DCPT, measure(2 + rng.random((9, 1)), domains=0))
    values = space.values(rng.standard_normal((1, space.size)), np.zeros(1, dtype=int))
    tokens = np.geomspace(0.01, 100, 30)
    loss = dcpt(np.ones(30), tokens, np.full(30, rng.random()), **values)[0]
    assert (np.diff(loss) <= 0).all()


def test_the_shift_law_begins_at_the_start_and_can_rise_before_it_falls():
    tokens = np.geomspace(1e-9, 100, 200)
    loss = shift(np.ones(200), tokens, np.full(200, 0.2), np.full(200, 2.8), **arrays(RISING))
    assert loss[0] == pytest.approx(2.8, abs=1e-6)
    top = loss.argmax()
    assert 0 < top < 199 and loss[top] > 2.85 and loss[-1] < loss[top] - 0.02


@pytest.mark.parametrize("name", ["d-cpt", "shift"])
def test_a_law_predicts_later_checkpoints_and_left_out_shares_of_its_own_making(name):
    X, y = domain_runs() if name == "d-cpt" else general_runs()
    late, middle = X[:, 1] > 4e9, X[:, 2] == 0.3
    for out in (late, middle):
        fitted = ContinualRegressor(name).fit(X[~out], y[~out])
        error = np.abs(fitted.predict(X[out]) - y[out])
        assert error.max() < 0.02 * np.ptp(y[X[:, 1] > 0])  # priors pull a little, there being no noise


def test_the_forgetting_law_finds_its_own_making_again():
    X = grid()
    values = {"A": 0.1, "beta": 0.5, "B": 20.0, "alpha": 0.6}
    y = forgetting(X[:, 0] / N, X[:, 1] / 4e9, X[:, 2], np.full(len(X), 2.8), **arrays(values))
    X, y = with_start(X, y, 0.0, 0, 2.8)
    late = X[:, 1] > 4e9
    fitted = ContinualRegressor("forgetting").fit(X[~late], y[~late])
    assert np.abs(fitted.predict(X[late]) - y[late]).max() < 0.02 * np.ptp(y)
    assert fitted.predict(X[X[:, 1] == 0]) == pytest.approx(2.8)


@pytest.mark.parametrize("name", ["d-cpt", "shift", "forgetting"])
def test_values_are_those_of_inputs_that_are_not_in_units(name):
    X, y = general_runs(sizes=(N, 2 * N, 5 * N))
    fitted = ContinualRegressor(name, n_starts=1).fit(X, y)
    law, rows = CONTINUAL_LAWS[name], X[X[:, 1] > 0]
    given = [*rows.T, *([np.full(len(rows), 2.8)] if "start" in law.inputs else [])]
    assert fitted.predict(rows) == pytest.approx(law.formula(*given, **arrays(fitted.values_)), rel=1e-9)


def test_cross_domain_dcpt_predicts_a_domain_from_its_early_signs():
    rng = np.random.default_rng(0)
    rows, losses, domains = [], [], []
    for domain, (k1, k2) in enumerate(zip(rng.uniform(1.5, 3.5, 7), rng.uniform(0.05, 0.4, 7), strict=True)):
        X = np.column_stack([grid(checkpoints=4), np.tile([k1, k2], (4 * len(SHARES), 1))])
        y = dcpt(X[:, 0] / N, X[:, 1] / 4e9, X[:, 2], **arrays(DOMAIN)) + 0.3 / (0.5 * 2.4 / k1 + 0.5 * k2 / 0.2) ** 0.8
        rows, losses, domains = [*rows, X], [*losses, y], [*domains, np.full(len(X), domain)]
    X, y, domain = np.vstack(rows), np.concatenate(losses), np.concatenate(domains)
    unseen = domain == 3
    fitted = ContinualRegressor("cross-domain-d-cpt").fit(X[~unseen], y[~unseen])
    others = np.array([y[domain == k].mean() for k in range(7) if k != 3])
    error = np.abs(fitted.predict(X[unseen]) - y[unseen]).max()
    assert error < 0.2 * np.abs(others - y[unseen].mean()).min()  # nearer than the nearest other domain, by far


def test_early_signs_are_the_start_and_the_fall_by_the_e_fold():
    tokens = np.array([0, 1e8, 2e8, 4e8])
    k1, k2 = early_signs(tokens, np.array([3.0, *(2.5 - 0.1 * np.log(tokens[1:] / 1e8))]))
    assert k1 == 3.0 and k2 == pytest.approx(0.1)
    with pytest.raises(ValueError, match="3 checkpoints"):
        early_signs(tokens[:2], np.array([3.0, 2.5]))


def test_dcpt_that_rises_with_its_share_says_so():
    X, _ = domain_runs(start=False)
    rising = ContinualRegressor("d-cpt").fit(X, 2.0 + 0.5 * X[:, 2] * (1e9 / X[:, 1]) ** 0.3)
    assert any("rises with its own text's share" in caution for caution in rising.cautions_)
    falling = ContinualRegressor("d-cpt").fit(*domain_runs(start=False))
    assert not any("rises" in caution for caution in falling.cautions_)


def test_a_slope_is_looked_at_in_the_trained_range_alone():
    X = grid()
    assert falls_with_share(X, lambda points: (points[:, 2] - 0.5) ** 2).falls  # rises from .5 on, the highest share
    found = falls_with_share(X, lambda points: (points[:, 2] - 0.4) ** 2)
    assert not found.falls and 0.2 < found.rising < 0.4 and found.where[2] > 0.4


def test_laws_that_begin_at_the_start_ask_for_it():
    X, y = domain_runs(start=False)
    for name in ("shift", "forgetting"):
        with pytest.raises(ValueError, match="row with 0 tokens"):
            ContinualRegressor(name).fit(X, y)
    fitted = ContinualRegressor("d-cpt").fit(X, y)
    with pytest.raises(ValueError, match="0 tokens"):
        fitted.predict([[N, 0.0, 0.3]])
    with pytest.raises(ValueError, match="before continuing"):
        least_share(fitted, params=N, tokens=8e9)
    with pytest.raises(ValueError, match="no law is called 'd-ctp'"):
        ContinualRegressor("d-ctp").fit(X, y)
