"""Studies on runs that somebody already has."""

import json
import sqlite3
import subprocess
import sys
from contextlib import closing

import pytest

from mixopt.errors import MixoptError
from mixopt.study import examples
from mixopt.study.pipeline import open_session, run


def test_the_example_recommends_from_its_table(tmp_path):
    examples.copy("your-runs", tmp_path)
    text = (tmp_path / "your-runs.yaml").read_text().replace("seed: 0", "seed: 0\npredictors: [exponential-mixing]")
    text = text.replace("max_epochs: 10", "max_epochs: 10, trials: 80")
    (tmp_path / "your-runs.yaml").write_text(text)
    found = run(open_session(tmp_path / "your-runs.yaml", tmp_path / "out"))
    rows = {row["domain"]: row for row in found["domains"]}
    target = rows["medical"]["recommended"] + rows["legal"]["recommended"] + rows["docs"]["recommended"]
    assert target > 0.5
    assert all(row["epochs"] <= 10 + 1e-6 for row in rows.values())
    assert "nothing is known about the text" in (tmp_path / "out/report.html").read_text(encoding="utf-8")


def made(tmp_path, table: str, study: str = "runs: runs.csv\ntarget: x\nsearch: {trials: 80}\n"):
    (tmp_path / "runs.csv").write_text(table)
    (tmp_path / "study.yaml").write_text("name: mine\npredictors: [regmix-linear]\n" + study)
    return tmp_path / "study.yaml"


ROWS = "".join(f"{i / 10},{1 - i / 10:.1f},{3 + (i / 10 - 0.3) ** 2:.4f}\n" for i in range(11))


def test_a_bare_table_of_weights_and_losses_is_enough(tmp_path):
    found = run(open_session(made(tmp_path, "w_a,w_b,loss_x\n" + ROWS), tmp_path / "out"))
    assert found["full"]["tokens"] is None
    assert found["predicted"]["natural"] is None  # nobody said how large the pools are
    assert json.loads((tmp_path / "out/recommendation.json").read_text()) == found


def test_a_database_keeps_the_search_where_the_study_asks_for_it_once_however_often_it_runs(tmp_path):
    url = f"sqlite:///{tmp_path}/search.db"
    for seed in (0, 1):
        chosen = f"runs: runs.csv\ntarget: x\nseed: {seed}\nsearch: {{trials: 30, storage: '{url}'}}\n"
        run(open_session(made(tmp_path, "w_a,w_b,loss_x\n" + ROWS, chosen), tmp_path / "out"))
    assert not (tmp_path / "out/search.journal").exists()
    with closing(sqlite3.connect(tmp_path / "search.db")) as database:
        assert database.execute("SELECT study_name FROM studies").fetchall() == [("mixopt/mine",)]
        assert database.execute("SELECT count(*) FROM trials").fetchone() == (30,)


def test_limits_that_cannot_hold_are_refused_before_anything_is_fitted(tmp_path):
    study = "runs: runs.csv\ntarget: x\nsearch: {max_weight: 0.2}\n"
    session = open_session(made(tmp_path, "w_a,w_b,loss_x\n" + ROWS, study), tmp_path / "out")
    with pytest.raises(MixoptError, match=r"study.yaml: search: the largest weights allowed sum to 0.4, below 1"):
        run(session)
    assert not (tmp_path / "out/fits").exists()


@pytest.mark.parametrize(
    ("table", "study", "says"),
    [
        ("w_a,w_b,loss_x\n" + ROWS + "0.5,0.1,3\n", None, "runs.csv.*line 13"),
        ("w_a,w_b,loss_x\n" + ROWS + "0.5,0.5,inf\n", None, "line 13.*loss_x|loss_x.*line 13"),
        ("a,b,x\n" + ROWS, None, "weight"),
        ("w_a,w_b,loss_x\n" + ROWS, "runs: runs.csv\ntarget: y\n", "study.yaml: target names 'y', which the runs have no loss on: choose from x"),
        ("w_a,w_b,loss_x\n" + ROWS, "runs: runs.csv\ntarget: x\ndomains: {z: {pool: 1B}}\n", "domains.z: the runs have no"),
        ("w_a,w_b,loss_x\n" + ROWS, "runs: runs.csv\ntarget: x\nsearch: {fixed: {z: 0.5}}\n", "z"),
        ("", None, "runs.csv"),
        ("w_a,w_b,loss_target,loss_y\n" + ROWS.replace("\n", ",3.5\n"), "runs: runs.csv\ntarget: y\n", "a loss is called 'target'"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_refused_with_its_place(tmp_path, table, study, says):
    path = made(tmp_path, table, *([study] if study else []))
    with pytest.raises(MixoptError, match=says):
        run(open_session(path, tmp_path / "out"))


def test_commands_on_text_say_that_there_is_none(tmp_path):
    path = made(tmp_path, "w_a,w_b,loss_x\n" + ROWS)
    done = subprocess.run(
        [sys.executable, "-m", "mixopt.cli", "train", str(path)], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "no text to train" in done.stderr


@pytest.mark.slow
def test_regmix_s_published_table_gives_a_recommendation_for_pile_cc(tmp_path, shared_data):
    (tmp_path / "study.yaml").write_text(
        f"name: regmix\nruns: {shared_data / 'regmix' / 'train_1m.csv'}\ntarget: pile_cc\n"
    )
    found = run(open_session(tmp_path / "study.yaml", tmp_path / "out"))
    rows = {row["domain"]: row["recommended"] for row in found["domains"]}
    assert max(rows, key=rows.__getitem__) == "pile_cc"
    selection = json.loads((tmp_path / "out/fits/selection.json").read_text())
    best = next(s for s in selection["scores"] if s["predictor"] == found["predictor"] and s["target"] == "target")
    assert found["predictor"] == "effective-data" and best["spearman"] > 0.98


def test_a_study_s_where_keeps_the_rows_that_meet_it(tmp_path):
    rows = "".join(f"{line},{size}\n" for line in ROWS.splitlines() for size in ("70M", "160M"))
    path = made(tmp_path, "w_a,w_b,loss_x,params\n" + rows, "runs: {path: runs.csv, where: params=70M}\ntarget: x\n")
    session = open_session(path, tmp_path / "out")
    found = session.kind.import_runs(session)
    assert len(found.frame) == 11 and set(found.frame["params"]) == {70e6}
