"""Whose a study folder is, what in it is a person's, and who is at work there."""

import os
import signal
import subprocess
import sys

import pytest

from mixopt.errors import MixoptError
from mixopt.study.layout import Folder, alone
from mixopt.study.pipeline import held_session, open_session
from proxies.files import SCRATCH
from tests.factories.command import contents

STUDY = "name: mine\ndomains: {}\nruns: runs.csv\ntarget: x\n"


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs.csv").write_text("run,w_a,w_b,loss_x\n")
    (tmp_path / "study.yaml").write_text(STUDY)
    return tmp_path


def refused(home, *given) -> str:
    """Why a study can't have a folder; nothing there has changed."""
    before = contents(home)
    with pytest.raises(MixoptError) as error, held_session(*given):
        pass
    assert contents(home) == before and "--out" in str(error.value)
    return str(error.value)


def test_a_study_file_of_the_user_s_in_the_folder_is_kept(home):
    (home / "other").mkdir()
    (home / "other" / "study.yaml").write_text("name: mine\n# precious\n")
    assert "other/study.yaml is there already" in refused(home, "study.yaml", "other")


@pytest.mark.parametrize("name", ["runs.csv", "report.html", "design.csv", "recommendation.json", "runs/a.json",
                                  "export/interleave.py", "verify.json", "search.journal"])  # fmt: skip
def test_a_folder_that_holds_anything_of_a_study_s_names_is_left_alone(name, home):
    path = home / "other" / name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert f"other/{name.split('/')[0]} is there already" in refused(home, "study.yaml", "other")


def test_a_table_that_the_study_reads_is_not_written_over_in_its_own_folder(home):
    assert "runs.csv: the study reads it" in refused(home, "study.yaml", ".")
    (home / "away.yaml").write_text(STUDY.replace("runs.csv", "studies/mine/runs.csv"))
    open_session("study.yaml")
    (home / "studies" / "mine" / "runs.csv").write_text("run,w_a,w_b,loss_x\n")
    assert "studies/mine/runs.csv: the study reads it" in refused(home, "away.yaml", "studies/mine")


def test_files_of_other_names_don_t_keep_a_study_out(home):
    (home / "other").mkdir()
    (home / "other" / "notes.txt").write_text("mine")
    assert open_session("study.yaml", "other").folder.study.read_text() == STUDY
    assert (home / "other" / "notes.txt").read_text() == "mine"


def test_two_studies_of_one_name_are_told_apart(home):
    open_session("study.yaml")
    for text in (STUDY, STUDY + "seed: 1\n"):
        (home / "second.yaml").write_text(text)
        said = refused(home, "second.yaml")
        assert f"holds the study of {home / 'study.yaml'}" in said and "name:" in said
    assert "holds the study of" in refused(home, "second.yaml", "studies/mine")


def test_a_folder_of_another_study_is_not_taken_over_even_when_its_file_is_gone(home):
    open_session("study.yaml", "out")
    (home / "study.yaml").rename(home / "moved.yaml")
    (home / "other.yaml").write_text(STUDY.replace("mine", "other"))
    assert "holds the study of" in refused(home, "other.yaml", "out")
    open_session("moved.yaml", "out")
    assert "holds the study of" in refused(home, "other.yaml", "out")


def test_a_study_goes_on_in_its_folder_after_an_edit(home):
    open_session("study.yaml", "out")
    (home / "study.yaml").write_text(STUDY + "seed: 1\n")
    for path in ("study.yaml", home / "study.yaml"):
        assert open_session(path, "out").folder.study.read_text() == STUDY + "seed: 1\n"


def test_the_copy_of_a_study_file_can_be_run_and_edits_of_it_are_kept(home):
    (home / "runs.csv").rename(home / "table.csv")
    (home / "study.yaml").write_text(STUDY.replace("runs.csv", str(home / "table.csv")))
    open_session("study.yaml", "out")
    open_session("out/study.yaml", "out")
    edited = (home / "out" / "study.yaml").read_text() + "# mine\n"
    (home / "out" / "study.yaml").write_text(edited)
    open_session("out/study.yaml", "out")
    with pytest.raises(MixoptError, match=r"out/study\.yaml was changed since mixopt wrote it: move or delete it"):
        open_session("study.yaml", "out")
    assert (home / "out" / "study.yaml").read_text() == edited


def test_a_folder_from_before_there_were_records_is_gone_on_with(home):
    (home / "old").mkdir()
    (home / "old" / "study.yaml").write_text(STUDY)
    (home / "old" / "report.html").write_text("an old page")
    folder = open_session("study.yaml", "old").folder
    folder.write(folder.report, "a new page")
    assert folder.report.read_text() == "a new page"


def test_a_text_that_a_person_changed_is_kept_and_one_that_they_did_not_is_written_anew(home):
    folder = open_session("study.yaml", "out").folder
    path = folder.export / "interleave.py"
    for text in ("one", "two", "two"):
        folder.write(path, text)
    path.write_text("mine")
    with pytest.raises(MixoptError, match=r"interleave\.py was changed since mixopt wrote it"):
        folder.write(path, "three")
    assert path.read_text() == "mine"
    folder.write(path, "three", force=True)
    folder.write(path, "four")
    assert path.read_text() == "four"


def test_a_text_whose_writing_was_cut_short_is_written_on_the_next_try(home, monkeypatch):
    folder = open_session("study.yaml", "out").folder
    folder.write(folder.design, "one")
    with monkeypatch.context() as patch:
        patch.setattr("mixopt.study.layout.write_text", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            folder.write(folder.design, "two")
    folder.write(folder.design, "three")
    assert folder.design.read_text() == "three"


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"name": "mine"}'])
def test_a_damaged_record_is_made_anew(content, home):
    folder = open_session("study.yaml", "out").folder
    folder.record.write_text(content)
    open_session("study.yaml", "out")
    assert folder.wrote(folder.study)


@pytest.mark.parametrize("name", ["", "n" * 201, "я" * 101])
def test_a_name_that_no_folder_can_have_is_refused_in_the_study_file(name, home):
    (home / "study.yaml").write_text(STUDY.replace("mine", name))
    with pytest.raises(MixoptError, match=r"study\.yaml:1: name"):
        open_session("study.yaml")


# The lock

HOLD = """\
import sys, time
from pathlib import Path
from mixopt.study.layout import alone
with alone(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder):
    """Another process at work in a folder."""
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "held\n"
    return child


def test_another_process_is_told_who_is_at_work_and_since_when(home):
    child = holder(home / "studies" / "mine")
    said = refused(home, "study.yaml")
    assert f"process {child.pid} on " in said and "since 2" in said and "is at work there: wait" in said
    child.communicate("")
    with held_session("study.yaml"):
        pass
    assert not list((home / "studies").rglob("*.lock"))


def test_the_lock_of_a_killed_process_is_taken_over_and_what_it_left_half_written_is_cleared(home):
    root = home / "studies" / "mine"
    child = holder(root)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    names = (f"{SCRATCH}1.json", f"shards/web/{SCRATCH}2/tokens", f"runs/{SCRATCH}3")
    left = [root / name for name in names]
    mine = root / "shards" / "web" / "notes"
    for path in (*left, mine):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("half")
    with alone(root):
        assert f"process {os.getpid()} on " in (root / ".mixopt.lock").read_text()
    assert list(root.rglob(f"{SCRATCH}*")) == [] and mine.exists()
    assert not (root / ".mixopt.lock").exists()


def test_what_another_process_has_half_written_in_a_folder_below_stays(home):
    child = holder(home / "studies" / "mine")
    left = [home / "studies" / "mine" / name for name in (f"{SCRATCH}1", f"runs/{SCRATCH}2")]
    left[1].parent.mkdir()
    for path in left:
        path.write_text("half")
    for folder in (home, home / "studies"):
        with alone(folder):
            assert all(path.exists() for path in left)
    child.communicate("")


def test_a_folder_is_free_again_after_an_error(home):
    with pytest.raises(ZeroDivisionError), alone(home / "out"):
        raise ZeroDivisionError
    with alone(home / "out"):
        pass


def test_where_a_file_system_has_no_locks_the_work_goes_on(home, monkeypatch):
    import errno

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with alone(home / "out"):
        assert Folder(home / "out").root.is_dir()
