"""The default predictor takes a second skill where the runs can bear it."""

import json

import numpy as np
import pytest

from regressors import EffectiveDataRegressor, from_dict


def runs(n, *, domains=4, texts=2, seed=0):
    """Losses of two skills, each served by domains of its own."""
    rng = np.random.default_rng(seed)
    W = rng.dirichlet(np.ones(domains), n)
    useful = rng.lognormal(0, 1.5, (2, texts, domains))
    data = ((W[:, None, None, :] + 0.01) ** 0.4 * useful).sum(axis=3)
    return W, 2 + (data**-0.5).mean(axis=1) + 0.002 * rng.standard_normal((n, texts))


@pytest.mark.parametrize(("n", "skills"), [(11, 1), (12, 2), (40, 2)])
def test_a_second_skill_comes_with_three_mixtures_a_domain(n, skills):
    assert EffectiveDataRegressor(random_state=0).fit(*runs(n)).skills_ == skills


def test_repeats_of_a_mixture_are_no_more_mixtures():
    W, Y = runs(10)
    model = EffectiveDataRegressor(random_state=0).fit(np.tile(W, (3, 1)), np.tile(Y, (3, 1)))
    assert model.skills_ == 1


def test_what_two_skills_made_is_predicted_better_by_two():
    W, Y = runs(240)
    error = {}
    for skills in (1, 2):
        predicted = EffectiveDataRegressor(skills=skills, random_state=0).fit(W[:120], Y[:120]).predict(W[120:])
        error[skills] = np.sqrt(np.mean((predicted - Y[120:]) ** 2))
    assert error[2] < 0.9 * error[1]


def test_more_starts_say_whether_they_agree_and_never_end_higher():
    W, Y = runs(60)
    one, four = (EffectiveDataRegressor(n_starts=n_starts, random_state=0).fit(W, Y) for n_starts in (1, 4))
    assert set(four.agreeing_) <= {0.25, 0.5, 0.75, 1.0}
    assert (four.objective_ <= one.objective_ + 1e-6).all()


@pytest.mark.parametrize("n", [10, 40])
def test_a_stored_fit_keeps_its_skills(n):
    W, Y = runs(n)
    model = EffectiveDataRegressor(random_state=0).fit(W, Y)
    again = from_dict(json.loads(json.dumps(model.to_dict())))
    np.testing.assert_array_equal(again.predict(W), model.predict(W))
    np.testing.assert_array_equal(again.gradient(W), model.gradient(W))


def test_other_numbers_of_skills_are_refused():
    with pytest.raises(ValueError, match="1, 2 or None"):
        EffectiveDataRegressor(skills=3).fit(*runs(12))
