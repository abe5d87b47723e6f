"""Judging, choosing and fitting predictors for a table of runs, without a study folder."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mixopt.errors import MixoptError
from mixopt.mixture.fit import fit_runs, judge_all
from mixopt.mixture.scores import SCORES, noise, score
from mixopt.runs.objective import target_of
from mixopt.runs.table import RunTable

DOMAINS, TEXTS = ("books", "code", "news"), ("quotes", "spanish")
QUICK = ("exponential-mixing", "regmix-linear")
TARGET = {"quotes": 3.0, "spanish": 1.0}


def made(n=36, *, sd=0.01, seed=0, **columns):
    """Runs whose losses bend like an exponential law."""
    rng = np.random.default_rng(seed)
    w = rng.dirichlet(np.ones(3), size=n)
    losses = 2 + np.exp(w @ np.array([[1.5, 0.0], [-2.0, 1.0], [0.0, -2.0]])) + rng.normal(0, sd, (n, 2))
    frame = pd.DataFrame(
        {"run_id": [f"r{i:02d}" for i in range(n)]}
        | {f"w/{name}": w[:, i] for i, name in enumerate(DOMAINS)}
        | {f"loss/{text}": losses[:, j] for j, text in enumerate(TEXTS)}
        | columns
    )
    return RunTable(frame=frame, domains=DOMAINS, targets=TEXTS)


@pytest.fixture(scope="module")
def judged():
    return judge_all(made(), TARGET, QUICK, seed=0)


def test_every_predictor_is_scored_on_the_target_and_on_every_text(judged):
    rows = judged.selection["scores"]
    assert [(row["predictor"], row["target"]) for row in rows] == [
        (name, text) for name in QUICK for text in ("target", *TEXTS)
    ]
    for row in rows:
        assert set(row) == {"predictor", "target", "seconds", *SCORES}
        assert row["seconds"] > 0 and 0 < row["rmse_se"] < row["rmse"]
        assert 0 <= row["regret5"] <= row["regret"] and 0.6 <= row["coverage80"] <= 1


def test_the_choice_comes_with_a_reason_and_with_what_choosing_is_worth(judged):
    selection = judged.selection
    assert selection["chosen"] == "exponential-mixing"
    assert selection["why"].startswith("exponential-mixing: ")
    assert selection["nested"]["chosen"] == {"exponential-mixing": selection["folds"]}
    best = next(row for row in selection["scores"] if row["predictor"] == "exponential-mixing")
    assert all(selection["nested"][key] == best[key] for key in SCORES)
    assert selection["floor"] is None  # nothing was repeated


def test_one_predictor_leaves_nothing_to_choose():
    found = judge_all(made(), TARGET, ["regmix-linear"])
    assert found.selection["nested"] is None
    assert found.selection["chosen"] == "regmix-linear"


def test_near_duplicates_of_a_mixture_share_a_fold_and_count_once():
    table = made(12)
    again = table.frame.assign(run_id=[f"s{i:02d}" for i in range(12)])
    again["w/books"] += 0.001
    again["w/code"] -= 0.001
    again.loc[again["w/code"] < 0, ["w/books", "w/code"]] += [-0.001, 0.001]
    found = judge_all(replace(table, frame=pd.concat([table.frame, again], ignore_index=True)), TARGET, QUICK)
    assert found.selection["mixtures"] == 12 and found.selection["runs"] == 24
    for held_out in found.judged.values():
        np.testing.assert_array_equal(held_out.fold[:12], held_out.fold[12:])


def test_all_predictors_meet_the_same_folds_and_the_caller_may_set_their_number():
    found = judge_all(made(), TARGET, QUICK, folds=4)
    folds = [held_out.fold for held_out in found.judged.values()]
    np.testing.assert_array_equal(*folds)
    assert set(folds[0]) == set(range(4)) and found.selection["folds"] == 4


def test_the_fit_is_of_the_chosen_predictor_with_its_choice_rehearsed():
    fitted = fit_runs(made(), TARGET, QUICK, seed=3)
    assert fitted.name == fitted.selection["chosen"] == "exponential-mixing"
    assert np.corrcoef(fitted.estimator.predict(made().weights)[:, 0], made().losses[:, 0])[0, 1] > 0.999
    assert len(fitted.held_out.repeated_holdout.rows) == 8
    again = fit_runs(made(), TARGET, QUICK, seed=3)
    np.testing.assert_array_equal(
        again.held_out.repeated_holdout.predicted[7], fitted.held_out.repeated_holdout.predicted[7]
    )


def test_repeats_give_the_noise_and_are_not_fitted():
    role = ["dirichlet"] * 33 + ["repeat"] * 3
    table = made(role=role)
    frame = table.frame.copy()
    frame.loc[33:, [f"w/{name}" for name in DOMAINS]] = frame.loc[0, [f"w/{name}" for name in DOMAINS]].to_numpy()
    found = judge_all(replace(table, frame=frame), TARGET, QUICK)
    assert found.selection["runs"] == 33 and len(found.table.frame) == 33
    losses = replace(table, frame=frame).losses[[0, 33, 34, 35]] @ [0.75, 0.25]
    assert found.selection["floor"] == found.selection["noise"][0]["sd"] == pytest.approx(losses.std(ddof=1))


def test_noise_is_pooled_over_all_repeated_mixtures():
    table = made(4)
    frame = pd.concat([table.frame] * 3, ignore_index=True)
    rng = np.random.default_rng(0)
    frame["loss/quotes"] += rng.normal(0, 0.1, 12)
    frame.loc[2, "loss/quotes"] = np.nan
    table = replace(table, frame=frame)
    row = next(row for row in noise(table, target_of(TARGET, table)) if row["target"] == "quotes")
    groups = [np.array([x for x in frame["loss/quotes"][i::4] if np.isfinite(x)]) for i in range(4)]
    square = sum(((x - x.mean()) ** 2).sum() for x in groups)
    assert row["sd"] == pytest.approx((square / (11 - 4)) ** 0.5)
    assert row["signal_sd"] == pytest.approx(np.std([x.mean() for x in groups], ddof=1))
    assert row["repeats"] == 8


def test_scores_of_too_few_mixtures_are_unknown():
    one = np.ones(2)
    assert score(one, one, np.arange(2), np.arange(2)) == dict.fromkeys(SCORES)
    few = np.array([1.0, 2.0, 3.0, 4.0])
    found = score(few, few + 0.1, np.arange(4), np.arange(4))
    assert found["regret5"] is None and found["coverage80"] is None  # 3 errors bound no 80%
    assert found["rmse"] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"predictors": ["effective-data-epochs"]}, "effective-data-epochs alone can't be used"),
        ({"table": made(3)}, "3 mixtures without divergence are too few"),
        ({"target": {"legal": 1.0}}, "'legal', which the runs have no loss on"),
        ({"folds": 99}, "99 needs to be 2 or more and at most the 3. distinct mixtures"),
    ],
)
def test_what_cannot_be_judged_is_refused(options, said):
    given = {"table": made(), "target": TARGET, "predictors": QUICK} | options
    with pytest.raises(MixoptError, match=said):
        judge_all(given.pop("table"), given.pop("target"), given.pop("predictors"), **given)
