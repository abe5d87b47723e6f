"""Checkpoints cut short, forged, of other proxies and of other makers: refused by name, whatever is wrong with them."""

import io
import json
import warnings
import zipfile
from dataclasses import asdict

import numpy as np
import pytest

from proxies.checkpoint import ABOUT, load_checkpoint, save_checkpoint, take
from proxies.gpt import Shape, StackedGPT
from tests.factories.bad_input import assert_refused
from tests.factories.command import Command, contents
from tests.factories.small_study import CONTINUAL, STUDY, ended, started, write_small_study

pytestmark = pytest.mark.slow

SHAPE = Shape(vocab=260, layers=1, width=16, heads=1, context=16)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("good") / "good.npz"
    save_checkpoint(path, take(StackedGPT(SHAPE, [0]), 0, {"run_id": "r"}))
    return path.read_bytes()


def archive(arrays, save=np.savez, **options) -> bytes:
    out = io.BytesIO()
    save(out, **arrays, **options)
    return out.getvalue()


def arrays_of(good):
    with np.load(io.BytesIO(good)) as stored:
        return {name: stored[name] for name in stored.files}


def about(value) -> np.ndarray:
    return np.frombuffer(value if isinstance(value, bytes) else json.dumps(value).encode(), dtype=np.uint8)


def shaped(**values):
    return {"format": 1, "shape": asdict(SHAPE) | values, "about": {}}


def npy(value, **options) -> bytes:
    out = io.BytesIO()
    np.save(out, value, **options)
    return out.getvalue()


def header(shape: str, kind="'<f4'") -> bytes:
    """The beginning of an array's file, which claims a shape and a type."""
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


FILES = {
    "empty": b"", "text": b"weights", "JSON": b"{}", "array": npy(np.zeros(3, dtype=np.float32)), "pickled": npy(np.array([{}]), allow_pickle=True),
    "pickle": b"\x80\x04}\x94.", "zip of nothing": b"PK\x05\x06" + bytes(18), "zip cut short": b"PK\x03\x04 half a zip", "gzip": b"\x1f\x8b\x08" + bytes(30),
    "torch": b"PK\x03\x04" + bytes(300), "html": b"<html></html>", "zeros": bytes(10_000),
}  # fmt: skip
DESCRIPTIONS = {
    "list": [], "null": None, "number": 3, "deep": b"[" * 100_000, "object": {}, "not JSON": b"\xff", "NaN": b'{"format": 1, "shape": NaN, "about": {}}',
    "empty": b"", "no shape": {"format": 1, "about": {}}, "a list as shape": shaped() | {"shape": [1]}, "texts": shaped(vocab="a", width="b"), "a null": shaped(layers=None),
    "below 0": shaped(vocab=-1), "no heads": shaped(heads=0), "no layers": shaped(layers=0), "part of a head": shaped(heads=3), "part of a layer": shaped(layers=1.5),
    "another width": shaped(width=32), "a vast vocabulary": shaped(vocab=10**12), "vast layers": shaped(layers=10**9), "a vast width": shaped(width=2**40),
    "vaster than any number": shaped(vocab=10**400), "another key": shaped(depth=3), "a key missing": shaped() | {"shape": {"vocab": 260}}, "format 2": shaped() | {"format": 2},
    "a format in words": shaped() | {"format": "1"}, "no format": {"shape": asdict(SHAPE), "about": {}}, "nothing about it": {"format": 1, "shape": asdict(SHAPE)},
    "a number about it": shaped() | {"about": 3}, "a list about it": shaped() | {"about": [1]}, "null about it": shaped() | {"about": None},
}  # fmt: skip
ARRAYS = {
    "float64": lambda x: x.astype("f8"), "float16": lambda x: x.astype("f2"), "integers": lambda x: x.astype("i8"), "complex": lambda x: x.astype("c8"),
    "texts": lambda x: x.astype("U8"), "bytes": lambda x: x.astype("S8"), "times": lambda x: x.astype("i8").astype("M8[s]"), "booleans": lambda x: x > 0,
    "records": lambda x: np.zeros(x.shape, [("a", "f4")]), "NaN": lambda x: x * np.nan, "infinite": lambda x: x + np.inf, "a column less": lambda x: x[:, 1:],
    "turned": lambda x: x.T, "a dimension more": lambda x: x[None], "none": lambda x: x[:0], "one": lambda x: x[0, 0], "other byte order": lambda x: x.astype(">f4"),
}  # fmt: skip
MEMBERS = {
    "a terabyte": header("(1000000000000,)"), "beyond any memory": header("(1000000000000000000, 1000000000000000000)"), "below 0": header("(-1,)"),
    "half a shape": header("(1,"), "code": header("__import__('os').abort()"), "an unknown type": header("(1,)", "'zz'"), "objects": header("(1,)", "'|O'") + bytes(8),
    "no array": b"hello", "nothing": b"", "a later version": b"\x93NUMPY\x09\x00" + bytes(99), "a header of gigabytes": b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + b"a" * 99,
    "cut short": header("(260, 16)") + bytes(100),
}  # fmt: skip


def assert_no_checkpoint(path, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^[^\n]*bad\.npz: [^\n]*$") as caught, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile's, of entries that overlap
        load_checkpoint(path)
    assert len(str(caught.value)) < 700


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_kind_is_refused_by_name(name, tmp_path):
    assert_no_checkpoint(tmp_path / "bad.npz", FILES[name])


@pytest.mark.parametrize("name", DESCRIPTIONS)
def test_a_description_that_is_none_is_refused_by_name(name, good, tmp_path):
    assert_no_checkpoint(tmp_path / "bad.npz", archive(arrays_of(good) | {ABOUT: about(DESCRIPTIONS[name])}))


@pytest.mark.parametrize("name", ARRAYS)
def test_numbers_of_another_kind_are_refused_by_name(name, good, tmp_path):
    arrays = arrays_of(good)
    for entry in ("embed", "qkv.0"):
        assert_no_checkpoint(tmp_path / "bad.npz", archive(arrays | {entry: ARRAYS[name](arrays[entry])}))
    if arrays[ABOUT].dtype != ARRAYS[name](arrays[ABOUT][None]).dtype:
        assert_no_checkpoint(tmp_path / "bad.npz", archive(arrays | {ABOUT: ARRAYS[name](arrays[ABOUT][None])}))


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("entry", [ABOUT, "embed"])
def test_an_entry_that_is_no_array_is_refused_by_name(name, entry, good, tmp_path):
    with zipfile.ZipFile(tmp_path / "bad.npz", "w") as file:
        for one, array in arrays_of(good).items():
            file.writestr(f"{one}.npy", MEMBERS[name] if one == entry else npy(array))
    assert_no_checkpoint(tmp_path / "bad.npz", (tmp_path / "bad.npz").read_bytes())


def test_a_missing_and_a_strange_entry_are_refused_by_name(good, tmp_path):
    arrays = arrays_of(good)
    for entry in arrays:
        assert_no_checkpoint(tmp_path / "bad.npz", archive({one: x for one, x in arrays.items() if one != entry}))
    assert_no_checkpoint(tmp_path / "bad.npz", archive(arrays | {"more": np.ones(3, dtype=np.float32)}))


@pytest.mark.parametrize("seed", range(8))
def test_bytes_changed_anywhere_are_refused_by_name_or_change_no_number(seed, good, tmp_path):
    rng, path = np.random.default_rng(seed), tmp_path / "bad.npz"
    right = arrays_of(good)
    for n in range(150):
        bad = bytearray(good)
        ends = (*range(400), *range(len(good) - 1200, len(good)))  # the descriptions of entries are there
        for place in rng.choice(ends if n % 2 else len(good), size=rng.integers(1, 4)):
            bad[int(place)] = int(rng.integers(256))
        bad = bad[: int(rng.integers(len(bad)))] if n % 10 == 0 else bad
        path.write_bytes(bad)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = load_checkpoint(path).weights
            except ValueError as error:
                assert str(path) in str(error) and "\n" not in str(error), error
            else:
                assert all(np.array_equal(found[name], right[name]) for name in found)


def test_compressed_or_written_by_columns_it_is_the_same_checkpoint(good, tmp_path):
    right, path = arrays_of(good), tmp_path / "odd.npz"
    turned = {name: np.asfortranarray(x) for name, x in right.items()}
    for content in (archive(right, np.savez_compressed), archive(turned)):
        path.write_bytes(content)
        found = load_checkpoint(path)
        assert found.shape == SHAPE
        assert all(np.array_equal(found.weights[name], right[name]) for name in found.weights)


# Where commands read them


def damaged(good) -> dict[str, bytes]:
    arrays = arrays_of(good)
    return {
        **{name: FILES[name] for name in ("empty", "text", "pickled", "zip of nothing")}, "cut": good[: len(good) // 2],
        "deep": archive(arrays | {ABOUT: about(b"[" * 100_000)}), "NaN": archive(arrays | {"embed": arrays["embed"] * np.nan}),
        "texts": archive(arrays | {"embed": arrays["embed"].astype("U8")}), "nothing about it": archive(arrays | {ABOUT: about(shaped(vocab=280) | {"about": None})}),
        "another run's": archive(arrays | {ABOUT: about(shaped(vocab=280) | {"about": {"run_id": "r0"}})}),
    }  # fmt: skip


DAMAGED = [
    "empty",
    "text",
    "pickled",
    "zip of nothing",
    "cut",
    "deep",
    "NaN",
    "texts",
    "nothing about it",
    "another run's",
]


@pytest.fixture(scope="module")
def continued(tmp_path_factory):
    """A small study of continued pretraining, trained, and the same from a base that is named."""
    folder = tmp_path_factory.mktemp("continued")
    write_small_study(folder)
    (folder / "study.yaml").write_text(CONTINUAL.replace("NAME", "one"))
    code, _, err = ended(started("run", "study.yaml", "--out", "out", cwd=folder))
    assert code == 0, err
    base = next((folder / "bases").glob("*.npz"))
    base.rename(folder / "mine.npz")
    named = CONTINUAL.replace("NAME", "two").replace("sizes: [1], tokens: 20K, store: bases", "checkpoint: bad.npz")
    (folder / "named.yaml").write_text(named.replace("vocab: 280", "path: out/shards/tokenizer.json"))
    (folder / "bad.npz").write_bytes((folder / "mine.npz").read_bytes())
    code, _, err = ended(started("prepare", "named.yaml", "--out", "named", cwd=folder))
    assert code == 0, err
    return folder


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_base_is_refused_by_name(name, continued, capsys, monkeypatch):
    command = Command(capsys, monkeypatch, continued)
    content = damaged((continued / "mine.npz").read_bytes())[name]
    run = next((continued / "bases").glob("*.json")).stem
    path = continued / "bases" / f"{run}.npz"
    path.write_bytes(content)
    assert_refused(command, "train", "study.yaml", "--out", "out", names=[path.name, "delete it"])
    path.unlink()
    (continued / "bad.npz").write_bytes(content)
    if name != "another run's":  # of any study's
        sentence = assert_refused(
            command, "train", "named.yaml", "--out", "named", names=["base.checkpoint", "bad.npz"]
        )
        assert "delete it" not in sentence


@pytest.fixture(scope="module")
def widened(tmp_path_factory):
    """A small study of mixtures, trained, before a text is held out that no run was evaluated on."""
    folder = tmp_path_factory.mktemp("widened")
    write_small_study(folder)
    code, _, err = ended(started("run", "study.yaml", "--out", "out", cwd=folder))
    assert code == 0, err
    (folder / "more.jsonl").write_text((folder / "law.jsonl").read_text().replace("law", "more"))
    more = STUDY.replace("target: {law: 1.0}", "target: {law: 1.0}\nheld_out: {more: {path: more.jsonl}}")
    (folder / "study.yaml").write_text(more)
    runs = contents(folder / "out" / "runs")
    for stage in ("prepare", "train"):  # the plan is on record then
        code, _, err = ended(started(stage, "study.yaml", "--out", "out", cwd=folder))
        assert code == 0, err
    for name, content in runs.items():
        (folder / "out" / "runs" / name).write_bytes(content)
    return folder


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_proxy_is_refused_by_name(name, widened, capsys, monkeypatch):
    command, weights = Command(capsys, monkeypatch, widened), widened / "out" / "weights"
    before = contents(weights)
    for path, content in before.items():
        (weights / path).write_bytes(damaged(content)[name])
    try:
        assert_refused(command, "train", "study.yaml", "--out", "out", names=["weights/", ".npz", "delete it"])
    finally:
        for path, content in before.items():
            (weights / path).write_bytes(content)
