"""Output options: the user's files stay, what can't be written is said before the work, answers come before saving."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mixopt
from mixopt.runs.read import read_runs
from tests.factories.command import Command, contents
from tests.factories.small_study import OF_RUNS

FIT = ("--target", "x", "--predictors", "regmix-linear", "--folds", "4")
# Every option that names a file, last in its command.
OPTIONS = {
    "fit --out": ("fit", "runs.csv", *FIT, "--out"),
    "fit --html": ("fit", "runs.csv", *FIT, "--out", "new.fit.json", "--html"),
    "leaderboard --html": ("leaderboard", "runs.csv", "--predictors", "regmix-linear", "--html"),
    "predict --out": ("predict", "made.fit.json", "runs.csv", "--out"),
    "scale --out": ("scale", "runs.csv", "--target", "x", "--out"),
    "plan epochs --html": ("plan", "epochs", "--unique", "25B", "--compute", "1e22", "--html"),
    "plan scale --html": ("plan", "scale", "--compute", "1e22", "--html"),
    "plan cpt --html": ("plan", "cpt", "--runs", "runs.csv", "--html"),
}
READING = {name: words for name, words in OPTIONS.items() if "runs.csv" in words}
QUICK = ("fit --out", "fit --html", "leaderboard --html", "predict --out", "plan epochs --html", "plan scale --html")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A table of runs and its fit, as {name: content}."""
    folder = tmp_path_factory.mktemp("made")
    rng = np.random.default_rng(0)
    w = rng.dirichlet(np.ones(3), 20).round(3)
    frame = pd.DataFrame({"run": [f"r{i}" for i in range(20)], "w_a": w[:, 0], "w_b": w[:, 1]})
    frame["w_c"] = (1 - frame.w_a - frame.w_b).round(3)
    frame["loss_x"] = 3 + np.exp(-2 * w[:, 0]) + rng.normal(0, 0.005, 20)
    frame.to_csv(folder / "runs.csv", index=False)
    mixopt.fit_table(read_runs(folder / "runs.csv"), {"x": 1.0}, ["regmix-linear"], folds=4).save(
        folder / "made.fit.json"
    )
    return contents(folder)


@pytest.fixture(autouse=True)
def short_search(monkeypatch):
    monkeypatch.setattr("mixopt.mixture.table.TRIALS", 70)


@pytest.fixture
def command(capsys, monkeypatch, tmp_path, made):
    for name, content in made.items():
        (tmp_path / name).write_bytes(content)
    return Command(capsys, monkeypatch, tmp_path)


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["", "force"])
@pytest.mark.parametrize("name", READING)
def test_a_file_that_a_command_reads_is_never_written(name, force, command, tmp_path):
    (tmp_path / "link.csv").symlink_to("runs.csv")
    (tmp_path / "same.csv").hardlink_to(tmp_path / "runs.csv")
    before = contents(tmp_path)
    for target in ("runs.csv", "./runs.csv", tmp_path / "runs.csv", "link.csv", "same.csv"):
        said = command.refused(*OPTIONS[name], target, *force)
        assert name.split()[-1] in said and "the command reads" in said
    assert contents(tmp_path) == before


def test_the_fit_that_is_predicted_from_is_never_written(command, tmp_path, made):
    assert "the command reads" in command.refused(*OPTIONS["predict --out"], "made.fit.json", "--force")
    assert (tmp_path / "made.fit.json").read_bytes() == made["made.fit.json"]


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("content", ["", "mine", "{}", "<html></html>"], ids=["empty", "text", "json", "html"])
def test_a_file_of_the_user_s_is_kept(name, content, command, tmp_path):
    (tmp_path / "mine").write_text(content)
    before = contents(tmp_path)
    said = command.refused(*OPTIONS[name], "mine")
    assert "is there already" in said and "--force" in said and name.split()[-1] in said
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["fit --html", "plan scale --html", "predict --out"])
def test_force_writes_over_a_file_of_the_user_s(name, command, tmp_path):
    (tmp_path / "mine").write_text("mine")
    assert command(*OPTIONS[name], "mine", "--force").code == 0
    assert len((tmp_path / "mine").read_text()) > 100


@pytest.mark.parametrize("name", ["fit --out", "fit --html", "plan scale --html"])
def test_a_command_writes_over_its_own_earlier_output(name, command, tmp_path):
    assert command(*OPTIONS[name], "page").code == 0
    first = (tmp_path / "page").read_bytes()
    assert command(*OPTIONS[name], "page").code == 0
    assert (tmp_path / "page").read_bytes() == first


def test_a_page_says_that_mixopt_made_it_and_json_its_version(command, tmp_path):
    said = command(*OPTIONS["fit --html"], "page.html", "--json")
    assert '<meta name="generator" content="mixopt">' in (tmp_path / "page.html").read_text()
    for text in (said.out, (tmp_path / "new.fit.json").read_text()):
        assert json.loads(text)["mixopt"] == mixopt.__version__


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (".", "it is a folder"),
        ("/", "it is a folder"),
        ("/dev/full", "it is no regular file"),
        ("/dev/null", "it is no regular file"),
        ("pipe", "it is no regular file"),
        ("to-a-device", "it is no regular file"),
        ("n" * 300, "File name too long"),
        ("new/" + "n" * 300, "File name too long"),
        ("n" * 300 + "/page", "File name too long"),
        ("runs.csv/page", "Not a directory"),
        ("/proc/page", "No such file or directory"),
        ("", "is empty"),
        (" ", "is empty"),
    ],
)
def test_what_can_t_be_written_is_said_before_the_work(name, target, reason, command, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-a-device").symlink_to("/dev/full")
    monkeypatch.setattr("mixopt.runs.read.Reading.table", lambda *_: pytest.fail("the work has begun"))
    before = contents(tmp_path)
    said = command.refused(*OPTIONS[name], target, "--force")
    assert reason in said and name.split()[-1] in said
    assert contents(tmp_path) == before and not Path("/dev/full").is_file()


@pytest.mark.parametrize("name", [name for name in QUICK if name != "fit --html"])
def test_a_folder_that_may_not_be_written_is_said_before_the_work(name, command, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "scratch")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    monkeypatch.setattr("mixopt.runs.read.Reading.table", lambda *_: pytest.fail("the work has begun"))
    said = command.refused(*OPTIONS[name], "new/page")
    assert "new/page can't be written (Permission denied)" in said and name.split()[-1] in said
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", QUICK)
def test_an_answer_is_shown_before_it_is_saved(name, command, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    before = contents(tmp_path)
    said = command(*OPTIONS[name], "page")
    assert said.code == 2 and len(said.out.splitlines()) > 5
    assert "can't be written (No space left on device): name another file" in said.err.replace("\n", "")
    assert contents(tmp_path) == before, "nothing half written is left"


def test_two_outputs_of_one_name_are_refused(command, tmp_path):
    before = contents(tmp_path)
    for other in ("new.fit.json", "./new.fit.json"):
        assert "is also the file of --out: name another" in command.refused(*OPTIONS["fit --html"], other)
    assert contents(tmp_path) == before


def test_a_link_to_a_file_still_points_to_it_afterwards(command, tmp_path):
    (tmp_path / "pages").mkdir()
    (tmp_path / "link.html").symlink_to("pages/page.html")
    assert command(*OPTIONS["plan scale --html"], "link.html").code == 0
    assert (tmp_path / "link.html").is_symlink() and (tmp_path / "pages" / "page.html").is_file()
    assert command(*OPTIONS["plan scale --html"], "link.html").code == 0


def test_init_refuses_an_empty_folder_name(command, tmp_path):
    before = contents(tmp_path)
    assert "DIR is empty" in command.refused("init", "")
    assert "choose another DIR" in command.refused("init", "runs.csv")
    assert contents(tmp_path) == before


# Markdown of a study


@pytest.fixture
def study(command, tmp_path):
    (tmp_path / "mine.yaml").write_text(OF_RUNS)
    assert command("run", "mine.yaml").code == 0
    return tmp_path / "studies" / "mine"


def test_markdown_is_written_over_only_where_the_study_recorded_it(command, study, tmp_path):
    for place, again in (("studies/mine/notes.md", 0), ("notes.md", 2)):
        words = ("report", "mine.yaml", "--markdown", place)
        assert command(*words).code == 0
        assert command(*words).code == again
        (tmp_path / place).write_text("mine")
        assert "is there already" in command.refused(*words)
        assert (tmp_path / place).read_text() == "mine"
        assert command(*words, "--force").code == 0
        assert (tmp_path / place).read_text().startswith("# ")


@pytest.mark.parametrize(
    "target",
    ["mine.yaml", "runs.csv", "studies/mine/study.yaml", "studies/mine/runs.csv", "studies/mine/export/interleave.py",
     "studies/mine/report.html", "studies/mine/recommendation.json", "studies/mine/.mixopt.json"],
)  # fmt: skip
def test_markdown_takes_the_place_of_nothing_that_the_study_reads_or_writes(target, command, study, tmp_path):
    before = contents(tmp_path)
    said = command.refused("report", "mine.yaml", "--markdown", target, "--force")
    assert "--markdown" in said and "the command reads" in said
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["run", "fit", "recommend", "report", "export"])
def test_an_empty_study_folder_is_refused(name, command, tmp_path):
    (tmp_path / "mine.yaml").write_text(OF_RUNS)
    before = contents(tmp_path)
    assert "--out is empty" in command.refused(name, "mine.yaml", "--out", "")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["run", "fit", "recommend"])
@pytest.mark.parametrize("out", ["runs.csv", "runs.csv/deeper", "n" * 300, "/dev/full", "/proc/mine"])
def test_a_study_folder_that_can_t_be_made_is_one_sentence(name, out, command, tmp_path):
    (tmp_path / "mine.yaml").write_text(OF_RUNS)
    before = contents(tmp_path)
    said = command.refused(name, "mine.yaml", "--out", out)
    assert "--out" in said and out in said
    assert contents(tmp_path) == before


def test_an_edited_export_is_kept(command, study):
    edited = study / "export" / "interleave.py"
    edited.write_text("# mine\n")
    for name in ("export", "run"):
        said = command.refused(name, "mine.yaml")
        assert "interleave.py was changed since mixopt wrote it: move or delete it" in said
    assert edited.read_text() == "# mine\n"
    edited.unlink()
    assert command("export", "mine.yaml").code == 0


def test_a_study_shows_and_saves_its_answer_before_the_rest(command, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "mine.yaml").write_text(OF_RUNS)
    monkeypatch.setattr("optuna.storages.journal.JournalFileBackend.append_logs", full)
    said = command("run", "mine.yaml")
    assert said.code == 2 and "Train on" in said.out
    assert "search.journal can't be written (No space left on device): choose another place with --out" in said.err
    folder = tmp_path / "studies" / "mine"
    assert json.loads((folder / "recommendation.json").read_text())["study"] == "mine"
    assert not (folder / "search.journal").exists() and not list(folder.rglob(".mixopt-*"))
    monkeypatch.undo()


def test_standard_output_on_a_full_disk_is_one_sentence(tmp_path):
    import subprocess
    import sys

    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "mixopt.cli", "plan", "scale", "--compute", "1e22", "--json"],
            cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the output can't be written (No space left on device)" in done.stderr and "--out" not in done.stderr
