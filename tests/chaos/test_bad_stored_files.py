"""Stored files cut short, emptied, edited, of other kinds and of other studies: refused by name, or made again."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import mixopt
from mixopt.runs.read import read_runs
from mixopt.serialization import digest
from proxies.files import sealed
from tests.factories import mixture_tables, scaling_tables
from tests.factories.bad_input import assert_refused, put, without
from tests.factories.command import Command, contents
from tests.factories.golden import REPETITION, planned, write_run, write_text
from tests.factories.small_study import ended, started, write_small_study

pytestmark = pytest.mark.slow

BROKEN = {
    "empty": b"", "spaces": b" \n", "list": b"[]", "null": b"null", "number": b"3", "text": b'"text"', "object": b"{}",
    "binary": bytes(range(256)) * 9, "deep lists": b"[" * 100_000, "deep objects": b'{"a":' * 100_000, "NaN": b"NaN",
    "digits": b'{"a": ' + b"9" * 5000 + b"}", "utf-16": '{"a": 1}'.encode("utf-16"), "latin-1": b'{"a": "caf\xe9"}',
    "two objects": b"{}{}", "a NUL byte": b'{"a": "\0"}', "html": b"<html></html>",
}  # fmt: skip
VALUES = {"null": None, "text": "strange", "list": [1, "a"], "mapping": {"a": 1}, "negative": -1, "true": True}


def edits(data):
    """Every key left out, and one wrong value for each in turn."""
    names = [name for name in data if name != "checksum"]
    for i, key in enumerate(names):
        yield f"without {key}", without(data, (key,))
        for shift in (0, 3):
            name = list(VALUES)[(i + shift) % len(VALUES)]
            yield f"{key} {name}", put(data, (key,), VALUES[name])


def resealed(data):
    return sealed({key: value for key, value in data.items() if key != "checksum"})


# A study of mixtures, trained and verified


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    write_small_study(folder)
    for name in ("run", "verify"):
        code, _, err = ended(started(name, "study.yaml", "--out", "out", cwd=folder))
        assert code == 0, err
    return folder


@pytest.fixture
def study(capsys, monkeypatch, whole):
    before = contents(whole)
    yield Command(capsys, monkeypatch, whole)
    for name in {**contents(whole), **before}:
        path = whole / name
        if name not in before:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        elif before[name] is not None and (not path.exists() or path.read_bytes() != before[name]):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(before[name])


def first(folder, pattern) -> Path:
    return sorted(path for path in (folder / "out").glob(pattern) if path.name != "selection.json")[0]


# Files that are refused when they are damaged: those that would have to be trained, or were answered by
REFUSED = {
    "runs/*.json": ["fit", "report", "train"],
    "recommendation.json": ["export", "report", "verify"],
    "verify.json": ["report"],
    "plan.json": ["train"],
    "shards/corpora.json": ["design", "export"],
    "shards/tokenizer.stamp.json": ["design", "train"],
    "shards/web/meta.json": ["design", "train", "report"],
    "fits/regmix-linear.json": ["fit", "recommend"],
}


def cases():
    turn = 0
    for pattern, names in REFUSED.items():
        for damage in ["cut", *BROKEN]:
            if damage == "object" and pattern in ("verify.json", "shards/tokenizer.stamp.json"):
                continue  # as older versions might have left it
            yield pytest.param(
                pattern, names[turn % len(names)], damage, id=f"{pattern}-{names[turn % len(names)]}-{damage}"
            )
            turn += 1


@pytest.mark.parametrize(("pattern", "name", "damage"), list(cases()))
def test_a_damaged_file_is_refused_by_name(pattern, name, damage, study):
    path = first(study.cwd, pattern)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else BROKEN[damage])
    assert_refused(study, name, "study.yaml", "--out", "out", names=[path.name])


HEALED = {
    "fits/selection.json": ["fit", "recommend"],
    "recommendation.json": ["recommend"],
    "shards/web/stamp.json": ["prepare"],
    "shards/tokenizer.stamp.json": ["prepare"],
    "shards/tokenizer.json": ["prepare"],
    ".mixopt.json": ["recommend"],
    "design.csv": ["design"],
    "search.journal": ["recommend"],
    "runs.csv": ["report"],
    "runs.parquet": ["report"],
}


@pytest.mark.parametrize(
    ("pattern", "name", "damage"),
    [
        pytest.param(pattern, name, damage, id=f"{pattern}-{name}-{damage}")
        for pattern, names in HEALED.items()
        for name in names
        for damage in ("empty", "binary", "deep lists", "object", "list")
    ],
)
def test_a_damaged_file_that_can_be_made_again_is_made_again_or_refused(pattern, name, damage, study):
    answer = json.loads((study.cwd / "out" / "recommendation.json").read_text())["domains"]
    path = first(study.cwd, pattern) if pattern != "fits/selection.json" else study.cwd / "out" / pattern
    path.write_bytes(BROKEN[damage])
    result = study(name, "study.yaml", "--out", "out")
    if result.code:
        assert result.code == 2 and path.name in result.err and result.err.count("\n") == 1, result.err
    elif name != "prepare":
        found = json.loads((study.cwd / "out" / "recommendation.json").read_text())["domains"]
        assert [row["recommended"] for row in found] == pytest.approx([row["recommended"] for row in answer], abs=1e-4)


def all_edits(whole):
    for pattern, names in (
        REFUSED | {"fits/selection.json": ["fit", "report"], "recommendation.json": ["recommend", "export", "report"]}
    ).items():
        path = whole / "out" / pattern if "selection" in pattern else first(whole, pattern)
        for i, (what, data) in enumerate(edits(json.loads(path.read_text()))):
            yield path, names[i % len(names)], what, data


def test_an_edited_file_under_a_fitting_checksum_is_refused_or_changes_no_answer(study, whole):
    """Files of older versions have no checksum: any content may stand under one that fits."""
    answer = (whole / "out" / "recommendation.json").read_bytes()
    shares = [row["recommended"] for row in json.loads(answer)["domains"]]
    seen = set()
    for path, name, what, data in list(all_edits(whole)):
        good = path.read_bytes()
        path.write_text(json.dumps(resealed(data)))
        result = study(name, "study.yaml", "--out", "out")
        if result.code:
            assert result.code == 2 and result.err.count("\n") == 1, (path, name, what, result.err)
            assert result.err.startswith("mixopt: "), (path, name, what, result.err)
        elif path.name != "recommendation.json":
            found = json.loads((whole / "out" / "recommendation.json").read_text())["domains"]
            assert [row["recommended"] for row in found] == pytest.approx(shares, abs=1e-4), (path, name, what)
        path.write_bytes(good)
        (whole / "out" / "recommendation.json").write_bytes(answer)
        seen.add((path.name, what))
    assert len(seen) > 150


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "documents.bin"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "longer", "folder"])
def test_a_damaged_shard_is_refused_by_name(name, damage, study):
    path = study.cwd / "out" / "shards" / "law" / name
    data = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        path.write_bytes({"empty": b"", "cut": data[:-3], "longer": data + b"??"}[damage])
    assert_refused(study, "design", "study.yaml", "--out", "out", names=["law"])
    if damage == "folder":
        path.rmdir()


def test_a_shard_with_other_bytes_is_refused_before_training(study):
    for run in (study.cwd / "out" / "runs").glob("*.json"):
        run.unlink()
    path = study.cwd / "out" / "shards" / "law" / "train.bin"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    sentence = study.refused("train", "study.yaml", "--out", "out", "--yes")
    assert "law" in sentence and "hash" in sentence


@pytest.mark.parametrize(
    "pattern", ["runs/*.json", "recommendation.json", "shards/web/meta.json", "shards/corpora.json"]
)
@pytest.mark.parametrize("what", ["folder", "pipe", "unreadable", "link to itself"])
def test_a_stored_file_that_is_no_file_is_refused(pattern, what, study, monkeypatch):
    import os

    path = first(study.cwd, pattern)
    path.unlink()
    if what == "folder":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "unreadable":
        path.symlink_to("/proc/self/mem")
    else:
        path.symlink_to(path.name)
    try:
        code, _, err = study("export", "study.yaml", "--out", "out")
        assert code == 2 and err.startswith("mixopt: ") and err.count("\n") == 1, err
    finally:
        path.rmdir() if what == "folder" else path.unlink()


@pytest.mark.parametrize("what", ["another study's runs", "another study's shards", "another study's recommendation"])
def test_a_file_of_another_study_is_refused(what, study, whole):
    out = whole / "out"
    runs = sorted((out / "runs").glob("*.json"))
    if what.endswith("runs"):
        runs[0].write_bytes(runs[1].read_bytes())
    elif what.endswith("shards"):
        for name in ("meta.json", "train.bin", "val.bin", "documents.bin"):
            (out / "shards" / "web" / name).write_bytes((out / "shards" / "law" / name).read_bytes())
    else:
        data = json.loads((out / "recommendation.json").read_text())
        (out / "recommendation.json").write_text(json.dumps(resealed(data | {"study": "another", "question": "other"})))
    study.refused("report", "study.yaml", "--out", "out")


# Fits of tables


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    mixture_tables.write_table(folder / "runs.csv", *mixture_tables.made_runs())
    table = read_runs(folder / "runs.csv")
    mixopt.fit_table(table, {"x": 1.0}, ["regmix-linear"], folds=4).save(folder / "runs.fit.json")
    w = np.full((2, 3), 1 / 3)
    (folder / "mixtures.csv").write_text("code,news,web\n" + "\n".join(",".join(f"{x:.6f}" for x in row) for row in w))
    return contents(folder)


@pytest.fixture
def fitted(capsys, monkeypatch, tmp_path, fits):
    for name, content in fits.items():
        (tmp_path / name).write_bytes(content)
    return Command(capsys, monkeypatch, tmp_path)


@pytest.mark.parametrize("damage", ["cut", *BROKEN, "folder", "missing", "study", "table", "run"])
def test_a_damaged_fit_is_refused_by_name(damage, fitted, whole):
    path = fitted.cwd / "runs.fit.json"
    data = path.read_bytes()
    path.unlink()
    others = {"study": "recommendation.json", "run": "runs/*.json"}
    if damage == "folder":
        path.mkdir()
    elif damage in others:
        path.write_bytes(first(whole, others[damage]).read_bytes())
    elif damage != "missing":
        path.write_bytes({"cut": data[: len(data) // 2], "table": b"a,b\n1,2\n"}.get(damage, BROKEN.get(damage)))
    assert_refused(fitted, "predict", "runs.fit.json", "mixtures.csv", names=["runs.fit.json"])


def nested_edits(data):
    yield from edits(data)
    for key in ("target", "made", "model", "folds", "runs", "probes"):
        for what, changed in edits(data[key]):
            yield f"{key}: {what}", data | {key: changed}


def test_a_fit_edited_under_a_fitting_checksum_is_refused_or_predicts_the_same(fitted):
    path = fitted.cwd / "runs.fit.json"
    good = json.loads(path.read_text())
    right = json.loads(fitted.output("predict", "runs.fit.json", "mixtures.csv", "--json"))["mixtures"]
    for what, data in nested_edits(good):
        data = {key: value for key, value in data.items() if key != "checksum"}
        path.write_text(json.dumps(data | {"checksum": digest(data)}))
        code, out, err = fitted("predict", "runs.fit.json", "mixtures.csv", "--json")
        if code:
            assert code == 2 and err.startswith("mixopt: ") and err.count("\n") == 1, (what, err)
            assert "runs.fit.json" in err, (what, err)
        else:
            found = json.loads(out)["mixtures"]
            assert [row["loss"] for row in found] == pytest.approx([row["loss"] for row in right]), what


def test_a_fit_is_no_table_and_a_table_no_fit(fitted):
    for words in (
        ("fit", "runs.fit.json"), ("leaderboard", "runs.fit.json", "--target", "x"), ("scale", "runs.fit.json"),
        ("predict", "runs.csv", "mixtures.csv"), ("predict", "mixtures.csv", "runs.fit.json"), ("predict", "runs.fit.json", "runs.fit.json"),
        ("run", "runs.csv"), ("run", "runs.fit.json"), ("report", "runs.fit.json"), ("plan", "epochs", "--unique", "1B", "--runs", "runs.fit.json"),
        ("plan", "cpt", "--runs", "runs.fit.json"), ("plan", "scale", "--compute", "1e21", "--runs", "runs.fit.json"),
    ):  # fmt: skip
        assert_refused(fitted, *words)


# A study of repetition, its runs written by hand


@pytest.fixture(scope="module")
def repetition(tmp_path_factory):
    from contextlib import chdir

    folder = tmp_path_factory.mktemp("repetition")
    with chdir(folder):
        write_text("a.jsonl", "abcdefghij ", 2)
        for i, row in enumerate(planned(REPETITION)):
            size, tokens, unique = (float(row[key]) for key in ("params", "tokens", "unique"))
            write_run(
                row,
                {
                    "a": 1.6
                    + 0.6 * (size / 3e3) ** -0.2
                    + 1.2 * (unique * (tokens / unique) ** 0.5 / 1e3) ** -0.3
                    + i % 3 / 1000
                },
            )
        code, _, err = ended(started("recommend", "study.yaml", "--out", "study", cwd=folder))
        assert code == 0, err
    return folder


@pytest.mark.parametrize("damage", ["cut", *BROKEN])
def test_a_damaged_run_of_repetition_is_refused_by_name(damage, repetition, capsys, monkeypatch):
    path = sorted((repetition / "study" / "runs").glob("*.json"))[0]
    data = path.read_bytes()
    path.write_bytes(data[:100] if damage == "cut" else BROKEN[damage])
    try:
        assert_refused(
            Command(capsys, monkeypatch, repetition), "recommend", "study.yaml", "--out", "study", names=[path.name]
        )
    finally:
        path.write_bytes(data)


def test_every_edit_of_what_repetition_stored_is_refused_or_made_again(repetition, capsys, monkeypatch):
    command = Command(capsys, monkeypatch, repetition)
    for name in ("fits/repetition.json", "recommendation.json"):
        path = repetition / "study" / name
        good = path.read_bytes()
        for what, data in edits(json.loads(good)):
            if "stamp" in what:
                continue  # it is fitted again, which takes its time
            path.write_text(json.dumps(resealed(data)))
            code, _, err = command("report", "study.yaml", "--out", "study")
            assert code == 0 or (code == 2 and err.startswith("mixopt: ") and err.count("\n") == 1), (name, what, err)
        path.write_bytes(good)


# Tables of several scales: what `mixopt scale` stored, from Python


def test_a_scale_fit_edited_or_damaged_is_refused_by_name(tmp_path):
    from mixopt.errors import MixoptError
    from mixopt.runs.read import Reading
    from mixopt.runs.scales import read_scales
    from mixopt.scaling.fit import fit_scale
    from mixopt.study.progress import Progress

    scaling_tables.made_runs(mixtures=6).to_csv(tmp_path / "runs.csv", index=False)
    runs = read_scales(Reading([tmp_path / "runs.csv"]), Progress())
    path = tmp_path / "runs.scale.json"
    fit_scale(runs, {"a": 1.0}, laws=["joint-additive"], source={}, command="").save(path)
    good = json.loads(path.read_text())
    right = mixopt.load_scale(path).predict({"code": 0.3, "news": 0.6, "web": 0.1})
    for damage in BROKEN.values():
        path.write_bytes(damage)
        with pytest.raises(MixoptError, match=r"runs\.scale\.json"):
            mixopt.load_scale(path)
    for what, data in edits(good):
        data = {key: value for key, value in data.items() if key != "checksum"}
        path.write_text(json.dumps(data | {"checksum": digest(data)}))
        try:
            found = mixopt.load_scale(path).predict({"code": 0.3, "news": 0.6, "web": 0.1})
        except MixoptError as error:
            assert "\n" not in str(error), what
        else:
            assert found == pytest.approx(right), what
