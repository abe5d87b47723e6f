"""Corpora that can't be read, or give no text: refused at the domain, file and line; odd ones that are sound work."""

import bz2
import gzip
import json
import lzma
import os
import zipfile

import numpy as np
import pandas as pd
import pytest

from tests.factories.bad_input import assert_refused
from tests.factories.command import Command

pytestmark = pytest.mark.slow

STUDY = """\
name: small
domains:
  web: {WEB}
  law: {path: law.jsonl}
target: {law: 1.0}
full: {params: 10M, tokens: 1M}
tokenizer: {vocab: 260}
prepare: {val_fraction: 0.2}
proxy: {layers: 1, width: 16, heads: 1, context: 16, batch: 4, tokens: 2K, validation_tokens: 64, workers: 1, device: cpu}
design: {mixtures: 4, repeats: 0, repetition_runs: 0, shorter_runs: 0}
predictors: [regmix-linear]
"""


def texts(n=120, word="web"):
    rng = np.random.default_rng(n)
    return [" ".join(f"{word}{k}" for k in rng.integers(0, 30, size=12)) for _ in range(n)]


def lines(values=None, key="text"):
    return "\n".join(json.dumps({key: text}) for text in (texts() if values is None else values)).encode()


GOOD = lines()


def with_line(text, at=7):
    rows = GOOD.split(b"\n")
    rows[at] = text if isinstance(text, bytes) else text.encode()
    return b"\n".join(rows)


def parquet(column, name="text", **options):
    import io

    out = io.BytesIO()
    pd.DataFrame({name: column}).to_parquet(out, **options)
    return out.getvalue()


def zipped():
    import io

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("web.jsonl", GOOD)
    return out.getvalue()


FILES = {  # file name -> content, and what the sentence names besides
    "nothing": ("web.jsonl", b"", []),
    "blank lines": ("web.jsonl", b"\n\n\n", []),
    "blank texts": ("web.jsonl", lines(["", " ", "\n"] * 20), []),
    "white space": ("web.txt", b" \n\n \t \n", []),
    "broken JSON": ("web.jsonl", with_line('{"text": "a'), ["line 8"]),
    "no object": ("web.jsonl", with_line('"a text"'), ["line 8"]),
    "a number": ("web.jsonl", with_line("3"), ["line 8"]),
    "a list of numbers": ("web.jsonl", with_line("[1, 2]"), ["line 8"]),
    "NaN": ("web.jsonl", with_line('{"text": NaN}'), ["line 8"]),
    "a text that is a number": ("web.jsonl", with_line('{"text": 3}'), ["line 8"]),
    "a text that is an object": ("web.jsonl", with_line('{"text": {"a": "b"}}'), ["line 8"]),
    "a text that is true": ("web.jsonl", with_line('{"text": true}'), ["line 8"]),
    "lists of numbers": ("web.jsonl", with_line('{"text": [1, 2]}'), ["line 8"]),
    "deep nesting": ("web.jsonl", with_line('{"text": ' + "[" * 100_000), ["line 8"]),
    "digits without end": ("web.jsonl", with_line('{"text": "a", "n": ' + "9" * 5000 + "}"), ["line 8"]),
    "broken UTF-8": ("web.jsonl", with_line(b'{"text": "caf\xe9 au lait"}'), ["line 8"]),
    "half a surrogate pair": ("web.jsonl", with_line('{"text": "a\\ud800b"}'), ["line 8"]),
    "broken UTF-8 in text": ("web.txt", "\n\n".join(texts()).encode().replace(b"web3 ", b"web\xff ", 1), ["web.txt"]),
    "utf-16": ("web.jsonl", GOOD.decode().encode("utf-16"), ["line 1"]),
    "utf-16 text": ("web.txt", "\n\n".join(texts()).encode("utf-16"), ["web.txt"]),
    "another key": ("web.jsonl", lines(key="content"), ["content"]),
    "null everywhere": ("web.jsonl", b'{"text": null}\n' * 100, []),
    "pretty JSON": ("web.json", json.dumps([{"text": text} for text in texts()], indent=1).encode(), ["line 1"]),
    "one object over lines": ("web.json", json.dumps({"text": "a"}, indent=1).encode(), ["line 1"]),
    "an object of lists": ("web.json", json.dumps({"data": [{"text": "a"}]}).encode(), ["data"]),
    "gzip that is none": ("web.jsonl.gz", GOOD, ["web.jsonl.gz"]),
    "gzip cut short": ("web.jsonl.gz", gzip.compress(GOOD)[:-40], ["web.jsonl.gz"]),
    "gzip with other bytes": ("web.jsonl.gz", gzip.compress(GOOD)[:60] + b"????????" + gzip.compress(GOOD)[68:], ["web.jsonl.gz"]),
    "zst that is none": ("web.jsonl.zst", GOOD, ["web.jsonl.zst"]),
    "bz2 cut short": ("web.jsonl.bz2", bz2.compress(GOOD)[:-9], ["web.jsonl.bz2"]),
    "xz cut short": ("web.jsonl.xz", lzma.compress(GOOD)[:-9], ["web.jsonl.xz"]),
    "xz that is none": ("web.jsonl.xz", GOOD, ["web.jsonl.xz"]),
    "zip": ("web.zip", zipped(), ["web.zip"]),
    "zip under another name": ("web.jsonl", zipped(), ["line 1"]),
    "tar": ("web.tar", b"web" * 1000, ["web.tar"]),
    "csv": ("web.csv", b"text\na\nb\n", ["parquet"]),
    "pdf": ("web.pdf", b"%PDF-1.4", ["web.pdf"]),
    "no suffix": ("web", GOOD, ["web"]),
    "a pickle": ("web.pkl", b"\x80\x04", ["web.pkl"]),
    "parquet that is none": ("web.parquet", GOOD, ["web.parquet"]),
    "parquet cut short": ("web.parquet", parquet(texts())[:-300], ["web.parquet"]),
    "parquet of numbers": ("web.parquet", parquet(range(100)), ["text"]),
    "parquet of another column": ("web.parquet", parquet(texts(), "content"), ["content"]),
    "parquet of lists of numbers": ("web.parquet", parquet([[1, 2]] * 100), ["row 1"]),
    "parquet of structs": ("web.parquet", parquet([{"body": "a"}] * 100), ["text.body"]),
    "parquet of nothing": ("web.parquet", parquet([None] * 100), []),
    "parquet without rows": ("web.parquet", parquet(pd.Series([], dtype=str)), []),
    "parquet of bytes": ("web.parquet", parquet([b"\xff\xfe"] * 100), ["text"]),
    "arrow that is none": ("web.arrow", GOOD, ["web.arrow"]),
    "one document": ("web.jsonl", lines(["a single text"]), ["val_fraction"]),
    "one text over and over": ("web.jsonl", lines(["the same text"] * 200), ["val_fraction"]),
}  # fmt: skip


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    (tmp_path / "law.jsonl").write_bytes(lines(texts(150, "law")))
    return Command(capsys, monkeypatch, tmp_path)


def refused(command, source, *, names=(), stage="prepare", study=STUDY):
    (command.cwd / "study.yaml").write_text(study.replace("{WEB}", source))
    return assert_refused(command, stage, "study.yaml", names=names)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_holds_no_text_is_refused_at_its_place(name, command):
    file, content, names = FILES[name]
    (command.cwd / file).write_bytes(content)
    if name == "one text over and over" or name == "one document":  # met once the first domain's shard is written
        (command.cwd / "study.yaml").write_text(STUDY.replace("{WEB}", f"{{path: {file}}}"))
        sentence = command.refused("prepare", "study.yaml")
        assert "'web'" in sentence and "val_fraction" in sentence
        return
    refused(command, f"{{path: {file}}}", names=names)


def folder_of(command, **files):
    folder = command.cwd / "web"
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_jsonl", ".jsonl")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    folder.mkdir(exist_ok=True)
    return folder


def test_an_empty_folder_and_one_without_text_are_refused(command):
    folder_of(command)
    refused(command, "{path: web}", names=["web"])
    for name in ("README.md", "dataset_infos.json", ".hidden.jsonl", "a.csv", "a.png"):
        (command.cwd / "web" / name).write_bytes(GOOD)
        refused(command, "{path: web}", names=["web"])


def test_a_folder_of_another_split_is_refused(command):
    folder_of(command, test_jsonl=GOOD)
    assert "split" in refused(command, "{path: web}", names=["test"])
    refused(command, "{path: web, split: nowhere}", names=["nowhere"])


@pytest.mark.parametrize("source", [
    "{path: nowhere.jsonl}", "{path: web/*.jsonl}", '{path: "**/*.parquet"}', '{path: ""}', "{path: ~nouser/x}", "{path: .., text: body}", "{path: pipe}",
    "{path: /dev/null}", "{path: link}", "{path: loop}", "{builtin: nowhere}", "{hub: nowhere/at-all}", '{hub: ""}', "{hub: a b c}", "{path: law.jsonl, subset: a}",
    "{path: law.jsonl, text: a.b.c}", "{path: law.jsonl, text: data}", "{path: study.yaml}", "{}", "{text: text}", "{path: [law.jsonl]}", "{builtin: nowhere, split: test}",
])  # fmt: skip
def test_a_source_that_is_none_is_refused(source, command):
    os.mkfifo(command.cwd / "pipe")
    (command.cwd / "link").symlink_to("link")
    (command.cwd / "loop").mkdir()
    (command.cwd / "loop" / "again").symlink_to("../loop")
    refused(command, source)


def test_a_folder_that_can_t_be_listed_is_refused(command, monkeypatch):
    folder = folder_of(command, a_jsonl=GOOD, locked__b_jsonl=GOOD)
    from pathlib import Path

    listed = Path.iterdir

    def iterdir(path):
        if path.name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    (command.cwd / "study.yaml").write_text(STUDY.replace("{WEB}", "{path: web}"))
    sentence = command.refused("prepare", "study.yaml")
    assert str(folder / "locked") in sentence and "Permission denied" in sentence


def test_save_to_disk_folders_that_are_damaged_are_refused(command):
    from datasets import Dataset

    folder = command.cwd / "web"
    Dataset.from_dict({"text": texts()}).save_to_disk(folder)
    data = next(folder.glob("*.arrow"))
    good = data.read_bytes()
    for content in (b"", good[: len(good) // 2], b"text" * 100):
        data.write_bytes(content)
        refused(command, "{path: web}", names=["web"])
    data.unlink()
    refused(command, "{path: web}", names=["web"])
    data.write_bytes(good)
    refused(command, "{path: web, text: nowhere}", names=["nowhere"])


TOKENIZERS = {
    "a word": b"tokenizer", "empty": b"", "an object": b"{}", "a list": b"[]", "cut": b'{"version": "1.0", "model":', "binary": bytes(range(256)),
    "no model": b'{"version": "1.0", "truncation": null}',
}  # fmt: skip


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_tokenizer_that_is_none_is_refused(name, command):
    (command.cwd / "tokenizer.json").write_bytes(TOKENIZERS[name])
    study = STUDY.replace("{vocab: 260}", "{path: tokenizer.json}")
    refused(command, "{path: law.jsonl}", study=study, names=["tokenizer.json"])


@pytest.mark.parametrize("change", [
    ("vocab: 260", "vocab: 100K"), ("vocab: 260", "path: nowhere.json"), ("vocab: 260", "path: law.jsonl"), ("vocab: 260", "path: ."),
    ("vocab: 260", "hub: nowhere/at-all"), ("device: cpu", "device: tpu"), ("device: cpu", "device: 'cuda:99'"), ("device: cpu", "device: cuda:"),
    ("device: cpu", "device: CPU"), ("device: cpu", "device: 'cpu:0'"), ("device: cpu", "device: gpu"),
])  # fmt: skip
def test_what_can_t_be_had_is_refused_before_anything_is_tokenised(change, command, monkeypatch):
    monkeypatch.setattr("proxies.shards.write", lambda *_, **__: pytest.fail("it was tokenised"))
    for stage in ("prepare", "run"):
        refused(command, "{path: law.jsonl}", study=STUDY.replace(*change), stage=stage)


def test_ctrl_c_ends_a_command_in_one_line(command):
    import signal
    import time

    from tests.factories.small_study import started

    (command.cwd / "web.txt").write_text("a" * 20_000_000)
    (command.cwd / "study.yaml").write_text(STUDY.replace("{WEB}", "{path: web.txt}"))
    child = started("prepare", "study.yaml", cwd=command.cwd)
    time.sleep(3)
    if child.poll() is None:
        child.send_signal(signal.SIGINT)
    _, err = child.communicate(timeout=20)
    assert child.returncode in (130, 2) and err.count("\n") == 1 and err.startswith("mixopt: "), err


# Odd and sound

ODD = {
    "CRLF": ("web.jsonl", GOOD.replace(b"\n", b"\r\n"), 120),
    "byte-order mark": ("web.jsonl", b"\xef\xbb\xbf" + GOOD, 120),
    "blank lines between": ("web.jsonl", GOOD.replace(b"\n", b"\n\n"), 120),
    "some nulls": ("web.jsonl", GOOD + b'\n{"text": null}\n{"other": 1}', 120),
    "lists of objects a line": ("web.json", json.dumps([{"text": text} for text in texts()]).encode(), 120),
    "lists of strings": ("web.jsonl", b"\n".join(json.dumps({"text": text.split()}).encode() for text in texts()), 120),
    "chat messages": ("web.jsonl", b"\n".join(json.dumps({"text": [{"role": "user", "content": text}]}).encode() for text in texts()), 120),
    "gz": ("web.jsonl.gz", gzip.compress(GOOD), 120),
    "gz in two parts": ("web.jsonl.gz", gzip.compress(GOOD[:5000]) + gzip.compress(GOOD[5000:]), 120),
    "bz2": ("web.jsonl.bz2", bz2.compress(GOOD), 120),
    "xz": ("web.jsonl.xz", lzma.compress(GOOD), 120),
    "parquet": ("web.parquet", parquet(texts()), 120),
    "parquet in small groups": ("web.parquet", parquet(texts(), row_group_size=7), 120),
    "text by paragraphs": ("web.txt", "\n\n".join(texts()).encode(), 120),
    "emoji and many scripts": ("web.jsonl", lines([text + " \N{GRINNING FACE} 日本語 العربية" for text in texts()]), 120),
    "NUL characters": ("web.jsonl", lines([text + "\0" for text in texts()]), 120),
    "a long row of spaces": ("web.jsonl", lines([*texts(119), " " * 300_000 + "a"]), 120),
    "a long word": ("web.jsonl", lines([*texts(119), "ab" * 300_000]), 120),
    "text that looks like the end": ("web.jsonl", lines([text + "<|end|>" for text in texts()]), 120),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_corpus_that_is_sound_is_read(name, command):
    file, content, documents = ODD[name]
    (command.cwd / file).write_bytes(content)
    (command.cwd / "study.yaml").write_text(STUDY.replace("{WEB}", f"{{path: {file}}}"))
    command.output("prepare", "study.yaml")
    found = json.loads((command.cwd / "studies/small/shards/corpora.json").read_text())["texts"]["web"]
    assert found["documents"] == documents
