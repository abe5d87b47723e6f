"""Facts about leaderboards: every predictor on every loss of a table."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import mixopt
from mixopt.errors import MixoptError
from mixopt.mixture import leaderboard as judged
from mixopt.mixture.report import fit_report
from mixopt.report.html import render
from mixopt.runs.read import read_runs
from mixopt.study.progress import Progress
from tests.factories.mixture_tables import made_runs, write_table


@pytest.fixture(autouse=True)
def short_search(monkeypatch):
    """Searches are tested elsewhere: here a few trials will do, the local search does the rest."""
    monkeypatch.setattr("mixopt.mixture.table.TRIALS", 70)


QUICK = ["regmix-linear", "exponential-mixing"]


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("board")
    table = read_runs(write_table(folder / "runs.csv", *made_runs()))
    return judged.leaderboard(table, QUICK, folds=4)


def test_the_board_is_ordered_by_mean_error_and_every_loss_has_one_best(record):
    errors = [row["rmse_sd"] for row in record["board"]]
    assert errors == sorted(errors) and len(errors) == 2
    assert sum(row["best_on"] for row in record["board"]) == len(record["texts"]) == 2


def test_errors_of_the_board_are_in_spreads_of_each_loss(record):
    spread = {row["target"]: row["signal_sd"] for row in record["noise"]}
    for row in record["board"]:
        own = [score for score in record["scores"] if score["predictor"] == row["predictor"]]
        assert row["rmse_sd"] == pytest.approx(np.mean([score["rmse"] / spread[score["target"]] for score in own]))
        assert row["spearman"] == pytest.approx(np.mean([score["spearman"] for score in own]))


def test_scores_in_another_unit_give_the_same_board(record, tmp_path):
    w, losses = made_runs()
    table = read_runs(write_table(tmp_path / "bits.csv", w, {name: 2 * column for name, column in losses.items()}))
    again = judged.leaderboard(table, ["regmix-linear"], folds=4)["board"][0]
    before = next(row for row in record["board"] if row["predictor"] == "regmix-linear")
    assert again["rmse_sd"] == pytest.approx(before["rmse_sd"], rel=1e-6)


def test_a_predictor_that_does_not_suit_the_runs_costs_the_others_nothing(tmp_path):
    table = read_runs(write_table(tmp_path / "runs.csv", *made_runs()))  # no pools
    found = judged.leaderboard(table, ["effective-data-epochs", "regmix-linear"], folds=4)
    assert list(found["refused"]) == ["effective-data-epochs"]
    assert [row["predictor"] for row in found["board"]] == ["regmix-linear"]
    with pytest.raises(MixoptError):
        judged.leaderboard(table, ["effective-data-epochs"], folds=4)


def test_a_loss_called_target_is_refused_with_the_way_out(tmp_path):
    w, losses = made_runs()
    table = read_runs(write_table(tmp_path / "runs.csv", w, {"target": losses["x"], "y": losses["y"]}))
    with pytest.raises(MixoptError, match="--losses"):
        judged.leaderboard(table, QUICK)


def test_what_will_take_long_is_foreseen_from_small_fits(monkeypatch, tmp_path):
    table = read_runs(write_table(tmp_path / "runs.csv", *made_runs(640)))
    monkeypatch.setattr(judged, "_timed", lambda make, W, Y: (len(W) / 64) ** 2)  # seconds; grows with the square
    told = judged.expected_seconds("regmix-linear", table, folds=5, seed=0)
    assert told == pytest.approx(5 * (640 * 0.8 / 64) ** 2)
    notes = []

    class Listening(Progress):
        def note(self, message):
            notes.append(message)

    judged.leaderboard(table, ["regmix-linear"], folds=5, progress=Listening())
    assert notes == [
        "Scoring takes 5 minutes or more (regmix-linear 5 minutes): name fewer predictors with --predictors to "
        "shorten it."
    ]
    small = read_runs(write_table(tmp_path / "small.csv", *made_runs(24)))
    assert judged.expected_seconds("regmix-linear", small, folds=5, seed=0) == 0


@pytest.mark.parametrize(
    ("limit", "losses", "refused"),
    [(1e9, 12, []), (60.0, 9, []), (24.0, 9, ["regmix-linear"]), (1.0, 8, ["regmix-linear", "exponential-mixing"])],
)
def test_scoring_ends_within_its_limit(monkeypatch, tmp_path, limit, losses, refused):
    w, own = made_runs()
    table = read_runs(write_table(tmp_path / "runs.csv", w, {f"l{i}": own["x"] + i for i in range(12)}))
    cost = {"regmix-linear": 4.0, "exponential-mixing": 2.0, "effective-data": 0.5}
    monkeypatch.setattr(judged, "expected_seconds", lambda name, *_, **__: 12 * cost[name])
    seen = []

    def judge_all(table, objective, names, **_):
        seen.append((names[0], len(table.targets)))
        raise MixoptError("not today")

    monkeypatch.setattr(judged, "judge_all", judge_all)
    with pytest.raises(MixoptError, match="not today"):
        judged.leaderboard(table, list(cost), limit=limit, target="l11")
    assert seen == [(name, losses) for name in cost if name not in refused]


def test_a_sample_of_losses_holds_those_of_the_target_and_is_shown_as_one(tmp_path, monkeypatch):
    w, own = made_runs()
    table = read_runs(write_table(tmp_path / "runs.csv", w, {f"l{i}": own["x"] + i for i in range(12)}))
    monkeypatch.setattr(judged, "expected_seconds", lambda *_, **__: 12.0)
    found = judged.leaderboard(table, ["regmix-linear"], limit=9.0, target={"l3": 0.5, "l4": 0.5}, folds=4)
    assert len(found["texts"]) == 9 and {"l0", "l3", "l4", "l11"} <= set(found["texts"])
    codes = [warning.code for warning in judged.leaderboard_document(found).warnings]
    assert found["sampled_from"] == 12 and "losses-sampled" in codes


def test_the_command_needs_no_target_and_writes_a_page(run, tmp_path):
    write_table(tmp_path / "runs.csv", *made_runs())
    told = run("leaderboard", "runs.csv", "--predictors", ",".join(QUICK), "--folds", "4", "--html", "board.html")
    assert re.search(r"2 losses, 24 runs of 2\d mixtures, 4 folds", told) and "Best on" in told  # some are near-equal
    page = (tmp_path / "board.html").read_text(encoding="utf-8")
    assert all(name in page for name in (*QUICK, "Loss by loss", "mixopt leaderboard runs.csv"))
    assert "No mixture was trained twice" in page
    assert "src=" not in page and "<link" not in page  # all in one file


def test_names_in_a_page_are_text_and_nothing_else(tmp_path):
    w, losses = made_runs()
    names = ("<script>alert(1)</script>", "b&c", '"d"')
    path = write_table(tmp_path / "runs.csv", w, {"<i>x</i>": losses["x"]}, domains=names)
    table = read_runs(path)
    page = render(judged.leaderboard_document(judged.leaderboard(table, ["regmix-linear"], folds=4)))
    fit = mixopt.fit_table(table, {"<i>x</i>": 1.0}, ["regmix-linear"], folds=4, name="<b>")
    for html in (page, render(fit_report(fit.record, table.frame))):
        assert "<i>x" not in html and "&lt;i&gt;x" in html
        assert "<script>alert" not in html and "<b>:" not in html


def test_the_command_scores_a_target_beside_the_losses(run, tmp_path):
    write_table(tmp_path / "runs.csv", *made_runs())
    words = ("leaderboard", "runs.csv", "--predictors", "regmix-linear", "--folds", "4", "--target", "all")
    assert "On the target alone, 0.5 x + 0.5 y" in run(*words)
    found = json.loads(run(*words, "--json"))
    assert {row["target"] for row in found["scores"]} == {"target", "x", "y"}
    assert found["files"][0]["name"] == "runs.csv"


def test_all_public_names_of_tables_are_at_the_door():
    assert {"leaderboard", "load_fit", "fit_table", "StoredFit"} <= set(mixopt.__all__)


@pytest.mark.parametrize("name", ["leaderboard", "load_fit", "fit_table", "StoredFit", "read_runs"])
def test_a_public_name_is_no_module_which_an_import_would_put_in_its_place(name):
    assert not (Path(mixopt.__file__).parent / f"{name}.py").exists()
