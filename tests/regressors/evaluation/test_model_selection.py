"""Choosing a predictor: the simplest that held-out errors can't tell from the best."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regressors.evaluation.model_selection import choose, mixture_means, nested

ORDER = ("plane", "law", "process")


def made(sds, *, n=200, seed=0, texts=0):
    """Held-out predictions whose errors are normal with these standard deviations, independent of each other."""
    rng = np.random.default_rng(seed)
    measured = 3 + rng.random((n, 1 + texts))
    return {name: measured + sd * rng.standard_normal(measured.shape) for name, sd in sds.items()}, measured


def chosen(predicted, measured, **options):
    return choose(predicted, measured, np.arange(len(measured)), ORDER, **options)


def test_a_clearly_lower_error_wins():
    assert chosen(*made({"plane": 0.1, "law": 0.05, "process": 0.02})).name == "process"
    assert chosen(*made({"plane": 0.02, "law": 0.05, "process": 0.1})).name == "plane"


def test_of_equal_errors_the_simpler_wins_however_the_predictors_are_listed():
    predicted, measured = made({"law": 0.05})
    predicted = {"process": predicted["law"] + 1e-9, "law": predicted["law"], "plane": predicted["law"] + 2e-9}
    assert {chosen(dict(items), measured).name for items in (predicted.items(), reversed(predicted.items()))} == {
        "plane"
    }


def test_a_difference_within_one_standard_error_is_none():
    measured = np.zeros((100, 1))
    worse = np.zeros((100, 1))
    worse[0] = 0.1  # one run decides: the mean difference is just its standard error
    base = np.full((100, 1), 0.05)
    found = chosen({"process": base, "law": base + worse}, measured)
    assert (found.name, found.best) == ("law", "process")
    assert "within one standard error" in found.why
    worse[:20] = 0.03  # twenty runs agree that it is worse
    assert chosen({"process": base, "law": base + worse}, measured).name == "process"


def test_the_comparison_is_paired():
    # Errors scatter much from run to run, but one predictor's are a little larger on every single run.
    rng = np.random.default_rng(0)
    error = 0.05 * rng.standard_normal((100, 1))
    measured = np.zeros((100, 1))
    found = chosen({"process": error, "law": 1.04 * error}, measured)
    assert found.name == "process"  # 8% of a mean square whose own standard error is 14%


def test_a_predictor_that_is_much_worse_is_never_taken_for_its_simplicity():
    measured, base, outlier = np.zeros((30, 1)), np.full((30, 1), 0.05), np.zeros((30, 1))
    outlier[0] = 1.0  # one run alone: within one standard error, but the RMSE is many times as high
    assert chosen({"process": base, "law": base + outlier}, measured).name == "process"


def test_errors_at_the_noise_cannot_be_beaten():
    square = np.tile([0.0, 2e-4], 50)[:, None]  # mean 1e-4, give or take 1e-5
    predicted, measured = {"law": square**0.5, "plane": (square + 5e-6) ** 0.5}, np.zeros((100, 1))
    assert chosen(predicted, measured).name == "law"  # better on every single run
    found = chosen(predicted, measured, noise=(1.06e-4) ** 0.5)
    assert found.name == "plane" and "noise between runs" in found.why
    assert chosen(predicted, measured, noise=(1.04e-4) ** 0.5).name == "law"


def test_noise_above_all_errors_is_no_floor():
    # Repeats with other seeds scatter more than runs that share a seed: their sd says nothing about held-out errors.
    predicted, measured = made({"plane": 0.05, "law": 0.01}, n=500)
    assert chosen(predicted, measured, noise=0.2).name == "law"


def test_texts_add_to_the_evidence():
    alone = made({"law": 0.050, "process": 0.047}, n=40, seed=1)
    assert chosen(*alone).name == "law"
    predicted, measured = made({"law": 0.050, "process": 0.040}, n=40, seed=1, texts=30)
    target = {name: np.column_stack([alone[0][name], p[:, 1:]]) for name, p in predicted.items()}
    assert chosen(target, np.column_stack([alone[1], measured[:, 1:]])).name == "process"


def test_missing_losses_and_broken_predictions_do_not_count():
    predicted, measured = made({"plane": 0.1, "law": 0.02}, texts=2)
    measured[::3, 1] = np.nan
    measured[1::3, 0] = np.nan
    assert chosen(predicted, measured).name == "law"
    predicted["law"][:, 0] = np.nan
    assert chosen(predicted, measured).name == "plane"
    with pytest.raises(ValueError, match="no predictor has a finite"):
        chosen({"law": predicted["law"]}, measured)


def test_a_mixture_counts_once_however_often_it_was_run():
    predicted = {"law": np.array([[0.0], [0.2], [0.2]]), "process": np.array([[0.1], [0.1], [0.1]])}
    measured, groups = np.zeros((3, 1)), np.array([0, 1, 1])
    many = {name: np.repeat(p, [1, 50, 50], axis=0) for name, p in predicted.items()}
    few = choose(predicted, measured, groups, ORDER)
    assert few == choose(many, np.zeros((101, 1)), np.repeat(groups, [1, 50, 50]), ORDER)


def test_a_name_that_the_order_lacks_counts_as_most_complex():
    predicted, measured = made({"process": 0.05})
    both = {"mine": predicted["process"], "process": predicted["process"]}
    assert chosen(both, measured).name == "process"


@given(st.integers(0, 200), st.integers(2, 6))
def test_nested_predictions_of_a_fold_owe_nothing_to_its_losses(seed, folds):
    predicted, measured = made({"plane": 0.05, "law": 0.05, "process": 0.05}, n=30, seed=seed)
    fold, groups = np.arange(30) % folds, np.arange(30)
    kept, names = nested(predicted, measured, groups, fold, ORDER)
    assert len(names) == folds
    for k in range(folds):
        changed = measured.copy()
        changed[fold == k] += 9.0
        again, renamed = nested(predicted, changed, groups, fold, ORDER)
        assert renamed[k] == names[k]
        np.testing.assert_array_equal(again[fold == k], kept[fold == k])
        np.testing.assert_array_equal(kept[fold == k], predicted[names[k]][fold == k])


def test_choosing_costs_something_and_nested_scores_show_it():
    # Ten predictors that are all alike: the lowest held-out error is luck, the nested one is not.
    lucky, honest = [], []
    for seed in range(20):
        predicted, measured = made({f"p{i}": 0.05 for i in range(10)}, n=24, seed=seed)
        order = tuple(predicted)[::-1]
        kept, _ = nested(predicted, measured, np.arange(24), np.arange(24) % 6, order)
        lucky.append(min(np.mean((p - measured) ** 2) for p in predicted.values()))
        honest.append(np.mean((kept - measured) ** 2))
    assert np.mean(lucky) < 0.85 * 0.05**2 < 0.93 * 0.05**2 < np.mean(honest) < 1.15 * 0.05**2


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20), st.integers(0, 99))
def test_mixture_means_are_the_means_by_label(labels, seed):
    values = np.random.default_rng(seed).random((len(labels), 2))
    expected = [values[np.array(labels) == label].mean(axis=0) for label in sorted(set(labels))]
    np.testing.assert_allclose(mixture_means(values, np.array(labels)), expected)
