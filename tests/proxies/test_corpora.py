"""Reading documents: every kind of file, every kind of damage."""

import bz2
import gzip
import io
import json
import lzma
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from proxies.corpora import Source, read
from proxies.subsample import spread

TEXTS = [
    "Привет, мир",
    "שלום עולם\nשורה שנייה",
    "naïve \u2028 café\u0085",
    '"quoted" \\ {text}',
    "tab\tand \r\n within",
]

anything = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)


def jsonl(texts, *, column="text", ascii_only=False) -> bytes:
    return b"".join(json.dumps({column: t}, ensure_ascii=ascii_only).encode() + b"\n" for t in texts)


def put(folder: Path, name: str, data: bytes) -> Source:
    (folder / name).write_bytes(data)
    return Source(path=str(folder / name))


def refusal(source: Source, **options) -> str:
    with pytest.raises(ValueError) as caught:
        list(read(source, **options))
    message = str(caught.value)
    assert "\n" not in message
    return message


@settings(max_examples=40, deadline=None)
@given(st.lists(anything, min_size=1, max_size=8), st.booleans())
def test_texts_written_as_json_lines_come_back_as_they_were(texts, ascii_only):
    with tempfile.TemporaryDirectory() as folder:
        documents = read(put(Path(folder), "a.jsonl", jsonl(texts, ascii_only=ascii_only)))
        assert list(documents) == texts
    assert documents.counts.documents == len(texts)
    assert documents.counts.bytes == sum(len(text.encode()) for text in texts)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.one_of(st.none(), anything), min_size=1, max_size=8))
def test_texts_written_as_parquet_come_back_as_they_were_and_nulls_are_counted(texts):
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table({"n": range(len(texts)), "text": pa.array(texts, pa.string())}), f"{folder}/a.parquet")
        documents = read(Source(path=folder))
        wanted = [text for text in texts if text is not None]
        if wanted:
            assert list(documents) == wanted
            assert documents.counts.no_text == len(texts) - len(wanted)
        else:
            assert "holds no text" in refusal(Source(path=folder))


@pytest.mark.parametrize(
    ("name", "pack"),
    [
        ("a.jsonl", bytes),
        ("a.ndjson", bytes),
        ("a.json", bytes),
        ("A [1] #x%20.JSONL", bytes),
        ("a.jsonl.gz", gzip.compress),
        ("a.ndjson.zst", zstandard.compress),
        ("a.json.zstd", zstandard.compress),
        ("a.jsonl.bz2", bz2.compress),
        ("a.jsonl.XZ", lzma.compress),
        ("a.jsonl.xz", lambda data: lzma.compress(data[:60]) + lzma.compress(data[60:])),
        ("a.jsonl.bz2", lambda data: bz2.compress(data[:60]) + bz2.compress(data[60:])),
        ("a.jsonl.gz", lambda data: gzip.compress(data[:60]) + gzip.compress(data[60:])),
        ("a.jsonl.zst", lambda data: zstandard.compress(data[:60]) + zstandard.compress(data[60:])),
    ],
)
def test_json_lines_are_read_whatever_their_name_and_packing(tmp_path, name, pack):
    assert list(read(put(tmp_path, name, pack(jsonl(TEXTS))))) == TEXTS


def test_byte_order_mark_windows_line_ends_and_a_missing_last_line_end_do_no_harm(tmp_path):
    data = b"\xef\xbb\xbf" + jsonl(["one", "two"]).replace(b"\n", b"\r\n")[:-2]
    assert list(read(put(tmp_path, "a.jsonl", data))) == ["one", "two"]


def test_a_line_longer_than_the_readers_chunk_stays_whole(tmp_path):
    texts = ["слово " * 2_000_000, "short"]
    assert list(read(put(tmp_path, "a.jsonl", jsonl(texts)))) == texts


@pytest.mark.parametrize(
    ("unit", "wanted"),
    [
        ("paragraph", ["one\ntwo", "три\nfour"]),
        ("line", ["one", "two", "три", "four"]),
        ("file", ["one\ntwo\n\n \nтри\nfour"]),
    ],
)
@pytest.mark.parametrize(("name", "pack"), [("a.txt", bytes), ("a.md.gz", gzip.compress)])
def test_text_files_fall_into_the_units_asked_for(tmp_path, unit, wanted, name, pack):
    put(tmp_path, name, pack("\ufeffone\r\ntwo\n\n \nтри\nfour\n".encode()))
    assert list(read(Source(path=str(tmp_path), unit=unit))) == wanted


def test_a_mixed_folder_is_read_in_order_of_its_names_and_other_files_are_counted(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / ".cache").mkdir()
    put(tmp_path / "b", "1.jsonl", jsonl(["second"]))
    put(tmp_path, "a.txt", b"first")
    put(tmp_path, "c.csv", b"not read")
    put(tmp_path / ".cache", "hidden.txt", b"not read either")
    put(tmp_path, "z.txt", b"")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    documents = read(Source(path=str(tmp_path)))
    assert list(documents) == ["first", "second"]
    assert (documents.counts.unread_files, documents.counts.notes) == (2, 1)
    assert documents.counts.empty == 1
    assert any("c.csv" in place for place in documents.counts.places["unread_files"])


def test_a_glob_takes_its_matches_in_order(tmp_path):
    for name in ("b.txt", "a.txt", "c.md"):
        put(tmp_path, name, name.encode())
    assert list(read(Source(path=f"{tmp_path}/*.txt"))) == ["a.txt", "b.txt"]


def test_empty_texts_and_missing_columns_are_counted_with_their_places(tmp_path):
    data = jsonl(["good", "  "]) + b'\n{"other": "x"}\n{"text": null}\n' + jsonl(["better"])
    documents = read(put(tmp_path, "a.jsonl", data))
    assert list(documents) == ["good", "better"]
    counts = documents.counts.to_dict()
    assert (counts["empty"], counts["no_text"], counts["documents"]) == (2, 2, 2)
    assert [place.rpartition("line ")[2] for place in counts["places"]["empty"]] == ["2", "3"]
    assert [place.rpartition("line ")[2] for place in counts["places"]["no_text"]] == ["4", "5"]


BAD_LINES = {
    "broken utf-8": (b'{"text": "caf\xe9"}', "bad_utf8", "not UTF-8"),
    "a sequence cut short": (b'{"text": "\xd0"}', "bad_utf8", "0xd0"),
    "half a surrogate pair": (b'{"text": "\\ud83d"}', "bad_utf8", "surrogate"),
    "broken json": (b'{"text": "x"', "bad_json", "not valid JSON"),
    "json nested too deep": (b"[" * 100_000, "bad_json", "not valid JSON"),
    "a list": (b'["x"]', "bad_json", "a list, not a JSON object"),
    "a number for a text": (b'{"text": 3}', "not_text", "a number, not text"),
    "numbers for a text": (b'{"text": ["x", 3]}', "not_text", "a list, not text (strings, or messages"),
    "messages without content": (b'{"text": [{"role": "user"}]}', "not_text", "a list, not text"),
    "an object for a text": (b'{"text": {"en": "x"}}', "not_text", "set `text` to a field of it"),
    "a string": (b'"x"', "bad_json", "jq -c '{text: .}'"),
    "strings alone": (b'["x"]', "bad_json", "jq -c '.[] | {text: .}'"),
    "the start of a list": (b'[{"text": "x"},', "bad_json", "jq -c '.[]' makes lines of a list"),
    "the start of an object": (b"{", "bad_json", "jq -c . makes lines of others, or name the data alone in `path`"),
    "nul bytes": (b"\x00\x00\x00", "bad_json", "not valid JSON"),
}


@pytest.mark.parametrize(("line", "kind", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_refused_with_its_place_or_skipped_and_counted(tmp_path, line, kind, message):
    source = put(tmp_path, "a.jsonl", jsonl(["one"]) + line + b"\n" + jsonl(["three"]))
    refused = refusal(source)
    assert message in refused
    assert "a.jsonl: line 2" in refused
    assert "on_bad: skip" in refused
    documents = read(source, on_bad="skip")
    assert list(documents) == ["one", "three"]
    assert getattr(documents.counts, kind) == 1
    assert "line 2" in documents.counts.places[kind][0]


def test_broken_utf8_in_a_text_file_is_traced_to_its_own_line(tmp_path):
    source = put(tmp_path, "a.txt", b"fine\n\nfirst\nsecond \xff\nthird\n\nlast")
    assert "a.txt: line 4: not UTF-8" in refusal(source)
    documents = read(source, on_bad="skip")
    assert list(documents) == ["fine", "last"]
    assert documents.counts.bad_utf8 == 1


def test_broken_utf8_in_parquet_is_traced_to_its_row(tmp_path):
    column = pa.array([b"one", b"caf\xe9", b"three"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    source = Source(path=str(tmp_path))
    assert "a.parquet: row 2: not UTF-8" in refusal(source)
    documents = read(source, on_bad="skip")
    assert list(documents) == ["one", "three"]
    assert documents.counts.bad_utf8 == 1


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())], ids=str)
def test_parquet_text_is_read_in_every_arrow_type_of_text(tmp_path, kind):
    pq.write_table(pa.table({"text": pa.array(["a", "б"]).cast(kind)}), tmp_path / "a.parquet")
    assert list(read(Source(path=str(tmp_path)))) == ["a", "б"]


def test_a_json_list_is_refused_with_the_way_to_make_lines_of_it(tmp_path):
    assert "jq -c" in refusal(put(tmp_path, "a.json", b'[\n{"text": "x"}\n]'))


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
def test_a_missing_text_column_is_refused_with_the_columns_that_are_there(tmp_path, name):
    pq.write_table(pa.table({"content": ["x"], "id": [1]}), tmp_path / "a.parquet")
    put(tmp_path, "a.jsonl", b'{"content": "x", "id": 1}\n')
    message = refusal(Source(path=str(tmp_path / name)))
    assert "no text column 'text'" in message
    assert "content, id" in message
    assert list(read(Source(path=str(tmp_path / name), text="content"))) == ["x"]


def test_parquet_files_and_row_groups_without_rows_are_read_over(tmp_path):
    none, some = pa.table({"text": pa.array([], pa.string())}), pa.table({"text": TEXTS})
    pq.write_table(none, tmp_path / "a.parquet")
    with pq.ParquetWriter(tmp_path / "b.parquet", none.schema) as writer:
        for table in (none, some, none):
            writer.write_table(table)
    assert list(read(Source(path=str(tmp_path)))) == TEXTS


def test_a_parquet_column_that_isnt_text_is_refused(tmp_path):
    pq.write_table(pa.table({"text": [1, 2]}), tmp_path / "a.parquet")
    assert "holds int64, not text" in refusal(Source(path=str(tmp_path)))


def test_damaged_files_are_refused_by_name_even_when_bad_lines_are_skipped(tmp_path, capfd):
    packing = {"a.jsonl.gz": gzip, "a.txt.zst": zstandard, "a.jsonl.bz2": bz2, "a.txt.xz": lzma}
    whole = {name: packer.compress(jsonl(TEXTS * 500)) for name, packer in packing.items()}
    table = io.BytesIO()
    pq.write_table(pa.table({"text": TEXTS}), table)
    damaged = {name: data[:-20] for name, data in whole.items()} | {
        "b.jsonl.gz": b"no gzip at all",
        "b.jsonl.zst": b"no zstandard at all",
        "b.jsonl.bz2": b"no bzip2 at all",
        "b.jsonl.xz": b"no xz at all",
        "a.arrow": b"no arrow at all",
        "a.parquet": table.getvalue()[:-20],
        "b.parquet": b"PAR1 not at all PAR1",
    }
    for name, data in damaged.items():
        message = refusal(put(tmp_path, name, data), on_bad="skip")
        assert name in message
        assert "can't be read" in message
    assert capfd.readouterr() == ("", "")


def test_sources_that_arent_there_are_refused_at_once(tmp_path):
    (tmp_path / "empty").mkdir()
    put(tmp_path, "a.csv", b"x")
    for path, message in {
        "nowhere.jsonl": "no such file",
        "*.jsonl": "no such file",
        "empty": "holds no files",
        "a.csv": "none of its 1 files",
    }.items():
        with pytest.raises(ValueError, match=message):
            read(Source(path=str(tmp_path / path)))


def test_a_domain_without_any_text_is_refused_with_what_it_held(tmp_path):
    message = refusal(put(tmp_path, "a.jsonl", b'{"text": " "}\n{"text": null}\n'))
    assert "1 empty, 1 without the text column" in message


def test_a_source_names_exactly_one_place():
    wrong: dict[str, Any]
    for wrong in ({}, {"path": "a", "hub": "b"}, {"path": " "}, {"path": "a", "subset": "x"}):
        with pytest.raises(ValueError):
            Source(**wrong)
    for wrong in ({"max_bytes": 0}, {"on_bad": "ignore"}):
        with pytest.raises(ValueError):
            read(Source(builtin="reference"), **wrong)


def downloaded(folder: Path) -> Path:
    """A folder as `hf download` leaves it."""
    for name in ("data/train-00000-of-00002", "data/train-00001-of-00002", "data/test-00000-of-00001", "dev/part"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        pq.write_table(pa.table({"text": [f"{name} {text}" for text in TEXTS]}), folder / f"{name}.parquet")
    (folder / ".cache/huggingface").mkdir(parents=True)
    put(folder / ".cache/huggingface", "x.json", b"{")
    for name in ("README.md", "README_de.md", "LICENSE", "licence.txt", "dataset_infos.json", ".gitattributes"):
        put(folder, name, b"{\n")
    return folder


def test_of_a_downloaded_folder_the_training_split_is_read_and_the_rest_is_counted_by_name(tmp_path):
    documents = read(Source(path=str(downloaded(tmp_path))))
    assert {text.split("-0000")[0] for text in documents} == {"data/train"}
    assert documents.counts.documents == 2 * len(TEXTS)
    assert (documents.counts.notes, documents.counts.other_splits, documents.counts.unread_files) == (7, 2, 0)
    assert any("test-00000" in place for place in documents.counts.places["other_splits"])


@pytest.mark.parametrize(
    ("path", "split", "found"),
    [
        ("", "test", {"data/test-00000-of-00001"}),
        ("", "validation", {"dev/part"}),
        ("", "dev", {"dev/part"}),
        ("", "all", {"data/train", "data/test-00000-of-00001", "dev/part"}),
        ("/dev", "train", {"dev/part"}),
        ("/data/test-00000-of-00001.parquet", "train", {"data/test-00000-of-00001"}),
        ("/data/*.parquet", "train", {"data/train"}),
        ("/**/*.parquet", "train", {"data/train"}),
        ("/*/test*", "train", {"data/test-00000-of-00001"}),
    ],
)
def test_another_split_is_read_where_it_is_named(tmp_path, path, split, found):
    documents = read(Source(path=f"{downloaded(tmp_path)}{path}", split=split))
    names = {text.split(" ")[0] for text in documents}
    assert {"data/train" if "train" in name else name for name in names} == found


def test_a_folder_without_the_split_is_refused_with_those_that_are_there(tmp_path):
    folder = downloaded(tmp_path)
    assert "set `split` to test or train or validation, or to all" in refusal(Source(path=str(folder), split="part2"))
    for path in (folder / "data").glob("train*"):
        path.unlink()
    assert "no file of split 'train': set `split` to test or validation, or to all" in refusal(Source(path=str(folder)))


def test_notes_are_read_where_they_are_named_and_words_within_words_name_no_split(tmp_path):
    put(tmp_path, "README.md", b"read me")
    assert "name the file in `path`" in refusal(Source(path=str(tmp_path)))
    for name in ("README.md", "README*"):
        assert list(read(Source(path=f"{tmp_path}/{name}"))) == ["read me"]
    put(tmp_path, "contest-of-devotion.txt", b"kept")
    put(tmp_path, "readmission.txt", b"kept too")
    assert list(read(Source(path=str(tmp_path)))) == ["kept", "kept too"]
    (tmp_path / "latest").mkdir()
    put(tmp_path / "latest", "test.txt", b"not this")
    assert "no file of split" in refusal(Source(path=f"{tmp_path}/latest/*"))


def test_links_are_followed_and_every_real_file_is_read_once(tmp_path):
    (tmp_path / "corpus/sub").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    put(tmp_path / "corpus", "a.txt", b"first")
    put(tmp_path / "elsewhere", "blob", b"second")
    put(tmp_path / "elsewhere", "c.txt", b"third")
    for name in ("loop", "again", "sub/loop"):
        (tmp_path / "corpus" / name).symlink_to(tmp_path / "corpus", target_is_directory=True)
    (tmp_path / "corpus/sub/b.txt").symlink_to(tmp_path / "elsewhere/blob")  # as in the hub's cache
    (tmp_path / "corpus/sub/linked").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "corpus/z.txt").hardlink_to(tmp_path / "corpus/a.txt")
    (tmp_path / "corpus/self").symlink_to("self")
    for path in ("corpus", "corpus/**/*.txt", "corpus/**"):
        assert sorted(read(Source(path=str(tmp_path / path)))) == ["first", "second", "third"]
    assert "no such file" in refusal(Source(path=f"{tmp_path}/corpus/**/*.jsonl"))


@pytest.mark.parametrize("path", ["", "/**/*.txt", "/*/*.txt"])
def test_a_subfolder_that_cant_be_listed_is_named(tmp_path, monkeypatch, path):
    (tmp_path / "closed").mkdir()
    put(tmp_path, "a.txt", b"read")
    listed = Path.iterdir

    def refuse(folder):  # root may list any folder, so its refusal is played
        if folder.name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "closed: can't be listed (Permission denied)" in refusal(Source(path=f"{tmp_path}{path}"))


@pytest.mark.parametrize("key", ["path", "hub"])
def test_what_save_to_disk_wrote_is_read_whichever_key_names_it(tmp_path, key, capfd):
    import datasets

    one = datasets.Dataset.from_dict({"text": TEXTS, "n": range(len(TEXTS))})
    datasets.DatasetDict({"train": one, "test": one.select([0])}).save_to_disk(str(tmp_path / "both"))
    one.save_to_disk(str(tmp_path / "one"), num_shards=2)
    (tmp_path / "one/cache-0123456789abcdef.arrow").write_bytes(b"of a map that was tried")
    capfd.readouterr()
    for name, split, texts in (("one", "train", TEXTS), ("both", "train", TEXTS), ("both", "test", TEXTS[:1])):
        documents = read(Source(**{key: str(tmp_path / name)}, split=split))  # type: ignore[arg-type]
        assert list(documents) == texts
        assert documents.counts.unread_files == 0
    assert "no text column 'body'" in refusal(Source(path=str(tmp_path / "one"), text="body"))
    assert capfd.readouterr() == ("", "")


CHAT = [{"role": "user", "content": "Как дела?"}, {"role": "assistant", "content": "Fine"}]
NESTED: dict[str, tuple[list, str, list[str]]] = {
    "an object's field": ([{"data": {"inner": {"text": "a"}}}, {"data": {"inner": None}}], "data.inner.text", ["a"]),
    "a name with a dot": ([{"data.text": "a"}], "data.text", ["a"]),
    "strings": ([{"text": ["one", "два"]}, {"text": []}, {"text": None}], "text", ["one\nдва"]),
    "messages": ([{"messages": CHAT}], "messages", ["user: Как дела?\n\nassistant: Fine"]),
    "from and value": ([{"c": [{"from": "human", "value": "hi"}]}], "c", ["human: hi"]),
    "messages within": ([{"x": {"messages": CHAT}}], "x.messages", ["user: Как дела?\n\nassistant: Fine"]),
}


@pytest.mark.parametrize(("records", "column", "texts"), NESTED.values(), ids=NESTED)
def test_dotted_fields_lists_of_strings_and_messages_are_texts_in_every_kind_of_file(
    tmp_path, monkeypatch, records, column, texts
):
    monkeypatch.setattr("datasets.config.HF_UPDATE_DOWNLOAD_COUNTS", False)
    import datasets

    table = pa.Table.from_pylist(records)
    (tmp_path / "hub").mkdir()
    pq.write_table(table, tmp_path / "hub/a.parquet")
    datasets.Dataset(table).save_to_disk(str(tmp_path / "saved"))
    put(tmp_path, "lines.jsonl", b"".join(json.dumps(record).encode() + b"\n" for record in records))
    put(tmp_path, "list.json", json.dumps(records).encode())
    for source in (
        *(
            Source(path=str(tmp_path / name), text=column)
            for name in ("hub/a.parquet", "saved", "lines.jsonl", "list.json")
        ),
        Source(hub=str(tmp_path / "hub"), text=column),
    ):
        documents = read(source)
        assert list(documents) == texts
        assert documents.counts.joined == (0 if texts == ["a"] else 1)


def test_a_dotted_field_that_isnt_there_is_refused_with_what_is(tmp_path):
    pq.write_table(pa.table({"data": [{"body": "x"}]}), tmp_path / "a.parquet")
    source = Source(path=str(tmp_path / "a.parquet"), text="data.text")
    assert "no text column 'data.text': set `text` to one of its columns (data.body)" in refusal(source)
    assert "such as data.body" in refusal(Source(path=source.path, text="data"))
    put(tmp_path, "a.jsonl", b'{"data": {"body": "x"}}')
    assert "no text column 'data.text'" in refusal(Source(path=str(tmp_path / "a.jsonl"), text="data.text"))


def test_a_dataset_folder_is_read_as_a_hub_data_set(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_UPDATE_DOWNLOAD_COUNTS", False)
    for split in ("train", "test"):
        pq.write_table(pa.table({"body": [*TEXTS, None, f"the {split} split"]}), tmp_path / f"{split}.parquet")
    documents = read(Source(hub=str(tmp_path), split="test", text="body"))
    assert list(documents) == [*TEXTS, "the test split"]
    assert documents.counts.no_text == 1
    assert "no text column 'text'" in refusal(Source(hub=str(tmp_path)))
    assert "check its name, subset and split" in refusal(Source(hub=str(tmp_path), split="nowhere"))


def test_files_are_read_without_network_cache_or_output(tmp_path, monkeypatch, capfd):
    def refuse(*_, **__):
        raise AssertionError("network")

    cache = tmp_path / "cache"
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", cache)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "a.parquet")
    put(tmp_path, "b.jsonl.gz", gzip.compress(jsonl(TEXTS)))
    assert len(list(read(Source(path=str(tmp_path))))) == 2 * len(TEXTS)
    assert not cache.exists()
    assert capfd.readouterr() == ("", "")


def test_a_pass_broken_off_leaves_the_next_one_whole(tmp_path):
    documents = read(put(tmp_path, "a.jsonl", jsonl(["one", "two"])))
    assert next(iter(documents)) == "one"
    assert list(documents) == list(documents) == ["one", "two"]
    assert documents.counts.documents == 2


@settings(max_examples=50, deadline=None)
@given(st.lists(anything, min_size=1, max_size=30), st.integers(1, 200), st.randoms(use_true_random=False))
def test_a_sample_fits_its_cap_and_does_not_depend_on_the_order(texts, cap, random):
    sample, left_out = spread(texts, cap)
    assert len(sample) + left_out == len(texts)
    assert len(sample) == 1 or sum(len(text.encode()) for text in sample) <= cap
    shuffled = random.sample(texts, len(texts))
    assert sorted(spread(shuffled, cap)[0]) == sorted(sample)
    positions = iter(texts)
    assert all(text in positions for text in sample)  # in the order they came in


def test_a_sample_is_spread_over_the_domain_and_a_larger_one_contains_it(tmp_path):
    texts = [f"document {i:04}" for i in range(1000)]
    source = put(tmp_path, "a.jsonl", jsonl(texts))
    small, large = (read(source, max_bytes=cap) for cap in (1300, 5200))
    assert set(small) < set(large)
    assert small.counts.capped
    assert small.counts.left_out == 900
    quarters = [sum(i // 250 == q for i in map(texts.index, small)) for q in range(4)]
    assert min(quarters) > 10  # 25 expected; fewer than 11 has a chance below 1 in 1,000
    whole = read(source, max_bytes=10**6)
    assert list(whole) == texts
    assert not whole.counts.capped


def test_only_the_start_of_a_domain_far_beyond_its_cap_is_looked_at_and_that_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("proxies.corpora.MIN_SCAN", 0)
    for name in "ab":
        put(tmp_path, f"{name}.jsonl", jsonl([f"{name}{i:08}" for i in range(1000)]))
    documents = read(Source(path=str(tmp_path)), max_bytes=90)
    taken = list(documents)
    assert documents.counts.cut_files == 2
    assert documents.counts.capped
    assert len(taken) + documents.counts.left_out == 2 * 80  # 16 caps of 10 documents, half of them from each file
    assert {text[0] for text in taken} == {"a", "b"}


def test_importing_the_readers_imports_nothing_heavy():
    code = (
        "import sys, proxies.corpora, proxies.builtin, proxies.tokenizer, proxies.shards;"
        "print([m for m in ('datasets', 'torch', 'tokenizers', 'pyarrow', 'pandas') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
