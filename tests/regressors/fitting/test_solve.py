"""The engine against other solvers, and laws against data of their own making."""

import dataclasses

import numpy as np
import pytest
from scipy.optimize import least_squares

from regressors import LAWS, LawRegressor
from regressors.fitting.posterior import Criterion
from regressors.fitting.solve import build_posterior, fit_law, measure
from regressors.fitting.transforms import Space, complex_step
from regressors.laws import make_effective_data

every_law = pytest.mark.parametrize("law", [*LAWS.values(), make_effective_data(skills=3)], ids=lambda law: law.name)


def draw_values(law, *, domains, batch, seed):
    rng = np.random.default_rng(seed)
    positive = {p.name: p.low is not None for p in law.params}
    shapes = {p.name: (*batch, *p.shape(domains)) for p in law.params}
    return {n: rng.lognormal(-0.5, 0.5, s) if positive[n] else rng.normal(0, 0.3, s) for n, s in shapes.items()}


def made_by(law, *, domains=4, runs=60, targets=2, noise=0.0, seed=0):
    """Runs whose losses follow the law, at parameters near its own priors."""
    rng = np.random.default_rng(seed)
    W = rng.dirichlet(np.ones(domains), size=runs)
    guess = measure(3 + rng.random((runs, targets)), domains=W.shape[1])  # losses between 3 and 4 nats
    space = Space(law, guess)
    values = space.values(0.4 * rng.standard_normal((targets, space.size)), np.arange(targets))
    loss = law.formula(W, **values).T
    return W, loss, loss + noise * rng.standard_normal(loss.shape)


@every_law
@pytest.mark.parametrize("batch", [(), (2,)])
def test_hand_written_derivatives_equal_the_complex_step(law, batch):
    W = np.random.default_rng(0).dirichlet(np.ones(3), size=5)
    values = draw_values(law, domains=3, batch=batch, seed=1)
    loss, by_hand = law.jacobian(W, **values)
    same, exact = complex_step(law.formula)(W, **values)
    np.testing.assert_allclose(loss, same, rtol=1e-13)
    assert loss.shape == (*batch, 5) and by_hand.keys() == exact.keys()
    for name in exact:
        # both are exact but for rounding; cancelling terms may cost a few digits
        np.testing.assert_allclose(by_hand[name], exact[name], rtol=1e-10, atol=1e-12, err_msg=name)


@every_law
def test_a_law_without_hand_written_derivatives_fits_the_same(law):
    W, _, Y = made_by(law, domains=3, runs=20, noise=0.01)
    plain = dataclasses.replace(law, jacobian=None)
    first, second = (LawRegressor(kind, n_starts=1, random_state=0).fit(W, Y).predict(W) for kind in (law, plain))
    # steps differ by rounding, and both rest where a step promises 1e-7 of the objective: far below the noise of .01
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
@pytest.mark.parametrize("huber", [2.0, np.inf])
def test_the_optimum_is_the_one_that_scipy_finds(law, huber):
    W, _, Y = made_by(law, runs=30, targets=1, noise=0.02)
    found = fit_law(law, W, Y, n_starts=2, rng=np.random.default_rng(0), criterion=Criterion(huber=huber))
    posterior, _ = build_posterior(law, W, Y, criterion=Criterion(huber=huber))
    posterior.noise = found.noise

    def residuals(z):
        """Residuals and priors whose squares add up to twice the objective: Huber's by the root of its loss."""
        loss = law.formula(W, **posterior.space.values(z[None], np.array([0])))[0]
        size = np.abs(Y[:, 0] - loss) / found.noise[0]
        bent = np.sign(Y[:, 0] - loss) * np.sqrt(np.where(size <= huber, size**2, huber * (2 * size - huber)))
        return np.concatenate([bent if np.isfinite(huber) else (Y[:, 0] - loss) / found.noise[0], z])

    theirs = least_squares(residuals, np.zeros(posterior.space.size), xtol=1e-12, ftol=1e-12, gtol=1e-9)
    assert found.converged.all()
    # an objective within 1e-5 of the other's: parameters at a thousandth of their posterior width
    assert found.objective[0] == pytest.approx(theirs.cost, abs=1e-5)
    assert posterior.objective(theirs.x[None], np.array([0]))[0] == pytest.approx(theirs.cost, abs=1e-9)


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_fitted_law_predicts_unseen_runs_of_its_own_making(law):
    W, loss, _ = made_by(law, runs=120)
    predicted = LawRegressor(law, random_state=0).fit(W[:60], loss[:60]).predict(W[60:])
    error = np.sqrt(np.mean((predicted - loss[60:]) ** 2, axis=0))
    assert (error < 0.02 * loss.std(axis=0)).all()  # priors pull by less than a fiftieth of what there is to learn


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_a_fit_is_closer_to_the_truth_than_the_noisy_runs_are(law):
    noise = 0.05
    W, loss, Y = made_by(law, runs=120, noise=noise)
    predicted = LawRegressor(law, random_state=0).fit(W, Y).predict(W)
    assert np.sqrt(np.mean((predicted - loss) ** 2)) < 0.6 * noise


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_noise_is_estimated_from_the_runs(law):
    W, _, Y = made_by(law, runs=200, noise=0.05)
    fitted = LawRegressor(law, random_state=0).fit(W, Y)
    assert fitted.noise_ == pytest.approx(np.full(2, 0.05), rel=0.2)  # 200 rows: a standard error of 5%


def test_a_wild_run_hardly_moves_a_robust_fit():
    law = LAWS["effective-data"]
    W, loss, Y = made_by(law, runs=60, noise=0.01, targets=1)
    Y[7] += 3.0  # nats: a run that blew up
    errors = {}
    for huber in (2.0, np.inf):
        predicted = LawRegressor(law, huber=huber, shared=False, random_state=0).fit(W, Y).predict(W)
        errors[huber] = np.sqrt(np.mean((predicted - loss) ** 2))
    assert errors[2.0] < 0.5 * errors[np.inf]


def test_batches_do_not_touch_each_other_nor_targets_whose_runs_are_not_told_apart(monkeypatch):
    law = LAWS["effective-data"]
    W, _, Y = made_by(law, targets=3, noise=0.01)

    def predicted(Y):
        return LawRegressor(law, shared=False, random_state=0).fit(W, Y).predict(W)

    together = predicted(Y)
    monkeypatch.setattr("regressors.fitting.levenberg_marquardt.CHUNK_BYTES", 1)  # one vector at a time
    np.testing.assert_allclose(predicted(Y), together, atol=1e-4)  # optima are found to 1e-7 of the objective
    np.testing.assert_allclose(np.column_stack([predicted(y) for y in Y.T]), together, atol=1e-4)


def test_losses_in_other_orders_of_magnitude_are_fitted():
    law = LAWS["effective-data"]
    W, loss, Y = made_by(law, noise=0.01, targets=1)
    flat = LawRegressor(law, random_state=0).fit(W, np.full(len(W), 2.5))
    np.testing.assert_allclose(flat.predict(W), 2.5, atol=1e-3)  # nothing to learn is learnt without trouble
    small = LawRegressor(law, random_state=0).fit(W, Y / 100).predict(W)
    assert np.sqrt(np.mean((small - loss / 100) ** 2)) < 0.01 / 100


def test_starts_report_how_many_agree():
    W, _, Y = made_by(LAWS["exponential-mixing"], noise=0.01)
    fitted = LawRegressor("exponential-mixing", n_starts=4, random_state=0).fit(W, Y)
    assert set(fitted.agreeing_) <= {0.25, 0.5, 0.75, 1.0} and fitted.converged_.all()
    assert (fitted.used_ > 0).all() and (fitted.used_ <= 5).all()  # c and four t
