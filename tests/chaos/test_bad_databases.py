"""Databases and journals of a search that are none, are damaged or another program's: refused by name before the work."""

import json
import sqlite3

import optuna
import pytest

from mixopt.errors import MixoptError
from mixopt.search.storage import check_storage, save_study
from tests.factories import mixture_tables
from tests.factories.bad_input import assert_refused
from tests.factories.command import Command
from tests.factories.small_study import OF_RUNS

pytestmark = pytest.mark.slow

STUDY = OF_RUNS.replace("trials: 40", 'trials: 20, storage: "sqlite:///search.db"')


@pytest.fixture(scope="module")
def searched():
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="mixopt/mine")
    study.optimize(lambda trial: trial.suggest_float("share", 0, 1), n_trials=3)
    return study


def written(*commands):
    """A database by these statements."""

    def make(path):
        with sqlite3.connect(path) as database:
            for command in commands:
                database.execute(command)
        database.close()

    return make


BAD = {
    "a folder": lambda path: path.mkdir(), "text": lambda path: path.write_text("no database " * 100), "binary": lambda path: path.write_bytes(bytes(range(256)) * 9),
    "a link to itself": lambda path: path.symlink_to(path.name), "JSON": lambda path: path.write_text("{}" * 200),
    "another program's studies": written("create table studies (a int)"), "another program's versions": written("create table version_info (a int)"),
    "another program's trials": written("create table trials (a int)", "create table studies (study_id integer primary key)"),
}  # fmt: skip
DAMAGES = {  # of a sound one
    "cut": lambda path: path.write_bytes(path.read_bytes()[:5000]), "cut to its header": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "a later version": written("update alembic_version set version_num = 'v9.9.9'"),
}  # fmt: skip


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    mixture_tables.write_table(tmp_path / "runs.csv", *mixture_tables.made_runs())
    (tmp_path / "study.yaml").write_text(STUDY)
    return Command(capsys, monkeypatch, tmp_path)


@pytest.mark.parametrize("name", BAD | DAMAGES)
def test_a_database_that_is_none_is_refused_by_name_before_the_work(name, command, searched, monkeypatch):
    monkeypatch.setattr("mixopt.mixture.fit.fit_runs", lambda *_, **__: pytest.fail("the work has begun"))
    path = command.cwd / "search.db"
    if name in DAMAGES:
        save_study(searched, f"sqlite:///{path}")
    (BAD | DAMAGES)[name](path)
    if name.startswith("another"):  # Optuna's own tables are added to it
        sentence = command.refused("run", "study.yaml", "--out", "out")
        assert "search.storage" in sentence and "search.db" in sentence
    else:
        assert_refused(command, "run", "study.yaml", "--out", "out", names=["search.storage", "search.db"])


@pytest.mark.parametrize(
    "damage",
    ["update trials set state = 'STRANGE'", "update study_directions set direction = 3", "drop table trial_values"],
)
def test_an_edited_study_is_replaced_or_refused_in_one_sentence(damage, searched, tmp_path):
    url = f"sqlite:///{tmp_path / 'search.db'}"
    save_study(searched, url)
    written(damage)(tmp_path / "search.db")
    try:
        check_storage(url)
        save_study(searched, url)
    except MixoptError as error:
        assert "search.db" in str(error) and "\n" not in str(error)
    else:
        assert len(optuna.load_study(study_name="mixopt/mine", storage=url).trials) == 3


@pytest.mark.parametrize("content", [b"", b'{"op_code": 0', b'{"op_code": 99}\n', b"\0" * 100, b"[" * 100_000, None])
def test_a_damaged_journal_is_no_obstacle(content, command):
    (command.cwd / "study.yaml").write_text(STUDY.replace(', storage: "sqlite:///search.db"', ""))
    command.output("run", "study.yaml", "--out", "out")
    answer, journal = command.cwd / "out/recommendation.json", command.cwd / "out/search.journal"
    right = json.loads(answer.read_text())
    journal.write_bytes(journal.read_bytes()[:-50] if content is None else content)
    answer.unlink()  # so that it is searched again
    command.output("run", "study.yaml", "--out", "out")
    assert json.loads(answer.read_text()) == right
    stored = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(journal)))
    assert len(optuna.load_study(study_name="mixopt/mine", storage=stored).trials) == 20
