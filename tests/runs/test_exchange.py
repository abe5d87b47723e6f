"""Planned runs for other trainers, and the filled table of their losses brought back."""

import json
import re

import pandas as pd
import pytest

from mixopt.study.cost import cost_of
from mixopt.study.pipeline import open_session, planned, trained
from mixopt.study.prepare import prepare
from mixopt.study.training import to_do
from proxies.record import read_record, write_record
from tests.factories.command import contents, one_sentence
from tests.factories.finished import write_finished
from tests.factories.small_study import CONTINUAL, write_small_study

LADDER = "ladder: [{params: 4, tokens: 2, mixtures: 4, repetition_runs: 0, shorter_runs: 1, repeats: 1}]\n"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A mixture study, as files."""
    folder = tmp_path_factory.mktemp("prepared")
    path = write_small_study(folder)
    session = open_session(path, folder / "out")
    prepare(session.study, session.path, session.folder, session.progress)
    (folder / "out/.mixopt.json").unlink()  # it goes with the study file's place
    return contents(folder)


@pytest.fixture(autouse=True)
def no_steps(monkeypatch):
    monkeypatch.setattr("mixopt.study.cost.measured_speed", lambda *_, **__: 1e-9)


@pytest.fixture
def home(tmp_path, prepared):
    for name, content in prepared.items():
        if content is not None:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def mixopt(command, home):
    """A command on the study, which ends with exit status 0."""

    def run(*words):
        done = command(*words, "--out", "out", cwd=home)
        assert done.code == 0, done.err
        return done.out

    return run


@pytest.fixture
def session(home):
    return open_session(home / "study.yaml", home / "out")


@pytest.fixture
def filled(home, mixopt):
    """The exported table, with losses."""
    mixopt("design", "study.yaml", "--export", "plan")
    table = pd.read_csv(home / "plan/runs.csv")
    for name in ("web", "law", "code"):
        table[f"loss/{name}"] = (4 - table[f"w/{name}"]).round(5)
    table.to_csv(home / "filled.csv", index=False)
    return table


def importing(command, home, table, *words):
    table.to_csv(home / "filled.csv", index=False)
    return command("import", "study.yaml", "filled.csv", "--out", "out", *words, cwd=home)


def test_every_planned_run_is_exported_as_any_trainer_could_train_it(home, mixopt, session):
    shown = mixopt("design", "study.yaml", "--export", "plan")
    assert "plan/runs.csv" in shown
    plan, shards = planned(session)
    for job in plan.jobs:
        found = json.loads((home / "plan" / f"{job.run_id}.json").read_text())
        assert (found["run_id"], found["role"], found["seed"]) == (job.run_id, job.role, job.seed)
        assert found["weights"] == job.weights and found["validation_sets"] == ["web", "law", "code"]
        assert {name: pool["unique_tokens"] for name, pool in found["pools"].items()} == job.pools
        assert {pool["start"] for pool in found["pools"].values()} == {0} and "hash" in found["subset"]
        assert found["pools"]["law"]["of"] == shards["law"].meta.train_tokens
        recipe = plan.recipe
        assert (found["params"], found["tokens"], found["steps"]) == (12 * 16**2, recipe.tokens_seen, recipe.steps)
        for key in ("layers", "width", "heads", "context", "batch", "learning_rate", "warmup", "decay", "weight_decay"):
            assert found[key] == getattr(recipe, key)
    table = pd.read_csv(home / "plan/runs.csv")
    assert list(table["run_id"]) == [job.run_id for job in plan.jobs]
    losses = [f"loss/{name}" for name in ("web", "law", "code")]
    assert list(table.columns) == ["run_id", "params", "tokens", "seed", "w/web", "w/law", "w/code", *losses]
    assert table[losses].isna().all(axis=None)


def test_an_export_replaces_an_earlier_one_but_no_file_that_someone_wrote(home, mixopt, command, filled):
    before = contents(home / "plan")
    mixopt("design", "study.yaml", "--export", "plan")
    assert contents(home / "plan") == before
    one = home / "plan" / f"{filled['run_id'][0]}.json"
    for path, text in ((home / "plan/runs.csv", (home / "filled.csv").read_text()), (one, '{"mine": 1}')):
        whole = path.read_text()
        path.write_text(text)
        refused = command("design", "study.yaml", "--export", "plan", "--out", "out", cwd=home)
        assert refused.code == 2 and f"{path.name} is there already" in one_sentence(refused.err)
        assert "name another folder" in refused.err and path.read_text() == text
        mixopt("design", "study.yaml", "--export", "plan", "--force")
        assert path.read_text() == whole
    for place in ("out/runs", "study.yaml", "out"):
        refused = command("design", "study.yaml", "--export", place, "--force", "--out", "out", cwd=home)
        assert refused.code == 2 and "--export" in one_sentence(refused.err)


def test_imported_runs_count_as_finished(home, command, session, filled):
    assert "9 runs imported" in importing(command, home, filled).out
    plan, _ = planned(session)
    assert all(to_do(job, session.folder.runs, session.folder.weights) is None for job in plan.jobs)
    assert (cost_of(session, plan).total("new"), cost_of(session, plan).total("kept")) == (0, 9)
    table = session.kind.collect(session, plan)
    rows = filled.set_index("run_id").loc[table.run_ids]
    assert table.losses.tolist() == rows[[f"loss/{name}" for name in table.targets]].to_numpy().tolist()
    assert list(table.kept["role"]) == [job.role for job in sorted(plan.jobs, key=lambda job: job.run_id)]
    for path in session.folder.runs.iterdir():
        record = read_record(path)
        assert record.source == "filled.csv" and record.device is None and record.seconds is None


def test_rows_without_losses_are_left_to_be_trained_here(home, command, session, filled):
    filled.loc[2:, [name for name in filled if name.startswith("loss/")]] = None
    assert "2 runs imported, 7 rows without losses left out" in importing(command, home, filled.iloc[::-1]).out
    assert {path.stem for path in session.folder.runs.iterdir()} == set(filled["run_id"][:2])
    assert "2 there" in command("run", "study.yaml", "--dry-run", "--out", "out", cwd=home).out


@pytest.mark.parametrize("columns", [["run_id", "loss/web", "loss/law", "loss/code"], None], ids=["few", "more"])
def test_what_a_run_was_trained_as_may_be_left_out_and_notes_may_be_added(home, command, session, filled, columns):
    done = importing(command, home, filled[columns] if columns else filled.assign(trainer="ours", **{"loss/gsm": 1.0}))
    assert done.code == 0 and ("'trainer', 'loss/gsm' are not of the table" in " ".join(done.out.split())) == (
        not columns
    )
    assert len(list(session.folder.runs.iterdir())) == 9


def test_counts_and_shares_may_be_written_as_people_write_them(home, command, filled):
    table = filled.assign(tokens="9,984", params="3.072K")
    table["w/law"] = [f"{100 * share:.6f}%" for share in table["w/law"]]
    assert importing(command, home, table).code == 0


def cell(column, value, row=3):
    def wrong(table):
        table[column] = table[column].astype(object)
        table.loc[row, column] = value
        return table

    return wrong


WRONG = {
    "unknown id": (cell("run_id", "r123"), r"line 5, column 'run_id': 'r123' is none of the 9 planned runs"),
    "no id": (cell("run_id", None), "line 5, column 'run_id': empty is none of the 9 planned runs"),
    "twice": (lambda table: pd.concat([table, table[3:4]]), "line 11, column 'run_id'.* stands on line 5 too: keep"),
    "weight": (cell("w/law", 0.01), r"line 5, column 'w/law': '0.01', but 0.0 in the plan of run r\w+: .*correct the"),
    "no weight": (cell("w/law", None), "line 5, column 'w/law': empty, but 0.0 in the plan"),
    "params": (cell("params", 3100), "line 5, column 'params': '3100', but 3072 in the plan"),
    "tokens": (cell("tokens", 10_000), "line 5, column 'tokens': '10000', but 9984 in the plan"),
    "seed": (cell("seed", 1), "line 5, column 'seed': '1', but 0 in the plan"),
    "text": (cell("tokens", "many"), "line 5, column 'tokens': 'many' is not a count"),
    "zero": (cell("loss/law", 0), "line 5, column 'loss/law': '0' is not a loss above 0, a finite number: write its"),
    "negative": (cell("loss/law", -2.5), "line 5, column 'loss/law': '-2.5' is not a loss above 0"),
    "infinite": (cell("loss/law", "inf"), "line 5, column 'loss/law': 'inf' is not a loss above 0"),
    "no number": (cell("loss/law", "2,5"), "line 5, column 'loss/law': '2,5' is not a number: write one with"),
    "missing": (cell("loss/law", None), "line 5, column 'loss/law': empty: the run's loss is missing: write its"),
    "no column": (lambda table: table.drop(columns="loss/law"), "no column 'loss/law': a run needs its loss on each"),
    "no ids": (lambda table: table.drop(columns="run_id"), "no column 'run_id', .*`mixopt design --export` writes"),
    "domain": (lambda table: table.assign(**{"w/math": 0.1}), "column 'w/math' is of no domain of study.yaml"),
    "unfilled": (lambda table: table.assign(**dict.fromkeys(table.columns[-3:])), "no row has losses: fill in"),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_a_table_that_isn_t_of_the_plan_is_refused_and_nothing_is_written(home, command, session, filled, wrong):
    change, why = WRONG[wrong]
    refused = importing(command, home, change(filled.copy()))
    assert refused.code == 2
    assert re.search(f"filled.csv.*{why}", one_sentence(refused.err)), refused.err
    assert not session.folder.runs.exists()


def test_a_run_on_record_is_replaced_by_another_only_when_that_is_wanted(home, command, session, filled):
    plan, _ = planned(session)
    write_finished(session.folder.runs, plan, plan.jobs[3:4])
    session.folder.weights.mkdir()
    weights = session.folder.weights / f"{plan.jobs[3].run_id}.npz"
    weights.write_bytes(b"of the run that was trained here")
    before = contents(session.folder.runs)
    refused = one_sentence(importing(command, home, filled).err)
    assert "line 5, column 'run_id'" in refused and "on record already with other losses" in refused
    assert "--force" in refused and contents(session.folder.runs) == before
    assert "9 runs imported" in importing(command, home, filled, "--force").out
    assert not weights.exists()  # or a text held out later would be evaluated with them
    after = contents(session.folder.runs)
    assert "0 runs imported, 9 were there" in importing(command, home, filled).out
    assert contents(session.folder.runs) == after


def test_a_loss_that_a_run_on_record_lacks_is_added_to_it(home, command, session, filled):
    importing(command, home, filled)
    path = session.folder.runs / f"{filled['run_id'][0]}.json"
    whole = read_record(path)
    lacking = {name: loss for name, loss in whole.losses.items() if name != "web"}
    texts = {name: text for name, text in whole.texts.items() if name != "web"}
    write_record(path, type(whole)(**vars(whole) | {"losses": lacking, "texts": texts, "seconds": 7.0}))
    assert "1 run imported, 8 were there" in importing(command, home, filled).out
    found = read_record(path)
    assert found.losses == whole.losses and found.texts == whole.texts and found.seconds == 7.0


def test_an_edit_that_leaves_imported_runs_without_use_is_asked_about(home, command, session, filled):
    importing(command, home, filled)
    (home / "study.yaml").write_text((home / "study.yaml").read_text().replace("tokens: 10K", "tokens: 8K"))
    refused = command("train", "study.yaml", "--out", "out", cwd=home)
    assert refused.code == 2 and "9 finished runs can no longer be used" in one_sentence(refused.err)


def test_continuations_are_trained_here(home, command):
    (home / "cpt.yaml").write_text(CONTINUAL)
    command("prepare", "cpt.yaml", "--out", "cpt", cwd=home)
    for words in (("design", "cpt.yaml", "--export", "plan"), ("import", "cpt.yaml", "filled.csv")):
        refused = command(*words, "--out", "cpt", cwd=home)
        assert refused.code == 2 and "trained here: `mixopt train`" in one_sentence(refused.err)
    assert not (home / "plan").exists()


def test_the_smallest_rung_can_be_trained_alone(home, session, monkeypatch):
    (home / "study.yaml").write_text((home / "study.yaml").read_text() + LADDER)
    session = open_session(home / "study.yaml", home / "out")
    plan, shards = planned(session)
    monkeypatch.setattr(session.kind, "train", lambda one, plan, _: write_finished(one.folder.runs, plan, plan.jobs))
    table = trained(session, plan, shards, extend=False)
    assert len(table.frame) == 9 and not session.folder.ladder.exists()


@pytest.mark.slow
def test_larger_rungs_are_exported_once_the_smallest_is_there_and_brought(home, command, filled):
    (home / "study.yaml").write_text((home / "study.yaml").read_text() + LADDER)
    assert importing(command, home, filled).code == 0
    assert command("design", "study.yaml", "--out", "out", "--export", "larger", cwd=home).code == 0
    table = pd.read_csv(home / "larger/runs.csv")
    assert sorted(set(table["params"])) == [3072, 12288]
    for name in ("web", "law", "code"):
        table[f"loss/{name}"] = 4 - table[f"w/{name}"] - 0.1 * (table["params"] > 4000)
    table.loc[table["run_id"].isin(filled["run_id"]), "loss/web"] = None
    refused = importing(command, home, table)
    assert refused.code == 2 and "'loss/web': empty" in refused.err
    done = importing(command, home, table[~table["run_id"].isin(filled["run_id"])])
    assert f"{len(table) - 9} runs imported" in done.out
    assert (
        f"0 runs to train, {len(table)} there"
        in command("run", "study.yaml", "--dry-run", "--out", "out", cwd=home).out
    )


@pytest.mark.parametrize("name", ["nowhere.csv", ".", "study.yaml", "n" * 300, "out/design.csv"])
def test_what_is_no_filled_table_is_refused(home, command, filled, name):
    refused = command("import", "study.yaml", name, "--out", "out", cwd=home)
    assert refused.code == 2 and name[:20] in one_sentence(refused.err) and not (home / "out/runs").exists()
