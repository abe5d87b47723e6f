"""Tokens and shards."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxies import tokenizer as tk
from proxies.corpora import Source, read
from proxies.shards import check_shard, duplicates_across, open_shard, text_hash, write

WORDS = ("alpha beta gamma", "Привет мир слово", "שלום עולם", "def f(x): return x\n", "1234 5678 \u2028 \U0001f600 é")
TEXTS = [f"{WORDS[i % len(WORDS)]} {i} {WORDS[i % 3] * (i % 7)}" for i in range(400)]


@pytest.fixture(scope="module")
def tokenizer():
    return tk.train({"a": TEXTS[:200], "b": TEXTS[200:]}, vocab_size=300)


def texts_of(shard, tokenizer, part):
    first = 0 if part == "train" else shard.meta.train_documents
    count = shard.meta.train_documents if part == "train" else shard.meta.val_documents
    return [tokenizer.decode(shard.document(first + i)) for i in range(count)]


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_comes_back_from_its_tokens_with_its_bytes_counted(tokenizer, text):
    ids = tokenizer.encode([text])[0]
    assert ids[-1] == tokenizer.end
    assert tokenizer.decode(ids) == text
    assert tokenizer.bytes_of(ids) == len(text.encode())
    assert sum(tokenizer.bytes_of(ids[i : i + 1]) for i in range(len(ids))) == len(text.encode())


def test_the_end_token_written_out_in_a_document_is_text(tokenizer):
    ids = tokenizer.encode([f"a {tk.END} b"])[0]
    assert np.count_nonzero(ids == tokenizer.end) == 1
    assert tokenizer.decode(ids) == f"a {tk.END} b"


def test_texts_encoded_in_pieces_give_the_same_tokens(tokenizer, monkeypatch):
    text = "  ".join(TEXTS) + "\n\n" + "x" * 300
    whole = tokenizer.encode([text, "b"])
    monkeypatch.setattr(tk, "_PIECE", 400)
    monkeypatch.setattr(tk, "_BATCH", 1000)
    assert [list(ids) for ids in tokenizer.encode([text, "b"])] == [list(ids) for ids in whole]


def test_training_a_tokenizer_twice_gives_the_same_and_each_domain_counts_alike():
    rare, common = ["жщ фы "] * 50, ["the quick brown fox "] * 5000
    first, second = (tk.train({"common": common, "rare": rare}, vocab_size=265, sample_bytes=600) for _ in range(2))
    assert first.hash == second.hash
    assert first.size == 265
    assert any("Ð" in token or "Ñ" in token for token in first.inner.get_vocab() if len(token) > 2)


def test_a_vocabulary_too_small_or_too_large_for_the_text_is_refused():
    with pytest.raises(ValueError, match="at least 257"):
        tk.train({"a": TEXTS}, vocab_size=256)
    with pytest.raises(ValueError, match=r"set vocab_size = \d+"):
        tk.train({"a": ["ab ab"]}, vocab_size=1000)


def test_a_tokenizer_is_the_same_after_saving_and_loading(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "shards" / "tokenizer.json")
    for place in (tmp_path / "shards", tmp_path / "shards" / "tokenizer.json"):
        again = tk.load(place)
        assert (again.hash, again.end, again.size) == (tokenizer.hash, tokenizer.end, tokenizer.size)
        assert [list(x) for x in again.encode(TEXTS[:5])] == [list(x) for x in tokenizer.encode(TEXTS[:5])]


def test_a_users_tokenizer_names_its_end_token_or_is_given_it(tokenizer, tmp_path):
    config = json.loads(tokenizer.inner.to_str())
    text = json.dumps(config).replace(tk.END, "<finis>")
    (tmp_path / "tokenizer.json").write_text(text)
    assert tk.load(tmp_path, end_token="<finis>").end == tokenizer.end
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": {"content": "<finis>"}}')
    assert tk.load(tmp_path).end == tokenizer.end
    with pytest.raises(ValueError, match=r"no token '<no>': set tokenizer\.end_token"):
        tk.load(tmp_path, end_token="<no>")
    for config in ('{"eos_token": 5}', '{"eos_token": {"content": [5]}}', "[]", "{"):
        (tmp_path / "tokenizer_config.json").write_text(config)
        with pytest.raises(ValueError, match=r"tokenizer_config\.json: can't be read .* or set tokenizer\.end_token"):
            tk.load(tmp_path)


def test_a_tokenizer_without_an_end_token_gets_one(tokenizer, tmp_path):
    config = json.loads(tokenizer.inner.to_str())
    (tmp_path / "tokenizer.json").write_text(json.dumps(config).replace(tk.END, "<finis>"))
    given = tk.load(tmp_path)
    assert given.end_added and not tokenizer.end_added
    assert given.end == tokenizer.size and given.size == tokenizer.size + 1
    ids = given.encode([f"a {tk.END} b"])[0]
    assert np.count_nonzero(ids == given.end) == 1 and given.decode(ids) == f"a {tk.END} b"
    given.save(tmp_path / "again" / "tokenizer.json")
    assert tk.load(tmp_path / "again").hash == given.hash


def words_tokenizer(folder, model, **kinds):
    """A tokenizer that knows a few English words or letters."""
    import tokenizers

    inner = tokenizers.Tokenizer(getattr(tokenizers.models, model)(**kinds))
    if model != "Unigram":
        inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.save(str(folder / "tokenizer.json"))
    return tk.load(folder)


LETTERS = {letter: i for i, letter in enumerate("[abcdefgh]")}
BLIND = {
    "words": ("WordLevel", {"vocab": {"[UNK]": 0, "abc": 1, "bad": 2}, "unk_token": "[UNK]"}),
    "pieces": ("WordPiece", {"vocab": {"[UNK]": 0, "abc": 1, "bad": 2}, "unk_token": "[UNK]"}),
    "letters, others dropped": ("BPE", {"vocab": LETTERS, "merges": []}),
    "letters, others fused": ("BPE", {"vocab": LETTERS | {"?": 10}, "merges": [], "unk_token": "?", "fuse_unk": True}),
    "unigram": ("Unigram", {"vocab": [("?", 0.0), *((letter, -1.0) for letter in "abcd ")], "unk_id": 0}),
}


@pytest.mark.parametrize(("model", "kinds"), BLIND.values(), ids=BLIND)
def test_characters_that_a_tokenizer_has_no_token_for_are_counted(tmp_path, model, kinds):
    blind = words_tokenizer(tmp_path, model, **kinds)
    assert blind.unknown("abc  bad\n") == 0
    assert blind.unknown("שלום abc") == 4
    assert blind.unknown("Привет,  мир") == len("Привет,мир")
    meta = write(tmp_path / "a", [f"abc שלום{' bad' * (i % 2)}" for i in range(60)], blind, val_fraction=0.5)
    assert meta.unknown == pytest.approx(8 / 17)


def test_a_tokenizer_of_bytes_knows_every_script(tokenizer, tmp_path):
    assert tokenizer.unknown("שלום Привет \U0001f600") == 0
    assert write(tmp_path, TEXTS, tokenizer, val_fraction=0.1).unknown == 0


UNBROKEN = {"spaces": " " * 200_000, "letters": "ab" * 100_000, "lines": "\n" * 100_000, "signs": "-=" * 100_000}


@pytest.mark.parametrize("text", UNBROKEN.values(), ids=UNBROKEN)
def test_long_unbroken_stretches_dont_hold_up_training(text):
    started = time.monotonic()
    tk.train({"a": TEXTS, "b": [f"begin{text}end"]}, vocab_size=400)
    assert time.monotonic() - started < 20  # a second; whole, 200,000 spaces took 100 on this machine's like


def test_cut_stretches_are_all_of_the_text():
    text = "x" * 1000 + " а" * 500 + "\t" * 600 + "word " * 100
    pieces = list(tk._stretches(text))
    assert "".join(pieces) == text
    assert len(pieces) > 5 and list(tk._stretches("word " * 1000)) == ["word " * 1000]


def test_ctrl_c_gets_through_while_a_tokenizer_is_trained():
    code = (
        "import random, signal\nfrom proxies.tokenizer import train\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs inherit that it is ignored\n"
        "text = ''.join(random.Random(0).choices('abcdefghijklmnop', k=1 << 23))\n"
        "train({'a': [text]}, vocab_size=60_000, sample_bytes=1 << 24, on_progress=lambda t: print(t, flush=True))"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith("training the tokenizer, 2 s"):
            break
    child.send_signal(signal.SIGINT)
    started = time.monotonic()
    _, stderr = child.communicate(timeout=60)
    assert time.monotonic() - started < 10
    assert stderr.rstrip().endswith("KeyboardInterrupt")


def test_a_tokenizer_that_isnt_byte_level_counts_the_bytes_of_its_decoded_text(tmp_path):
    import tokenizers

    vocab = {"</s>": 0, "[UNK]": 1, "мир": 2, "alpha": 3}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="[UNK]"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.add_special_tokens(["</s>"])
    inner.enable_truncation(1)
    inner.save(str(tmp_path / "tokenizer.json"))
    loaded = tk.load(tmp_path)
    ids = loaded.encode(["alpha мир"])[0]
    assert list(ids) == [3, 2, 0]
    assert loaded.bytes_of(ids) == len("alpha мир".encode())


def test_files_that_are_no_tokenizer_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"no tokenizer\.json in it"):
        tk.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ValueError, match=r"not a tokenizer\.json"):
        tk.load(tmp_path)


def test_a_vocabulary_above_65536_is_stored_in_four_bytes(tokenizer, tmp_path):
    import tokenizers

    vocab = {"<eos>": 0} | {f"w{i}": i for i in range(1, 70_000)}
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocab, unk_token="<eos>"))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    inner.save(str(tmp_path / "tokenizer.json"))
    meta = write(tmp_path / "a", [f"w{i} w{69_000 + i}" for i in range(50)], tk.load(tmp_path), val_fraction=0.2)
    assert (tokenizer.dtype, meta.dtype) == (np.uint16, "uint32")
    assert open_shard(tmp_path / "a").train.max() >= 69_000


def test_a_shard_holds_every_document_once_in_one_of_its_parts(tokenizer, tmp_path):
    meta = write(tmp_path, TEXTS, tokenizer, val_fraction=0.1)
    shard = open_shard(tmp_path)
    assert shard.meta == meta
    train, val = (texts_of(shard, tokenizer, part) for part in ("train", "val"))
    assert sorted(train + val) == sorted(TEXTS)
    assert not set(train) & set(val)
    assert 20 <= len(val) <= 60  # 40 expected, with a standard deviation of 6
    assert [text_hash(text) for text in train + val] == shard.hashes.tolist()
    for part, texts in (("train", train), ("val", val)):
        stream = getattr(shard, part)
        assert getattr(meta, f"{part}_bytes") == tokenizer.bytes_of(stream) == sum(len(t.encode()) for t in texts)
        assert np.count_nonzero(stream == tokenizer.end) == getattr(meta, f"{part}_documents") == len(texts)
        assert len(stream) == getattr(meta, f"{part}_tokens")


def test_a_shard_does_not_depend_on_the_order_of_its_documents(tokenizer, tmp_path):
    metas = [
        write(tmp_path / str(i), texts, tokenizer, val_fraction=0.1) for i, texts in enumerate((TEXTS, TEXTS[::-1]))
    ]
    assert metas[0] == metas[1]
    assert len({(tmp_path / str(i) / "train.bin").read_bytes() for i in range(2)}) == 1


def test_a_shards_content_hash_changes_with_text_split_and_tokenizer(tokenizer, tmp_path):
    other = tk.train({"a": TEXTS}, vocab_size=280)
    contents = [
        write(tmp_path, texts, chosen, val_fraction=fraction).content
        for texts, chosen, fraction in (
            (TEXTS, tokenizer, 0.1),
            (TEXTS[:-1], tokenizer, 0.1),
            (TEXTS, tokenizer, 0.2),
            (TEXTS, other, 0.1),
        )
    ]
    assert len(set(contents)) == 4


def test_the_first_tokens_of_a_shard_are_documents_from_all_over_the_domain(tokenizer, tmp_path):
    texts = [f"{i:04}" for i in range(1000)]
    write(tmp_path, texts, tokenizer, val_fraction=0.1)
    first = texts_of(open_shard(tmp_path), tokenizer, "train")[:100]
    quarters = np.bincount([int(text) // 250 for text in first], minlength=4)
    assert quarters.min() > 10  # 25 expected; fewer than 11 has a chance below 1 in 1,000


def test_copies_of_a_text_are_kept_counted_and_set_apart_within_one_part(tokenizer, tmp_path):
    meta = write(tmp_path, TEXTS + ["again and again"] * 20, tokenizer, val_fraction=0.1)
    shard = open_shard(tmp_path)
    places = np.flatnonzero(shard.hashes == text_hash("again and again"))
    assert meta.duplicates == 19
    assert len(places) == 20
    assert (places < meta.train_documents).all() or (places >= meta.train_documents).all()
    assert np.ptp(places) > 30  # among the 60 or so of the validation part


def test_texts_in_two_domains_are_found_and_stand_in_the_same_part(tokenizer, tmp_path):
    first, second, third = TEXTS[:200], TEXTS[150:350], ["nowhere else", *TEXTS[350:]]
    for name, texts in (("first", first), ("second", second), ("third", third)):
        write(tmp_path / name, texts, tokenizer, val_fraction=0.1)
    shards = {name: open_shard(tmp_path / name) for name in ("first", "second", "third")}
    [overlap] = duplicates_across({name: shard.hashes for name, shard in shards.items()})
    assert (overlap.first, overlap.second, overlap.texts) == ("first", "second", 50)
    assert (overlap.first_share, overlap.second_share) == (0.25, 0.25)
    assert tokenizer.decode(shards["first"].document(overlap.example)) in TEXTS[150:200]
    val = [set(texts_of(shards[name], tokenizer, "val")) for name in ("first", "second")]
    train = [set(texts_of(shards[name], tokenizer, "train")) for name in ("first", "second")]
    assert not val[0] & train[1]
    assert not val[1] & train[0]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text("abc", min_size=1), min_size=1, max_size=6), st.floats(0.05, 0.95))
def test_either_both_parts_hold_a_document_or_the_refusal_tells_a_fraction_that_works(tokenizer, texts, fraction):
    with tempfile.TemporaryDirectory() as folder:
        try:
            meta = write(Path(folder), texts, tokenizer, val_fraction=fraction)
        except ValueError as error:
            assert "leave no document to" in str(error)
            assert not (Path(folder) / "meta.json").exists()
            if "set val_fraction between" not in str(error):
                return
            bounds = str(error).rsplit("between ", 1)[1].split(" and ")
            for bound in bounds:
                meta = write(Path(folder), texts, tokenizer, val_fraction=float(bound))
                assert min(meta.train_documents, meta.val_documents) > 0
        else:
            assert min(meta.train_documents, meta.val_documents) > 0
            assert meta.train_documents + meta.val_documents == len(texts)


def test_a_shard_tells_where_its_text_came_from_and_what_reading_it_met(tokenizer, tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in [*TEXTS, " "]))
    write(tmp_path / "a", read(Source(path=str(tmp_path))), tokenizer, val_fraction=0.1)
    meta = open_shard(tmp_path / "a").meta
    assert meta.source == str(tmp_path)
    assert meta.problems["documents"] == len(TEXTS)
    assert meta.problems["empty"] == 1
    write(tmp_path / "b", read(Source(builtin="reference")), tokenizer, val_fraction=0.1)
    assert "python" in open_shard(tmp_path / "b").meta.versions


def test_a_write_that_fails_leaves_no_shard_and_no_litter(tokenizer, tmp_path):
    def breaking():
        yield from TEXTS
        raise ValueError("the disk caught fire")

    write(tmp_path, TEXTS, tokenizer, val_fraction=0.1)
    with pytest.raises(ValueError, match="caught fire"):
        write(tmp_path, breaking(), tokenizer, val_fraction=0.1)
    with pytest.raises(ValueError, match="no finished token shard"):
        open_shard(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"train.bin", "val.bin", "documents.bin"}


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "documents.bin"])
def test_files_that_dont_fit_their_meta_are_refused(tokenizer, tmp_path, name):
    write(tmp_path, TEXTS, tokenizer, val_fraction=0.1)
    (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:-2])
    with pytest.raises(ValueError, match=f"{name} holds"):
        open_shard(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is absent"):
        open_shard(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 99}'])
def test_a_meta_file_that_isnt_ours_is_refused(tokenizer, tmp_path, text):
    write(tmp_path, TEXTS, tokenizer, val_fraction=0.1)
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(ValueError, match="prepare this domain again"):
        open_shard(tmp_path)


def test_an_empty_domain_and_an_impossible_fraction_are_refused(tokenizer, tmp_path):
    with pytest.raises(ValueError, match="no documents"):
        write(tmp_path, [], tokenizer, val_fraction=0.1)
    for fraction in (0.0, 1.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="between 0 and 1"):
            write(tmp_path, TEXTS, tokenizer, val_fraction=fraction)


def test_a_shard_of_an_older_version_has_its_tokens_checked_all_the_same(tmp_path, tokenizer):
    write(tmp_path, TEXTS, tokenizer, val_fraction=0.1)
    path = tmp_path / "meta.json"
    old = {key: value for key, value in json.loads(path.read_text()).items() if key not in ("documents", "checksum")}
    path.write_text(json.dumps(old))
    check_shard(tmp_path)
    data = bytearray((tmp_path / "val.bin").read_bytes())
    data[10] ^= 1
    (tmp_path / "val.bin").write_bytes(data)
    open_shard(tmp_path)  # equal in size
    with pytest.raises(ValueError, match=r"aren't those that were written .*prepare this domain again"):
        check_shard(tmp_path)
