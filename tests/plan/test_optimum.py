"""Facts about the best run for a budget, whatever the form of the law."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import mixopt
from mixopt.plan.optimum import IDLE, balanced, best_run, best_split, cheapest_to_use, least_compute, tokens_for
from mixopt.plan.presets import published
from mixopt.plan.surface import BIGGER, INFERENCE, LONGER, UNLIMITED, losses, slope

FORMS = {surface.name: surface for surface in published()}
SEEING = [name for name in FORMS if not name.startswith("chinchilla")]
few = settings(max_examples=25)
compute = st.floats(19.0, 24.0).map(lambda power: 10**power)
unique = st.floats(9.0, 12.0).map(lambda power: 10**power)
form = st.sampled_from(list(FORMS))
seeing = st.sampled_from(list(SEEING))


@few
@given(form, compute, unique)
def test_no_neighbour_of_the_best_split_is_better(name, compute, unique):
    surface = FORMS[name]
    run = best_split(surface, compute, unique)
    assert 6 * run.params * run.tokens == pytest.approx(compute, rel=1e-12)
    params = run.params * np.exp([-1, -0.1, -1e-3, 1e-3, 0.1, 1])
    others = losses(surface, params, compute / 6 / params, unique)
    assert (others >= run.loss - 1e-12).all()


@few
@given(seeing, compute, unique)
def test_more_unique_tokens_never_raise_the_loss_of_the_best_run(name, compute, unique):
    surface = FORMS[name]
    less, more = (best_run(surface, compute, u).loss for u in (unique, 1.5 * unique))
    assert more <= less + 10 * IDLE


@few
@given(form, compute, unique)
def test_more_compute_never_raises_the_loss_of_the_best_run(name, compute, unique):
    surface = FORMS[name]
    less, more = (best_run(surface, c, unique).loss for c in (compute, 1.5 * compute))
    # on a plateau compute is left unspent where it gains less than IDLE, decade after decade
    assert more <= less + 10 * IDLE


def test_where_more_compute_harms_the_rest_is_left_unspent():
    surface = FORMS["overfit-penalty"]
    run = best_run(surface, 1e24, 1e9)
    assert run.compute < 1e24 and run.loss < best_split(surface, 1e24, 1e9).loss
    around = np.exp([-0.01, 0, 0.01])
    near = losses(surface, run.params * around[:, None], run.tokens * around[None, :], 1e9)
    assert near.argmin() == 4  # the middle
    told = mixopt.plan_epochs(unique="1B", compute="1e24", preset="overfit-penalty")
    assert told["answer"]["loss"] == run.loss
    assert "left unspent" in told["notes"][0]


@settings(max_examples=12)
@given(form, st.floats(20, 23), st.floats(9.5, 12))
@example("average", 22.25, 10.40625)  # another budget, 9% smaller, has the same tokens
def test_size_tokens_compute_and_loss_find_the_same_run(name, compute, unique):
    surface = FORMS[name]
    run = best_run(surface, 10**compute, 10**unique)
    if run.compute < 0.99 * 10**compute:
        return  # the lowest loss there is: rounding decides whether it is reached
    assert least_compute(surface, run.loss, run.unique).compute == pytest.approx(run.compute, rel=1e-6)
    if abs(run.epochs - 1) > 1e-6:  # not at a kink, where one size is the best for many budgets
        for given in ({"params": run.params}, {"tokens": run.tokens}):
            found = balanced(surface, run.unique, **given)
            # forms that bend may give two budgets the same size, or the same tokens: then it's the best of either
            assert found.loss == pytest.approx(best_split(surface, found.compute, run.unique).loss, abs=1e-9)
            if abs(found.compute / run.compute - 1) < 0.2:  # `run`, or the best run of another budget with these tokens
                own = best_run(surface, found.compute, 10**unique)
                assert found.params == pytest.approx(own.params, rel=1e-5)


@few
@given(form, compute, unique)
def test_slopes_agree_with_finite_differences(name, compute, unique):
    surface = FORMS[name]
    run = best_split(surface, compute, unique)
    params, tokens = run.params * 1.3, max(run.tokens, 1.2 * unique)  # off every kink
    counts, step = np.array([params, tokens, unique]), 1e-4
    for along in (BIGGER, LONGER, (0, 0, 1), (1, -1, 0), (0.5, 1, 1)):
        up, down = (float(surface.loss(*counts * np.exp(side * step * np.array(along)))) for side in (1, -1))
        exact = float(slope(surface, params, tokens, unique, along))
        assert (up - down) / (2 * step) == pytest.approx(exact, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("name", FORMS)
def test_use_makes_models_smaller_and_never_dearer(name):
    surface = FORMS[name]
    plain = best_split(surface, 1e22, UNLIMITED)
    sizes = [plain.params]
    for use in (1e11, 1e12, 1e13):
        cheap = cheapest_to_use(surface, plain, use)
        assert cheap.loss <= plain.loss + 1e-9
        assert cheap.compute + INFERENCE * use * cheap.params <= plain.compute + INFERENCE * use * plain.params
        sizes.append(cheap.params)
    assert sizes == sorted(sizes, reverse=True)


def test_the_fewest_tokens_for_a_loss_reach_it_and_fewer_do_not():
    surface, params = FORMS["data-constrained"], np.array([1e9, 7e9, 5e10])
    found = tokens_for(surface, 2.3, params, 25e9)
    assert np.isfinite(found[1:]).all()
    assert losses(surface, params[1:], found[1:], 25e9) == pytest.approx(2.3, abs=1e-9)
    assert tokens_for(surface, 1.8, params, 25e9).tolist() == [np.inf] * 3
