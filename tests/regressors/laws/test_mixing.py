"""The mixture laws: what each one says, and that it says something finite wherever weights are zero."""

import copy
import pickle

import numpy as np
import pytest

from regressors import LAWS
from regressors.fitting.transforms import Space, complex_step
from regressors.law import Scale
from regressors.laws.mixing import TRACE

every_law = pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
CORNERS = np.eye(3)  # runs of one domain: nothing but zeros besides
W = np.array([[0.2, 0.3, 0.5], [0.6, 0.4, 0.0], [0.0, 0.0, 1.0]])
SCALE = Scale(domains=3, low=np.array([2.0, 3.0]), mean=np.array([2.5, 3.2]), spread=np.array([0.2, 0.1]))


def at_centre(law, *, targets=2):
    """A law's parameters where its priors are centred."""
    space = Space(law, SCALE)
    return space.values(np.zeros((targets, space.size)), np.arange(targets))


@every_law
def test_every_law_names_its_source_and_where_it_departs_from_it(law):
    assert law.source and law.departs and law.name in LAWS
    assert len({p.name for p in law.params}) == len(law.params)


@every_law
def test_at_the_priors_centre_losses_are_those_of_the_runs(law):
    loss = law.formula(np.full((1, 3), 1 / 3), **at_centre(law))[:, 0]
    removable = SCALE.mean - 0.7 * SCALE.low
    assert (loss > 0.5 * SCALE.low).all() and (loss < SCALE.mean + 2 * removable).all()


@every_law
def test_losses_and_slopes_are_finite_at_zero_weights(law):
    loss, slopes = law.jacobian(CORNERS, **at_centre(law))
    exact_loss, exact = complex_step(law.formula)(CORNERS, **at_centre(law))
    assert np.isfinite(loss).all()
    np.testing.assert_allclose(loss, exact_loss, rtol=1e-13)
    for name in exact:
        assert np.isfinite(slopes[name]).all(), name
        # both are exact but for rounding; cancelling terms may cost a few digits
        np.testing.assert_allclose(slopes[name], exact[name], rtol=1e-9, atol=1e-11, err_msg=name)


@every_law
def test_slopes_by_weight_are_finite_at_zero_weights(law):
    for k in range(3):
        moved = CORNERS.astype(complex)
        moved[:, k] += 1e-30j
        assert np.isfinite(np.imag(law.formula(moved, **at_centre(law))) / 1e-30).all()


@every_law
def test_a_law_survives_pickling_and_copying(law):
    assert pickle.loads(pickle.dumps(law)) == law
    assert copy.deepcopy(law) == law


def test_exponential_and_log_linear_differ_in_their_priors_only():
    a, b = LAWS["exponential-mixing"], LAWS["log-linear"]
    assert a.formula is b.formula
    for narrow, wide in zip(a.params, b.params, strict=True):
        assert narrow.name == wide.name and wide.prior.sd > narrow.prior.sd


def test_additive_laws_are_the_published_ones():
    E, C, e, g, q = np.array(2.0), np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.2, 0.3]), np.array([0.5, 0.4, 0.3]), W[0]
    power = sum(C[i] * W[0, i] ** g[i] for i in range(3))
    offset = sum(C[i] * (W[0, i] + e[i]) ** g[i] for i in range(3))
    factor = np.exp(W[0] @ q)

    def loss(name, **values):
        return LAWS[name].formula(W[:1], **values)[0]

    close = {"rel": 10 * TRACE}  # the power form counts every weight a trace higher
    assert loss("additive-power", E=E, C=C, g=g) == pytest.approx(2 + 1 / power, **close)
    assert loss("additive-power-factor", E=E, C=C, g=g, q=q) == pytest.approx(2 + factor / power, **close)
    assert loss("additive-offset", E=E, C=C, e=e, g=g) == pytest.approx(2 + 1 / offset)
    assert loss("additive-offset-factor", E=E, C=C, e=e, g=g, q=q) == pytest.approx(2 + factor / offset)


def test_bimix_is_a_power_of_the_targets_own_share():
    s, a = np.array([0.0, 4.0, 0.0]), np.array(0.5)
    loss = LAWS["bimix"].formula(W[:2], c=np.array(1.0), s=s, a=a)
    assert loss == pytest.approx(1 + (4 * W[:2, 1]) ** -0.5, rel=10 * TRACE)


def test_autoscale_adds_what_every_domains_tokens_leave():
    d, g = np.array([1.0, 2.0, 3.0]), np.array([0.5, 0.4, 0.3])
    loss = LAWS["autoscale"].formula(W, E=np.array(1.0), d=d, D=np.array(10.0), g=g)
    assert loss == pytest.approx(1 + sum((d[i] + 10 * W[:, i]) ** -g[i] for i in range(3)))


def test_the_epoch_aware_law_saturates_and_then_turns():
    law = LAWS["epoch-aware"]
    values = {"phi": 1.0, "c": 0.5, "a": [1.0, 0.0, 0.0], "d": [0.05, 0.0, 0.0], "rho": 1.0, "p": 0.7, "tau": 2.0}
    epochs = np.zeros((200, 3))
    epochs[:, 0] = np.linspace(0, 100, 200)
    loss = law.formula(epochs, **{name: np.array(value) for name, value in values.items()})
    best = loss.argmin()
    assert 1 < epochs[best, 0] < 20  # text is worth repeating for a while
    assert (np.diff(loss[: best + 1]) < 0).all() and (np.diff(loss[best:]) > 0).all()
    # at 3 passes, by the published formula
    benefit, harm = 1 - np.exp(-(3.0**0.7)), np.log(1 + np.exp(np.log(4.0) - 2)) ** 2
    at_three = law.formula(np.array([[3.0, 0, 0]]), **{name: np.array(value) for name, value in values.items()})[0]
    assert at_three == pytest.approx(1 + np.exp(0.5 - benefit + 0.05 * harm), rel=10 * TRACE)
