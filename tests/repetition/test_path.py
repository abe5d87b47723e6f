"""The whole path of a study of repetition on small text, and its fit on runs whose law is known."""

import dataclasses
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mixopt.errors import MixoptError
from mixopt.repetition.config import RepetitionStudy
from mixopt.repetition.curves import best_epochs
from mixopt.repetition.fit import RepetitionFit, fit_ladders
from mixopt.repetition.recommend import Recommendation
from mixopt.repetition.runs import LadderRuns, counts_of
from mixopt.repetition.scores import INSIDE, LARGEST, LONGEST, cross_validate, splits
from mixopt.report import terminal
from mixopt.study import pipeline
from mixopt.study.layout import Folder
from mixopt.study.prepare import prepare
from tests.factories.progress import Recorder

pytestmark = pytest.mark.usefixtures("trained_here")

STUDY = """\
name: small
kind: repetition
domains:
  words: {path: words.jsonl}
full: {unique: 40K, compute: 2e9}
tokenizer: {vocab: 300}
prepare: {val_fraction: 0.2}
proxy: {layers: 1, width: 16, heads: 2, context: 16, batch: 4, validation_tokens: 400, workers: 1}
design:
  sizes: [1, 4]
  unique: [512, 1536]
  epochs: [1, 2, 8]
  weight_decay: [0.1, 1.0]
  repeats: 1
"""
N_RUNS, N_REPEATS = 2 * 2 * 3 * 2, 2


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    rng = np.random.default_rng(0)
    words = [f"{a}{b}" for a in ("snow", "wood", "river", "house") for b in ("", "s", "less", "ward", "like")]
    texts = [" ".join(rng.choice(words, size=rng.integers(5, 30))) for _ in range(1500)]
    (folder / "words.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts), encoding="utf-8")
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def done(home):
    """A finished study: (session, answer)."""
    session = pipeline.open_session(home / "study.yaml", home / "out", Recorder())
    return session, pipeline.run(session)


def edited(home, text):
    (home / "study.yaml").write_text(text, encoding="utf-8")


def table_of(session) -> pd.DataFrame:
    return pd.read_csv(session.folder.root / "runs.csv")


def test_every_artefact_of_the_path_is_there(done):
    root = done[0].folder.root
    for name in ("study.yaml", "shards/tokenizer.json", "design.csv", "runs.parquet", "runs.csv",
                 "fits/repetition.json", "recommendation.json", "report.html"):  # fmt: skip
        assert (root / name).stat().st_size > 0, name
    assert not (root / "export").exists()


def test_runs_hold_what_decides_the_return_of_an_epoch(done):
    runs = table_of(done[0])
    assert len(runs) == N_RUNS + N_REPEATS
    assert (runs["tokens"] == runs["unique"] * runs["epochs"]).all()
    assert set(runs["params"]) == {12 * 16**2, 12 * 32**2}
    assert set(runs["weight_decay"]) == {0.1, 1.0} and set(runs["unique"]) == {512, 1536}
    assert runs["target"].to_numpy() == pytest.approx(runs["loss/words"].to_numpy())
    assert list(runs.loc[runs["role"] == "repeat", "seed"]) == [1, 1]


def test_a_report_is_of_the_study_file_as_it_is(home, done):
    path, root = home / "study.yaml", done[0].folder.root
    path.write_text(STUDY.replace("compute: 2e9", "compute: 3e9"), encoding="utf-8")
    edited = pipeline.open_session(path, root, Recorder())
    with pytest.raises(MixoptError, match=r"answers another state of .*study\.yaml.*`mixopt run` brings it up"):
        pipeline.write_report(edited)
    path.write_text(STUDY, encoding="utf-8")
    pipeline.write_report(pipeline.open_session(path, root, Recorder()))


def test_every_run_saw_its_text_as_often_as_planned(done):
    session = done[0]
    planned = table_of(session).set_index("run_id")
    for path in session.folder.runs.glob("r*.json"):
        record = json.loads(path.read_text())
        assert record["epochs"]["words"] == planned.loc[path.stem, "epochs"]
        assert record["recipe"]["weight_decay"] == planned.loc[path.stem, "weight_decay"]
        assert record["tokens"] == planned.loc[path.stem, "tokens"]
        assert record["flops"] > record["flops_6nd"]


def test_a_run_has_the_same_losses_alone_as_among_others_of_other_recipes(home, done, tmp_path):

    from proxies.launch import Setup
    from proxies.worker import Worker

    session = done[0]
    plan, shards = pipeline.planned(session)
    job = plan.jobs[5]
    setup = Setup(
        recipe=plan.recipe,
        shards={name: shard.folder.resolve() for name, shard in shards.items()},
        tokenizer=session.folder.tokenizer.resolve(),
        out=tmp_path,
        validation_tokens=400,
        device="cpu",
        versions={},
    )
    assert job.recipe != setup.recipe
    Worker(setup, io.StringIO()).work([job])
    alone, among = (json.loads((where / f"{job.run_id}.json").read_text()) for where in (tmp_path, session.folder.runs))
    assert alone["losses"] == among["losses"]


def test_the_answer_has_epochs_with_an_interval_and_what_one_more_is_worth(done):
    answer = done[1]
    assert [arm["weight_decay"] for arm in answer["arms"]] == [0.1, 1.0]
    for arm in answer["arms"]:
        run = arm["plan"]["answer"]
        assert run["unique"] == 40_000
        assert run["compute"] <= 2e9 * (1 + 1e-9) and run["epochs"] == pytest.approx(run["tokens"] / 40_000)
        low, high = run["interval"]["epochs"]
        assert low <= high
        assert {"change", "fresh_tokens", "epoch_compute"} <= set(arm["plan"]["marginal"])
    losses = [arm["plan"]["answer"]["loss"] for arm in answer["arms"]]
    assert answer["chosen"] == int(np.argmin(losses))
    assert any(text.startswith("The answer extrapolates: it has 26 times the unique tokens") or
               "times the unique tokens" in text for text in answer["warnings"])  # fmt: skip


def test_running_again_trains_nothing_and_says_the_same(home, done):
    session, found = done
    before = {path: path.stat().st_mtime_ns for path in session.folder.runs.iterdir()}
    again = pipeline.open_session(home / "study.yaml", home / "out", Recorder())
    assert pipeline.run(again) == found
    assert {path: path.stat().st_mtime_ns for path in session.folder.runs.iterdir()} == before
    stages = again.progress.finished
    assert stages["train"].startswith(f"0 runs trained, {N_RUNS + N_REPEATS} were there")
    assert stages["fit"] == stages["answer"] == "as before"


def test_a_longer_ladder_trains_only_what_is_new(home, done):
    edited(home, STUDY.replace("sizes: [1, 4]", "sizes: [1]").replace("8]", "8, 16]"))
    session = pipeline.open_session(home / "study.yaml", home / "out", Recorder())
    shards = prepare(session.study, session.path, session.folder, session.progress)
    plan = session.kind.plan(session, shards)
    there = [job for job in plan.jobs if (session.folder.runs / f"{job.run_id}.json").is_file()]
    assert len(there) == 2 * 3 * 2  # the repeats are of longer runs now
    edited(home, STUDY)
    pipeline.open_session(home / "study.yaml", home / "out")


def test_a_new_question_is_answered_without_another_fit(home, done):
    edited(home, STUDY.replace("compute: 2e9", "params: 20K"))
    session = pipeline.open_session(home / "study.yaml", home / "out", Recorder())
    found = session.kind.recommend(session, pipeline.finished_runs(session))
    assert session.progress.finished["fit"] == "as before"
    assert found["arms"][0]["plan"]["answer"]["params"] == pytest.approx(20_000)
    edited(home, STUDY)
    session = pipeline.open_session(home / "study.yaml", home / "out", Recorder())
    assert session.kind.recommend(session, pipeline.finished_runs(session)) == done[1]


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_ends_with_the_same_runs(home, done):
    words = [sys.executable, "-m", "mixopt.cli", "run", "study.yaml", "--out", "killed"]
    child = subprocess.Popen(words, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    runs, deadline = home / "killed" / "runs", time.monotonic() + 120
    while len(list(runs.glob("r*.json"))) < 5:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    time.sleep(1.5)  # workers notice at their next event
    kept = {path.name: path.stat().st_mtime_ns for path in runs.glob("r*.json")}
    assert len(kept) < N_RUNS + N_REPEATS
    session = pipeline.open_session(home / "study.yaml", home / "killed", Recorder())
    pipeline.run(session)
    assert all((runs / name).stat().st_mtime_ns == changed for name, changed in kept.items())
    assert table_of(session)["target"].tolist() == table_of(done[0])["target"].tolist()


def test_the_page_has_every_section_and_figure(done):
    page = done[0].folder.report.read_text(encoding="utf-8")
    for key in ("best", "returns", "answer", "isoloss", "r-star", "scores", "noise", "runs", "corpora", "reproduce"):
        assert f'id="{key}"' in page
    start = page.index('id="figures">') + len('id="figures">')
    figures = json.loads(page[start : page.index("</script>", start)])
    assert len(figures["returns"]) == 4 and len(figures["isoloss"]) == 4  # two sizes, two amounts, two decays
    points = [trace for trace in figures["returns"][0]["data"] if trace.get("mode") == "markers"]
    assert sum(len(trace["x"]) for trace in points) in (6, 8)  # three epochs of two amounts, and the repeats
    assert "Infinity" not in page[start : page.index("</script>", start)]


def test_what_this_kind_cannot_do_is_refused_in_one_line(command, home, done):
    refused = {"export": "recommends no mixture to export", "verify": "recommends nothing that verify could train"}
    for verb, says in refused.items():
        failed = command(verb, "study.yaml", "--out", "out", cwd=home)
        assert failed.code == 2 and says in failed.err and "Traceback" not in failed.err


def shown(document) -> str:
    from rich.console import Console

    console = Console(record=True, width=110, file=io.StringIO())
    terminal.show(console, document)
    return console.export_text()


def test_the_terminal_shows_the_answer_and_the_held_out_error_of_every_form(done):
    session, found = done
    text = shown(session.kind.document(found))
    text += shown(session.kind.fit_document(session.kind.fit(session, pipeline.finished_runs(session))))
    words = " ".join(text.split())
    for part in ("Predicted loss", "Measured: ", "R*", "Best number of epochs", "bounded-penalty", "data-decay",
                 *found["warnings"][:1]):  # fmt: skip
        assert part in words


def test_the_page_holds_what_the_terminal_shows(done):
    session, found = done
    brief, page = session.kind.document(found), session.kind.report(session)
    assert (page.headline, page.summary, page.warnings) == (brief.headline, brief.summary, brief.warnings)
    assert brief.sections and all(section in page.sections for section in brief.sections)


def test_every_warning_has_a_code_and_files_without_codes_still_show(done):
    session, found = done
    codes = [warning.code for warning in session.kind.document(found).warnings]
    assert codes[0] == "extrapolation" and "noise" in codes and "" not in codes
    older = {key: value for key, value in found.items() if key != "warning_codes"}
    assert [warning.text for warning in session.kind.document(older).warnings] == found["warnings"]


def test_the_records_hold_everything_that_is_on_disk(done):
    folder = done[0].folder
    for record, path in ((Recommendation, folder.recommendation), (RepetitionFit, folder.fits / "repetition.json")):
        content = json.loads(path.read_text())
        rest = {key: content[key] for key in content if key not in ("question", "checksum")}
        assert json.loads(json.dumps(record.from_json(content).to_json())) == rest


def test_an_answer_that_is_not_whole_is_refused_in_one_line(done, tmp_path):
    session, found = done
    shutil.copytree(session.folder.root, tmp_path / "broken", ignore=shutil.ignore_patterns("shards", "runs"))
    folder = Folder(tmp_path / "broken")
    folder.recommendation.write_text(
        json.dumps({key: value for key, value in found.items() if key not in ("best", "checksum")})
    )
    with pytest.raises(
        MixoptError, match=r"not as this version of mixopt writes it \(best: Field required\).*`mixopt recommend`"
    ) as error:
        session.kind.report(dataclasses.replace(session, folder=folder))
    assert "\n" not in str(error.value)


# Fits to runs whose law is known


def made(form, values, *, noise=0.004, sizes=(2e4, 1e5, 4e5), unique=(2e4, 1e5, 4e5), seed=0):
    """A ladder of runs whose losses follow a form of the law."""
    from regressors.laws.overfitting import FORMS

    rng = np.random.default_rng(seed)
    grid = [(n, u * e, u, e) for n in sizes for u in unique for e in (1, 2, 4, 8, 16, 32)]
    runs = pd.DataFrame(grid, columns=["params", "tokens", "unique", "epochs"])
    given = {key: np.array([value]) for key, value in values.items()}
    true = FORMS[form].formula(*runs[["params", "tokens", "unique"]].to_numpy(dtype=float).T, **given)[0]
    runs["target"] = true * np.exp(noise * rng.standard_normal(len(runs)))
    ids = [f"r{i:03d}" for i in range(len(runs))]
    return runs.assign(run_id=ids, role="cell", seed=0, weight_decay=0.1, diverged=False, reason=None, true=true)


DECAY = {"E": 1.8, "A": 20.0, "B": 200.0, "alpha": 0.3, "beta": 0.4, "r_star_d": 6.0}
HARM = {"E": 1.8, "G": 10.0, "A": 8.0, "B": 19.0, "alpha": 0.45, "beta": 0.4, "P": 0.001, "delta": 1.3, "kappa": 0.9}


@pytest.fixture(scope="module")
def study():
    given = {"name": "s", "kind": "repetition", "domains": {"a": {"builtin": "code"}}}
    return RepetitionStudy.model_validate(given | {"full": {"unique": 1e6, "compute": 1e13}})


def fitted(runs, study, tmp_path):
    return fit_ladders(LadderRuns(runs, {"a": 1.0}), study, Folder(tmp_path), Recorder())


def test_the_profile_of_r_star_holds_the_value_that_made_the_runs(study, tmp_path):
    group = fitted(made("data-decay", DECAY), study, tmp_path).arms[0]
    row = next(row for row in group.r_star if row.form == "data-decay")
    assert row.low < 6.0 < row.high
    assert row.value == pytest.approx(6.0, rel=0.15)
    assert min(row.profile.rise) == 0.0
    assert (np.diff(row.profile.value) > 0).all()


@pytest.fixture(scope="module")
def harmed(study, tmp_path_factory):
    """A ladder that repetition harms: its runs, their fit and where it lies."""
    runs, folder = made("bounded-penalty", HARM), tmp_path_factory.mktemp("harmed")
    return runs, fitted(runs, study, folder), folder


def test_the_best_epochs_of_a_ladder_that_is_harmed_are_found(harmed):
    from regressors.laws.overfitting import FORMS

    _, fit, _ = harmed
    given = {key: np.array([value]) for key, value in HARM.items()}
    for curve in fit.arms[0].curves:
        epochs = np.geomspace(1, 64, 400)
        n, u = curve.params, curve.unique
        true = FORMS["bounded-penalty"].formula(np.full(400, n), epochs * u, np.full(400, u), **given)[0]
        best = best_epochs(epochs, true)
        if best is not None and curve.best is not None and best < 40:
            # The valley is flat: a tenth of a nat/token's noise moves its floor by a fifth.
            assert curve.best == pytest.approx(best, rel=0.25)
            assert curve.best_low * 0.8 <= best <= (curve.best_high or np.inf) * 1.25
    scores = {(row.form, row.case): row.rmse for row in fit.arms[0].scores}
    assert scores["average", INSIDE] < 0.05 < scores["data-decay", INSIDE]


def test_a_stored_fit_predicts_what_it_predicted(harmed, study):
    runs, first, folder = harmed
    again = fitted(runs, study, folder)
    X = counts_of(runs)
    assert again.arms[0].regressor.predict(X) == pytest.approx(first.arms[0].regressor.predict(X), rel=1e-9)
    assert again == first


def test_held_out_runs_are_never_fitted_and_all_runs_are_held_out_once():
    runs = made("data-decay", DECAY)
    parts = list(splits(runs, seed=0))
    inside = np.sum([out for case, out in parts if case == INSIDE], axis=0)
    assert (inside == 1).all()
    longest = next(out for case, out in parts if case == LONGEST)
    assert set(runs.loc[longest, "epochs"]) == {32}
    largest = next(out for case, out in parts if case == LARGEST)
    assert set(runs.loc[largest, "params"]) == {4e5}

    fits = []

    def spy(X, y):
        fits.append({tuple(row) for row in X})
        return {"spy": lambda *out: np.full(len(out[0]), np.nan if fits[-1] & set(zip(*out, strict=True)) else 3.0)}

    scores, _ = cross_validate(runs, spy, seed=0, progress=lambda case: None)
    assert len(fits) == len(parts) and all(row.rmse is not None for row in scores)


def test_a_form_without_a_number_for_some_run_has_no_score():
    def silent(X, y):
        return {"no": lambda params, tokens, unique: np.full(len(params), np.nan)}

    scores, kept = cross_validate(made("data-decay", DECAY), silent, seed=0, progress=lambda case: None)
    assert {row.rmse for row in scores} == {None} and set(kept.predicted["no"]) == {None}


def test_too_few_runs_are_refused(study, tmp_path):
    with pytest.raises(MixoptError, match=r"5 finished runs of weight decay 0.1 are too few for a law: train 8"):
        fitted(made("data-decay", DECAY).head(5), study, tmp_path)


def test_the_best_epochs_of_a_parabola_are_its_floor_and_of_a_falling_curve_none():
    epochs = np.geomspace(1, 64, 61)
    assert best_epochs(epochs, (np.log(epochs) - np.log(7.3)) ** 2) == pytest.approx(7.3, rel=1e-6)
    assert best_epochs(epochs, -epochs) is None
    assert best_epochs(epochs, epochs) == 1.0
