"""The whole path on small text that a user might bring: four domains, Cyrillic and Hebrew among them."""

import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mixopt.errors import MixoptError
from mixopt.serialization import write_json
from mixopt.study import pipeline
from mixopt.study.pipeline import open_session, planned, run
from proxies.record import Loss, read_record, write_record
from tests.factories.progress import Recorder

pytestmark = pytest.mark.usefixtures("trained_here")

WORDS = {
    "русский": ["снег", "лес", "река", "дом", "поле", "ветер", "город", "книга", "стол", "окно"],
    "עברית": ["שלום", "בית", "ספר", "ים", "עיר", "רוח", "שולחן", "חלון", "שמש", "אור"],
    "english": ["snow", "forest", "river", "house", "field", "wind", "city", "book", "table", "window"],
    "digits": [str(n) for n in range(100, 140)],
}

STUDY = """\
name: small
seed: 3
domains:
  русский: {path: "data/русский.jsonl", pool: 4M}
  עברית: {path: "data/עברית.jsonl.gz", pool: 1M, text: content}
  english: {path: data/english, pool: 3M, unit: line}
  digits: {path: "data/digits*.jsonl"}
held_out:
  mixed: {path: data/mixed.parquet}
target: {עברית: 0.5, mixed: 0.5}
full: {params: 10M, tokens: 4M}
tokenizer: {vocab: 300}
prepare: {val_fraction: 0.2}
proxy: {layers: 1, width: 16, heads: 1, context: 16, batch: 8, tokens: 20K, validation_tokens: 800, workers: 2}
design: {mixtures: 8, repeats: 2, repetition_runs: 2, shorter_runs: 1}
predictors: [effective-data, effective-data-epochs, regmix-linear]
search: {trials: 60, max_epochs: 6}
verify: {seeds: 2, params_scale: 4, tokens_scale: 1}
"""
PLAIN = STUDY.replace("[effective-data, effective-data-epochs, regmix-linear]", "[regmix-linear]")  # fitted at once


def sentences(words, n, rng):
    return [" ".join(rng.choice(words, size=rng.integers(5, 30))) + f" {i}." for i in range(n)]


def make_corpora(folder: Path) -> None:
    rng = np.random.default_rng(0)
    folder.mkdir()
    texts = {name: sentences(words, 400, rng) for name, words in WORDS.items()}
    lines = {name: [json.dumps({"text": t}, ensure_ascii=False) for t in docs] for name, docs in texts.items()}
    (folder / "русский.jsonl").write_text("\n".join(lines["русский"]), encoding="utf-8")
    with gzip.open(folder / "עברית.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"content": t}) + "\n" for t in texts["עברית"])
    (folder / "english").mkdir()
    (folder / "english" / "one.txt").write_text("\n".join(texts["english"][:200]))
    (folder / "english" / "two.txt").write_text("\n".join(texts["english"][200:]))
    (folder / "digits-1.jsonl").write_text("\n".join(lines["digits"][:300]))
    (folder / "digits-2.jsonl").write_text("\n".join(lines["digits"][300:]))
    mixed = [a + " " + b for a, b in zip(texts["english"], texts["русский"], strict=True)]
    pd.DataFrame({"text": mixed}).to_parquet(folder / "mixed.parquet")


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    make_corpora(folder / "data")
    (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def done(home):
    """A finished study: (session, recommendation)."""
    session = open_session(home / "study.yaml", home / "out", Recorder())
    return session, run(session)


@pytest.fixture(scope="module")
def plain(home, done):
    """The same study, fitted by least squares alone."""
    (home / "plain.yaml").write_text(PLAIN, encoding="utf-8")
    shutil.copytree(done[0].folder.root, home / "plain")
    shutil.rmtree(home / "plain/fits")
    owned_by(home / "plain.yaml", home / "plain")
    session = open_session(home / "plain.yaml", home / "plain", Recorder())
    return session, run(session)


def test_a_recommendation_is_a_mixture_with_tokens_epochs_and_intervals(done):
    session, found = done
    rows = {row["domain"]: row for row in found["domains"]}
    assert list(rows) == list(WORDS)
    assert sum(row["recommended"] for row in rows.values()) == pytest.approx(1)
    for row in rows.values():
        assert row["tokens"] == pytest.approx(row["recommended"] * 4e6)
        assert row["epochs"] == pytest.approx(row["tokens"] / row["pool"])
        assert row["epochs"] <= 6 + 1e-6
    assert rows["русский"]["pool"] == 4e6
    for name in ("recommended", "natural", "uniform"):
        shown = found["predicted"][name]
        assert shown["low"] <= shown["loss"] <= shown["high"]
    assert found["predicted"]["recommended"]["loss"] <= found["predicted"]["uniform"]["loss"]
    assert json.loads((session.folder.recommendation).read_text()) == found


def test_more_of_the_target_s_own_domain_is_recommended_than_is_natural(done):
    rows = {row["domain"]: row for row in done[1]["domains"]}
    assert rows["עברית"]["recommended"] > rows["עברית"]["natural"]


def test_every_artefact_of_the_path_is_there(done):
    root = done[0].folder.root
    for name in ("study.yaml", "shards/tokenizer.json", "shards/corpora.json", "shards/עברית/train.bin", "design.csv",
                 "runs.parquet", "runs.csv", "fits/selection.json", "search.journal", "recommendation.json",
                 "report.html", "export/interleave.py", "export/megatron.txt"):  # fmt: skip
        assert (root / name).stat().st_size > 0, name
    assert len(list((root / "runs").glob("r*.json"))) == 13


def test_proxies_repeat_each_domain_as_often_as_the_full_run_would(done):
    session = done[0]
    for path in session.folder.runs.glob("r*.json"):
        record = json.loads(path.read_text())
        if record["role"] == "repetition":  # those that are to differ
            continue
        for name, pool in (("русский", 4e6), ("עברית", 1e6), ("english", 3e6)):
            full = 4e6 * record["weights"][name] / pool
            # A sequence more or less of a pool of a few hundred.
            assert record["epochs"][name] == pytest.approx(full, rel=0.05, abs=0.05)


def test_some_mixtures_are_trained_again_from_other_pools_and_with_fewer_tokens(done):
    records = [json.loads(path.read_text()) for path in done[0].folder.runs.glob("r*.json")]
    ordinary = {
        tuple(r["weights"].values()): r for r in records if r["role"] not in ("repeat", "repetition", "shorter")
    }
    extra = [r for r in records if r["role"] in ("repetition", "shorter")]
    assert sorted(r["role"] for r in extra) == ["repetition", "repetition", "shorter"]
    for record in extra:
        usual = ordinary[tuple(record["weights"].values())]
        scale = 0.5 if record["role"] == "shorter" else 1.0
        assert record["tokens"] == pytest.approx(scale * usual["tokens"], rel=0.01)
        same = [record["pools"][n] == pytest.approx(scale * usual["pools"][n], abs=1) for n in WORDS]
        assert all(same) == (record["role"] == "shorter")


def test_the_fit_tells_whether_seeing_repetition_earned_its_place(done):
    shown = json.loads(done[0].folder.selection.read_text())["repetition"]
    assert shown["runs"] == 2 and shown["earned"] in (True, False)
    assert shown["with"] > 0 and shown["without"] > 0
    assert set(shown["r_star"]["by_text"]) == {"עברית", "mixed"}


def test_runs_record_what_decided_them(done):
    record = json.loads(next(done[0].folder.runs.glob("r*.json")).read_text())
    assert record["params"] == 12 * 16**2
    assert record["tokens"] >= (9_900 if record["role"] == "shorter" else 19_900)
    assert record["flops"] > record["flops_6nd"] == 6 * record["params"] * record["tokens"]
    assert set(record["losses"]) == {*WORDS, "mixed"}
    assert all(entry["bits_per_byte"] > 0 for entry in record["losses"].values())
    assert record["recipe"]["learning_rate"] == 8e-3 and record["versions"]["torch"]


def test_running_again_trains_nothing_and_says_the_same(home, done):
    session, found = done
    before = {path: path.stat().st_mtime_ns for path in session.folder.runs.iterdir()}
    again = open_session(home / "study.yaml", home / "out", Recorder())
    assert run(again) == found
    assert {path: path.stat().st_mtime_ns for path in session.folder.runs.iterdir()} == before
    assert again.progress.finished["train"].startswith("0 runs trained, 13 were there")
    assert "as before" in again.progress.finished["fit"]


def test_a_damaged_report_of_a_run_is_named_with_its_remedy(home, done):
    session = done[0]
    plan, _ = planned(session)
    path = session.folder.runs / f"{plan.jobs[0].run_id}.json"
    whole = path.read_text()
    path.write_text(whole[:100])
    try:
        with pytest.raises(MixoptError, match=rf"{path.stem}.json: not a whole run .*delete it, and `mixopt train`"):
            session.kind.collect(session, plan)
    finally:
        path.write_text(whole)


WRONG = {
    "another run's file": lambda run: replace(run, run_id="r0000000000000000"),
    "seed": lambda run: replace(run, seed=99),
    "tokens": lambda run: replace(run, tokens=run.tokens + 128),
    "params": lambda run: replace(run, params=1),
    "weights": lambda run: replace(run, weights=dict(zip(run.weights, [*run.weights.values()][::-1], strict=True))),
    "pools": lambda run: replace(run, pools={name: pool + 1 for name, pool in run.pools.items()}),
    "recipe": lambda run: replace(run, recipe=run.recipe | {"learning_rate": 1.0}),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_run_s_file_of_another_run_than_was_planned_is_refused_before_any_training(home, plain, tmp_path, wrong):
    session = edited(home, plain[0].folder.root, tmp_path)
    plan, shards = planned(session)
    path = session.folder.runs / f"{plan.jobs[3].run_id}.json"
    write_record(path, WRONG[wrong](read_record(path)))
    (session.folder.runs / f"{plan.jobs[4].run_id}.json").unlink()
    for stage in (lambda: session.kind.train(session, plan, shards), lambda: session.kind.collect(session, plan)):
        with pytest.raises(MixoptError, match=rf"{path.name}: \w+\S* is .*in the plan of run {path.stem}: delete it"):
            stage()
    assert not (session.folder.runs / f"{plan.jobs[4].run_id}.json").exists()


def test_a_run_that_was_copied_over_another_s_file_or_edited_is_refused_by_its_file(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path)
    plan, _ = planned(session)
    first, second = (session.folder.runs / f"{job.run_id}.json" for job in plan.jobs[:2])
    before = second.read_bytes()
    shutil.copy(first, second)
    with pytest.raises(MixoptError, match=rf"{second.name}: run_id is {first.stem}, but {second.stem} in the plan"):
        run(session)
    record = json.loads(before)
    record["losses"]["mixed"]["nats_per_token"] *= 10
    second.write_text(json.dumps(record))
    with pytest.raises(MixoptError, match=rf"{second.name}: was changed after .*delete it, and `mixopt train`"):
        run(session)
    second.unlink()
    assert run(session)["domains"] == plain[1]["domains"]


def test_a_run_has_the_role_that_the_plan_gives_it(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path)
    plan, _ = planned(session)
    path = session.folder.runs / f"{plan.jobs[0].run_id}.json"
    write_record(path, replace(read_record(path), role="repeat"))  # as another design may have called it
    table = session.kind.collect(session, plan).frame.set_index("run_id")
    assert table.loc[path.stem, "role"] == plan.jobs[0].role


STALE = [
    (("tokens: 4M", "tokens: 5M"), r"full\.tokens was 4e\+06 and is 5e\+06"),
    (
        ("english: {path: data/english, pool: 3M", "english: {path: data/english, pool: 2M"),
        r"domains\.english\.pool was 3e",
    ),
    (("seed: 3", "seed: 4"), "seed was 3 and is 4"),
]


@pytest.mark.parametrize(("change", "why"), STALE, ids=[new for (_, new), _ in STALE])
def test_runs_that_an_edit_leaves_without_use_end_a_run_before_any_training_unless_it_is_wanted(
    home, plain, tmp_path, change, why
):
    session = edited(home, plain[0].folder.root, tmp_path, change)
    runs = {path.name: path.read_bytes() for path in session.folder.runs.iterdir()}
    asked = []
    for answering in (session, replace(session, may_retrain=lambda text: bool(asked.append(text)))):
        with pytest.raises(MixoptError) as refused:
            run(answering)
        assert re.search(
            rf"{tmp_path.name}\.yaml: \d+ finished runs can no longer be used: {why}.*; \d+ of 1\d planned runs are "
            r"there, training the others takes \S+ tokens, about \d+ (s|minutes): add --yes .* or undo the edit$",
            str(refused.value),
        ), refused.value
    assert len(asked) == 1 and asked[0] in str(refused.value)
    assert {path.name: path.read_bytes() for path in session.folder.runs.iterdir()} == runs


def test_once_wanted_a_resumed_run_isn_t_asked_for_again_nor_is_the_way_back(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path, ("tokens: 20K", "tokens: 12K"))
    with pytest.raises(MixoptError, match="0 of 13 planned runs are there"):
        run(session)
    plan, _ = planned(session)
    found = run(replace(session, may_retrain=lambda why: True))
    (session.folder.runs / f"{plan.jobs[2].run_id}.json").unlink()  # as if killed
    assert run(session)["domains"] == found["domains"]
    owned_by(home / "plain.yaml", session.folder.root)
    back = open_session(home / "plain.yaml", session.folder.root, Recorder())
    assert run(back)["domains"] == plain[1]["domains"]


def test_more_runs_of_a_design_are_trained_without_asking(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path, ("repeats: 2", "repeats: 3"))
    run(session)
    assert session.progress.finished["train"].startswith("1 runs trained, 13 were there")


def test_a_folder_of_an_older_version_without_a_plan_is_asked_about_too(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path, ("seed: 3", "seed: 4"))
    session.folder.plan.unlink()
    with pytest.raises(
        MixoptError, match=r"\d+ finished runs can no longer be used: the study file, its texts or mixopt's ver"
    ):
        run(session)


HELD_OUT = ("held_out:\n", "held_out:\n  more: {path: data/mixed.parquet}\n")


def test_a_text_held_out_later_is_evaluated_without_training(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path, HELD_OUT)
    run(session)
    assert session.progress.finished["train"] == "0 runs trained, 13 were there, 13 evaluated on more"
    for path in session.folder.runs.iterdir():
        losses, before = read_record(path).losses, read_record(plain[0].folder.runs / path.name).losses
        assert losses == before | {"more": before["mixed"]}  # the same text under another name


def test_without_their_weights_runs_that_lack_a_loss_are_asked_about(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path, HELD_OUT)
    shutil.rmtree(session.folder.weights)
    why = r"13 finished runs .*: held_out\.more\.path was not given and is data/mix\S+; 0 of 13 planned runs are there"
    with pytest.raises(MixoptError, match=why):
        run(session)
    with pytest.raises(
        MixoptError, match=r"r\w+\.json: has no loss on more as it is now: `mixopt train` evaluates the"
    ):
        pipeline.finished_runs(session)


def test_weights_of_another_run_are_refused(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path, HELD_OUT)
    first, second = sorted(session.folder.weights.iterdir())[:2]
    shutil.copy(first, second)
    with pytest.raises(MixoptError, match=rf"{second.name}: holds run {first.stem}: delete it"):
        run(session)


def test_the_names_of_domains_and_their_places_decide_no_run(home, plain, tmp_path):
    lines = STUDY[STUDY.index("  русский") : STUDY.index("held_out")].splitlines(keepends=True)
    other = "".join([line.replace("english: ", "zzz: ") for line in reversed(lines)])
    session = edited(home, plain[0].folder.root, tmp_path, ("".join(lines), other))
    found = run(session)
    assert session.progress.finished["train"] == "0 runs trained, 13 were there"
    assert [row["domain"] for row in found["domains"]] == ["digits", "zzz", "עברית", "русский"]
    table, before = pipeline.finished_runs(session).frame, pipeline.finished_runs(plain[0]).frame
    for column, other in (("w/zzz", "w/english"), ("loss/zzz", "loss/english"), ("w/digits", "w/digits")):
        assert (table[column] == before[other]).all()


@pytest.mark.parametrize("kept", ["true", "false"])
def test_weights_are_kept_as_the_study_file_wants_it(home, plain, tmp_path, kept):
    session = edited(home, plain[0].folder.root, tmp_path, ("workers: 2}", f"workers: 2, keep_weights: {kept}}}"))
    assert session.question == plain[0].question
    gone = sorted(session.folder.runs.iterdir())[0]
    gone.unlink()
    (session.folder.weights / f"{gone.stem}.npz").unlink()
    run(session)
    assert gone.is_file() and (session.folder.weights / f"{gone.stem}.npz").is_file() == (kept == "true")


def test_the_command_ends_with_status_2_without_a_terminal_and_trains_with_yes(command, home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path, ("tokens: 20K", "tokens: 12K"))
    words = (session.path.name, "--out", session.folder.root)
    for name in ("run", "train"):
        refused = command(name, *words, cwd=home)
        assert refused.code == 2 and "13 finished runs can no longer be used: proxy.tokens was" in refused.err
        assert len(refused.err.strip().splitlines()) == 1
    trained = command("train", *words, "--yes", cwd=home)
    assert trained.code == 0, trained.err
    assert "13 finished runs can no longer be used" in " ".join(trained.out.split())
    assert len(list(session.folder.runs.glob("r*.json"))) == 26


def flipped(path: Path, at: int = -50) -> None:
    """One byte of a file is another, at equal size."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name", ["english/train.bin", "עברית/val.bin", "digits/documents.bin", "mixed/meta.json", "tokenizer.json"]
)
def test_a_damaged_shard_is_noticed_said_and_made_again(home, plain, tmp_path, name):
    session = edited(home, plain[0].folder.root, tmp_path)
    path = session.folder.shards / name
    before = path.read_bytes()
    flipped(path)
    assert run(session) == plain[1]
    assert path.read_bytes() == before
    notes = [note for note in session.progress.notes if "damaged" in note]
    assert len(notes) == 1 and (path.parent.name if name != "tokenizer.json" else name) in notes[0]


def test_a_cut_shard_is_made_again_and_not_asked_for_without_end(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path)
    path = session.folder.shards / "english/train.bin"
    path.write_bytes(path.read_bytes()[:-100])
    assert run(session) == plain[1]


def test_nothing_is_trained_on_a_damaged_shard(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path)
    plan, shards = planned(session)
    path = session.folder.runs / f"{plan.jobs[0].run_id}.json"
    path.unlink()
    flipped(session.folder.tokenizer)
    with pytest.raises(MixoptError, match=r"tokenizer\.json isn't as it was written: `mixopt prepare` makes it again"):
        planned(session)
    flipped(session.folder.tokenizer)
    flipped(session.folder.shards / "digits/val.bin")
    with pytest.raises(MixoptError, match=r"digits: its tokens aren't those that were written .*`mixopt prepare`"):
        session.kind.train(session, plan, shards)
    assert not path.exists()


def test_runs_of_another_design_stay_out_of_the_table(home, done):
    session = done[0]
    plan, _ = planned(session)
    stray = session.folder.runs / "r0000000000000000.json"
    stray.write_text(json.dumps({"run_id": stray.stem, "weights": {"x": 1.0}, "losses": {}}))
    try:
        assert len(session.kind.collect(session, plan).frame) == 13
    finally:
        stray.unlink()


def test_changing_a_proxy_changes_every_run_id(home, tmp_path, done):
    session = done[0]
    # a run without that text, or on all of it that there is, stays what it is, whatever the full run's pool
    ids = {job.run_id for job in planned(session)[0].jobs if job.role != "repetition" and job.weights["русский"] > 0}
    for old, new in (("seed: 3", "seed: 9"), ("tokens: 20K", "tokens: 21K"), ("pool: 4M", "pool: 5M")):
        (home / "study.yaml").write_text(STUDY.replace(old, new), encoding="utf-8")
        other = open_session(home / "study.yaml", home / "out")
        assert not ids & {job.run_id for job in planned(other)[0].jobs}, new
    (home / "study.yaml").write_text(STUDY, encoding="utf-8")
    open_session(home / "study.yaml", home / "out")


def test_a_database_that_can_t_keep_the_search_is_refused_before_training(done):
    session = done[0]
    search = session.study.search.model_copy(update={"storage": "sqlite:////proc/none.db"})
    with pytest.raises(MixoptError, match=r"search\.storage: no study can be kept"):
        planned(replace(session, study=session.study.model_copy(update={"search": search})))


def test_exports_hold_the_recommended_shares(done):
    session, found = done
    shares = {row["domain"]: row["recommended"] for row in found["domains"]}
    interleave, megatron = (path.read_text(encoding="utf-8") for path in session.kind.export(session))
    namespace: dict = {}
    exec(compile(interleave, "interleave.py", "exec"), namespace)
    assert sum(namespace["PROBABILITIES"].values()) == pytest.approx(1)
    parts = megatron.split()
    assert {name: float(w) for w, name in zip(parts[::2], parts[1::2], strict=True)} == pytest.approx(
        {name: w for name, w in shares.items() if w > 1e-6}, abs=1e-5
    )


def edited(home: Path, folder: Path, tmp_path: Path, *changes: tuple[str, str]):
    """A copy of a finished study's folder, and a session on its edited study file."""
    shutil.copytree(folder, tmp_path / "copy")
    text = PLAIN
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = home / f"{tmp_path.name}.yaml"
    path.write_text(text, encoding="utf-8")
    owned_by(path, tmp_path / "copy")
    return open_session(path, tmp_path / "copy", Recorder())


def owned_by(path: Path, folder: Path) -> None:
    """The study file of a folder is another one now, as if it had been renamed and edited."""
    record = json.loads((folder / ".mixopt.json").read_text())
    write_json(folder / ".mixopt.json", record | {"source": str(path.resolve())})


EDITS = [
    ("target: {עברית: 0.5, mixed: 0.5}", "target: {עברית: 0.4, mixed: 0.6}"),
    ("tokens: 4M", "tokens: 5M"),
    ("pool: 1M", "pool: 2M"),
    ("max_epochs: 6", "max_epochs: 5"),
    ("trials: 60", "trials: 61"),
    ("seed: 3", "seed: 4"),
    ("path: data/mixed.parquet", "path: data/english"),
    ("tokens: 20K", "tokens: 21K"),
    ("digits: {path", "more: {path: data/english, pool: 1M}\n  digits: {path"),
]


@pytest.mark.parametrize("change", EDITS, ids=[new for _, new in EDITS])
def test_an_answer_to_another_state_of_the_study_file_is_neither_exported_nor_reported_nor_verified(
    home, plain, tmp_path, change
):
    session = edited(home, plain[0].folder.root, tmp_path, change)
    before = {path: path.read_bytes() for path in session.folder.root.rglob("*") if path.is_file()}
    for stage in (pipeline.export, pipeline.write_report, pipeline.verify):
        with pytest.raises(MixoptError, match=r"recommendation\.json answers another state of .*`mixopt run` brings"):
            stage(session)
    assert {path: path.read_bytes() for path in session.folder.root.rglob("*") if path.is_file()} == before


def test_an_edit_that_changes_no_answer_leaves_it_valid(home, plain, tmp_path):
    changes = [("seeds: 2", "seeds: 3"), ("workers: 2", "workers: 1"), ("name: small", "# a word\nname: small")]
    session = edited(home, plain[0].folder.root, tmp_path, *changes)
    assert len(pipeline.export(session)) == 2
    pipeline.write_report(session)


def test_an_answer_from_other_runs_than_are_there_is_not_exported(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path)
    next(session.folder.runs.glob("r*.json")).unlink()
    with pytest.raises(MixoptError, match=r"not made from the runs and texts .*`mixopt run` brings it up to date"):
        pipeline.export(session)


def test_an_answer_beside_a_fit_of_another_state_is_not_reported(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path, EDITS[0])
    session.kind.fit(session, pipeline.finished_runs(session))
    owned_by(home / "plain.yaml", session.folder.root)
    back = open_session(home / "plain.yaml", session.folder.root, Recorder())
    with pytest.raises(MixoptError, match=r"not made from the runs and texts .*`mixopt run` brings it up to date"):
        pipeline.write_report(back)
    assert run(back)["domains"] == plain[1]["domains"]


def test_the_answer_s_page_and_its_exports_share_its_stamp(done):
    folder, stamp = done[0].folder, done[1]["stamp"][:12]
    assert f"stamp is {stamp}." in folder.report.read_text(encoding="utf-8")
    assert f"answer {stamp}." in (folder.export / "interleave.py").read_text(encoding="utf-8").splitlines()[0]


def test_an_answer_without_its_question_is_refused_with_the_command_that_brings_it_up_to_date(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path)
    found = json.loads(session.folder.recommendation.read_text())
    old = {key: found[key] for key in found if key not in ("question", "checksum")} | {"stamp": "of an older version"}
    session.folder.recommendation.write_text(json.dumps(old))
    with pytest.raises(MixoptError, match="`mixopt run` brings it up to date"):
        pipeline.export(session)
    assert run(session)["domains"] == found["domains"]
    assert pipeline.export(session)


@pytest.mark.parametrize("name", ["recommendation.json", "fits/selection.json", "fits/*"])
def test_a_stored_answer_or_fit_that_was_changed_by_hand_is_refused_and_made_again_once_deleted(
    home, plain, tmp_path, name
):
    session = edited(home, plain[0].folder.root, tmp_path)
    for path in session.folder.root.glob(name):
        if name == "fits/*" and path.name == "selection.json":
            continue
        found = json.loads(path.read_text())
        key = "domains" if "domains" in found else "chosen"
        found[key] = found[key][::-1]
        path.write_text(json.dumps(found))
        refused = rf"{path.name}: was changed after it was written .*delete it and run `mixopt \w+` again"
        with pytest.raises(MixoptError, match=refused):
            run(session)
        for stage in {"recommendation.json": (pipeline.export, pipeline.write_report),
                      "fits/selection.json": (pipeline.write_report,)}.get(name, ()):  # fmt: skip
            with pytest.raises(MixoptError, match=refused):
                stage(session)
        path.unlink()
    assert run(session)["domains"] == plain[1]["domains"]


def test_a_check_of_an_earlier_recommendation_is_not_shown_as_that_of_a_new_one(home, plain, tmp_path):
    session = edited(home, plain[0].folder.root, tmp_path, ("params_scale: 4", "params_scale: 1"))
    pipeline.verify(session)
    assert "Measured check" in session.folder.report.read_text(encoding="utf-8")
    path = home / f"{tmp_path.name}.yaml"
    path.write_text(PLAIN.replace(*EDITS[0]), encoding="utf-8")
    again = open_session(path, session.folder.root, Recorder())
    run(replace(again, may_retrain=lambda why: True))  # the target decides which mixtures repeat text
    assert "Measured check" not in again.folder.report.read_text(encoding="utf-8")
    path.write_text(PLAIN, encoding="utf-8")
    run(open_session(path, session.folder.root, Recorder()))  # back again: the check is of this recommendation
    assert "Measured check" in session.folder.report.read_text(encoding="utf-8")


def test_verify_trains_the_arms_and_says_what_came_of_them(home, done):
    from mixopt.mixture.verify import verify

    session = open_session(home / "study.yaml", home / "out", Recorder())
    found = verify(session.study, session.path, session.folder, session.progress)
    assert [size["params"] for size in found["sizes"]] == [12 * 16**2, 12 * 32**2]
    for size in found["sizes"]:
        assert {arm: len(losses) for arm, losses in size["arms"].items()} == dict.fromkeys(size["arms"], 2)
        ours, theirs = np.mean(size["arms"]["recommended"]), np.mean(size["arms"]["natural"])
        assert size["gains"]["natural"]["mean"] == pytest.approx(theirs - ours)
    assert len(found["conclusions"]) == 2
    again = Recorder()
    verify(session.study, session.path, session.folder, again)
    assert again.finished["verify 1x"].startswith("0 runs trained")


def test_killed_in_the_middle_it_goes_on_and_ends_with_the_same_recommendation(command, home, plain):
    words = [sys.executable, "-m", "mixopt.cli", "run", "plain.yaml", "--out", "killed"]
    child = subprocess.Popen(words, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True)
    runs = home / "killed" / "runs"
    deadline = time.monotonic() + 120
    while len(list(runs.glob("r*.json"))) < 3:
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    time.sleep(2.5)  # workers notice at their next event
    kept = {path.name: path.stat().st_mtime_ns for path in runs.glob("r*.json")}
    assert 3 <= len(kept) < 13
    time.sleep(1)
    assert {p.name for p in runs.glob("r*.json")} == set(kept), "a worker outlived its parent"
    finished = command("run", "plain.yaml", "--out", "killed", cwd=home)
    assert finished.code == 0, finished.err
    assert all((runs / name).stat().st_mtime_ns == stamp for name, stamp in kept.items())
    assert json.loads((home / "killed/recommendation.json").read_text()) == plain[1]


def test_ctrl_c_stops_in_one_line_and_keeps_finished_runs(home, plain):
    words = [sys.executable, "-m", "mixopt.cli", "run", "plain.yaml", "--out", "stopped"]
    child = subprocess.Popen(words, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    runs = home / "stopped" / "runs"
    deadline = time.monotonic() + 120
    while not list(runs.glob("r*.json")):
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130
    assert stderr == "mixopt: stopped; finished runs are kept, the same command goes on from them\n"
    assert list(runs.glob("r*.json"))


def test_a_diverged_run_is_kept_on_record_and_left_out_of_fits_loudly(home, plain, tmp_path):
    session = plain[0]
    copy = tmp_path / "copy"
    shutil.copytree(session.folder.root, copy)
    plan, _ = planned(session)
    victim = copy / "runs" / f"{plan.jobs[5].run_id}.json"
    record = read_record(victim)
    losses = record.losses | {"mixed": Loss()}
    why = "loss is not finite on mixed"
    write_record(victim, replace(record, losses=losses, diverged=True, reason=why))
    found = run(open_session(home / "plain.yaml", copy))
    assert json.loads((copy / "fits/selection.json").read_text())["left_out"] == [
        {"run_id": victim.stem, "reason": "loss is not finite on mixed"}
    ]
    assert victim.stem in (copy / "report.html").read_text(encoding="utf-8")
    assert sum(row["recommended"] for row in found["domains"]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("max_epochs: 6", "max_epochs: 0.2"), r"bad.yaml: search: the largest weights allowed .* raise max_epochs"),
        (("pool: 1M", "pool: 1K"), r"domain 'עברית': its pool of 1e\+03 tokens shrinks to 5 .*raise proxy.tokens"),
        (("text: content", "text: body"), r"content"),
        (("val_fraction: 0.2", "val_fraction: 0.00001"), r"val_fraction"),
        (("vocab: 300", "vocab: 300000"), r"vocab"),
        (("workers: 2", "workers: 2, device: cuda"), r"CUDA"),
        (("proxy: {", "prepare: {max_bytes: 2K}\nproxy: {"), r"not valid YAML"),
        (("val_fraction: 0.2", "val_fraction: 0.2, max_bytes: 8K"), r"domains.digits.pool: is missing"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_with_status_2(command, home, done, change, says):
    (home / "bad.yaml").write_text(STUDY.replace(*change), encoding="utf-8")
    failed = command("run", "bad.yaml", "--out", "bad", cwd=home)
    assert failed.code == 2, failed.out + failed.err
    assert re.search(says, failed.err), failed.err
    assert "Traceback" not in failed.err
    assert len(failed.err.strip().splitlines()) == 1


def test_broken_lines_are_refused_by_place_and_counted_when_skipped(command, home, tmp_path):
    data = tmp_path / "data"
    make_corpora(data)
    path = data / "digits-1.jsonl"
    path.write_bytes(path.read_bytes() + b'\n{"text": "half\n{"text": "\xff"}\n{"text": ""}\n{"other": 1}\n')
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    failed = command("prepare", "study.yaml", "--out", "out", cwd=tmp_path)
    assert failed.code == 2
    assert "digits-1.jsonl: line 301" in failed.err and "on_bad: skip" in failed.err
    (tmp_path / "study.yaml").write_text(STUDY.replace("prepare: {", "prepare: {on_bad: skip, "), encoding="utf-8")
    passed = command("prepare", "study.yaml", "--out", "out", cwd=tmp_path)
    assert passed.code == 0, passed.err
    shown = " ".join(passed.out.split())
    kinds = ("empty", "without the text column", "with broken JSON", "with broken UTF-8")
    assert re.search("digits: left out " + ", ".join(rf"1 {kind} \(first: .*: line \d+.*\)" for kind in kinds), shown)


def test_equal_pools_train_the_natural_and_the_uniform_mixture_as_one(tmp_path):
    from mixopt.mixture.verify import verify

    make_corpora(tmp_path / "data")
    study = re.sub(r"pool: \dM", "pool: 2M", PLAIN).replace("20K", "10K")
    study = study.replace('jsonl"}\nheld', 'jsonl", pool: 2M}\nheld')
    assert study.count("pool: 2M") == 4
    (tmp_path / "study.yaml").write_text(study, encoding="utf-8")
    session = open_session(tmp_path / "study.yaml", tmp_path / "out", Recorder())
    run(session)
    plan, _ = planned(session)
    ids = [job.run_id for job in plan.jobs]
    assert len(set(ids)) == len(ids) == len(list((tmp_path / "out/runs").glob("r*.json")))
    assert len({tuple(run.weights.values()) for run in plan.runs}) == 8
    found = verify(session.study, session.path, session.folder, session.progress)
    for size in found.sizes:
        assert size.arms["natural"] == size.arms["uniform"]
    assert len(list((tmp_path / "out/verify").glob("r*.json"))) == 2 * 2 * 2  # sizes, seeds, mixtures
    assert session.progress.finished["verify 1x"].startswith("4 runs trained")


def a_tokenizer(folder: Path, letters: str) -> None:
    """Knows these letters and no end token."""
    import tokenizers

    vocab = {letter: i for i, letter in enumerate(["[UNK]", *letters])}
    inner = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocab, merges=[], unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    folder.mkdir()
    inner.save(str(folder / "tokenizer.json"))


def test_a_tokenizer_that_does_not_know_the_script_of_a_target_is_refused_and_that_of_a_domain_noted(command, tmp_path):
    make_corpora(tmp_path / "data")
    latin, hebrew = "abcdefghijklmnopqrstuvwxyz0123456789.", "אבגדהוזחטיךכלםמןנסעףפץצקרשת"
    a_tokenizer(tmp_path / "mine", latin)
    study = STUDY.replace("{vocab: 300}", "{path: mine}")
    (tmp_path / "study.yaml").write_text(study, encoding="utf-8")
    failed = command("prepare", "study.yaml", "--out", "out", cwd=tmp_path)
    assert failed.code == 2
    says = (
        r"^mixopt: study.yaml: tokenizer: has no token for 9\d% of the characters of 'עברית', which is in the target: "
        "give one that knows its script, .* is trained here$"
    )
    assert re.search(says, failed.err), failed.err
    assert "Traceback" not in failed.err and not (tmp_path / "out/shards/corpora.json").exists()
    a_tokenizer(tmp_path / "better", latin + hebrew)
    study = study.replace("path: mine", "path: better").replace("{עברית: 0.5, mixed: 0.5}", "עברית")
    (tmp_path / "study.yaml").write_text(study, encoding="utf-8")
    passed = command("prepare", "study.yaml", "--out", "out", cwd=tmp_path)
    shown = " ".join(passed.out.split())
    assert passed.code == 0, passed.err
    assert re.search(r"русский: the tokenizer has no token for 9\d% of its characters", shown), shown
    assert "עברית: the tokenizer" not in shown
    assert "better has no token that ends a document: <|end|> was added as token 65" in shown
    texts = json.loads((tmp_path / "out/shards/corpora.json").read_text(encoding="utf-8"))["texts"]
    assert texts["русский"]["unknown"] > 0.9 and texts["עברית"]["unknown"] == texts["english"]["unknown"] == 0


def test_the_end_token_that_a_study_file_names_ends_its_documents(command, tmp_path):
    make_corpora(tmp_path / "data")
    a_tokenizer(tmp_path / "mine", "abcdefghijklmnopqrstuvwxyz#")
    study = STUDY.replace("{vocab: 300}", "{path: mine, end_token: '#'}").replace("{עברית: 0.5, mixed: 0.5}", "english")
    (tmp_path / "study.yaml").write_text(study, encoding="utf-8")
    passed = command("prepare", "study.yaml", "--out", "out", cwd=tmp_path)
    assert passed.code == 0, passed.err
    assert json.loads((tmp_path / "out/shards/english/meta.json").read_text(encoding="utf-8"))["end"] == 27
    assert "was added" not in passed.out
    (tmp_path / "study.yaml").write_text(study.replace("'#'", "'%'"), encoding="utf-8")
    failed = command("prepare", "study.yaml", "--out", "out", cwd=tmp_path)
    assert failed.code == 2 and "has no token '%': set tokenizer.end_token to one of its tokens" in failed.err


def test_what_is_not_read_of_a_downloaded_folder_is_said(command, tmp_path):
    data = tmp_path / "data"
    make_corpora(data)
    (data / "digits").mkdir()
    (data / "digits-1.jsonl").rename(data / "digits/train.jsonl")
    (data / "digits-2.jsonl").rename(data / "digits/test.jsonl")
    (data / "digits/README.md").write_text("digits")
    (data / "russian.jsonl").write_text(
        "\n".join(
            json.dumps({"text": [json.loads(line)["text"]]})
            for line in (data / "русский.jsonl").read_text().splitlines()
        )
    )
    study = STUDY.replace("data/digits*.jsonl", "data/digits").replace("data/русский.jsonl", "data/russian.jsonl")
    (tmp_path / "study.yaml").write_text(study, encoding="utf-8")
    shown = " ".join(command("prepare", "study.yaml", "--out", "out", cwd=tmp_path).out.split())
    assert re.search(
        r"digits: left out 1 files hidden or beside the data, such as README \(first: \S+/README.md\)", shown
    ), shown
    assert re.search(r"1 files of other splits \(`split` .* reads them\) \(first: \S+/test.jsonl\)", shown)
    assert "русский: 400 documents were lists of strings, joined line by line" in shown
    (tmp_path / "study.yaml").write_text(study.replace('data/digits"', 'data/digits", split: dev'), encoding="utf-8")
    failed = command("prepare", "study.yaml", "--out", "out", cwd=tmp_path)
    assert failed.code == 2
    assert "domains.digits: " in failed.err and "set `split` to test or train, or to all" in failed.err


def test_a_worker_that_dies_is_reported_and_finished_runs_stay(home, monkeypatch, tmp_path, done):
    from mixopt.study import training

    session = open_session(home / "study.yaml", home / "out", Recorder())
    plan, shards = planned(session)
    monkeypatch.setenv("PYTHONPATH", "")
    shards = dict(shards)
    first = next(iter(shards))
    broken = tmp_path / "gone"

    class Gone:
        folder = broken

    shards[first] = Gone()  # a shard that isn't there when the workers look
    with pytest.raises(MixoptError, match=r"training stopped: .*prepare this domain again.*finished runs are kept"):
        training.train_missing(
            plan.jobs, plan.recipe, session.study, shards, session.folder, tmp_path / "runs", session.progress
        )


def test_documents_that_two_domains_share_are_noted_and_shown(command, tmp_path):
    make_corpora(tmp_path / "data")
    shared = (tmp_path / "data/english/one.txt").read_text().splitlines()[:60]
    with (tmp_path / "data/digits-2.jsonl").open("a", encoding="utf-8") as file:
        file.writelines("\n" + json.dumps({"text": line}) for line in shared)
    (tmp_path / "study.yaml").write_text(STUDY, encoding="utf-8")
    shown = " ".join(command("prepare", "study.yaml", "--out", "out", cwd=tmp_path).out.split())
    assert "english and digits share 60 documents word for word (15% and 13% of them)" in shown
    found = json.loads((tmp_path / "out/shards/corpora.json").read_text(encoding="utf-8"))["duplicates"]
    assert [(pair["first"], pair["second"], pair["texts"]) for pair in found] == [("english", "digits", 60)]
