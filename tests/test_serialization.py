"""JSON artefacts: NaN as null, and results that are kept as long as what they were made from."""

import json
import math

import numpy as np
import pytest

from mixopt.errors import MixoptError
from mixopt.serialization import cached, digest, nan_to_null, read_json, replacing


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (math.nan, None),
        (np.float64(math.inf), None),
        (np.float32(0.5), 0.5),
        (np.array([[1.0, np.nan], [2.0, 3.0]]), [[1.0, None], [2.0, 3.0]]),
        ({1: (0.5, -math.inf), "b": {"c": np.int64(3)}}, {"1": [0.5, None], "b": {"c": 3}}),
        ([True, None, "nan", 7], [True, None, "nan", 7]),
    ],
)
def test_what_is_not_finite_becomes_null_wherever_it_stands(value, expected):
    assert nan_to_null(value) == expected
    json.dumps(nan_to_null(value), allow_nan=False)


@pytest.fixture
def computed(tmp_path):
    """Asks for a cached value and tells what was computed for it."""
    calls = []

    def ask(key, **options):
        calls.clear()
        found = cached(tmp_path / "made.json", key, lambda: calls.append(key) or {"of": key}, **options)
        return found["of"], list(calls)

    return ask


def test_a_result_is_computed_again_only_for_another_key(computed, tmp_path):
    assert computed("one") == ("one", ["one"])
    assert computed("one") == ("one", [])
    assert computed("two") == ("two", ["two"])
    kept = json.loads((tmp_path / "made.json").read_text())
    assert kept == {"of": "two", "stamp": "two", "checksum": digest({"of": "two", "stamp": "two"})}


def test_a_result_that_was_changed_by_hand_is_refused_with_how_to_get_it_back(computed, tmp_path):
    path = tmp_path / "made.json"
    computed("one")
    path.write_text(path.read_text().replace('"of": "one"', '"of": "other"'))
    for read in (lambda: computed("one"), lambda: read_json(path, made_by="run")):
        with pytest.raises(MixoptError, match=r"made\.json: was changed after .*delete it and run `mixopt run` again"):
            read()
    assert computed("two") == ("two", ["two"])  # another key: made anew


def test_a_file_of_an_older_version_without_a_checksum_stays_readable(computed, tmp_path):
    (tmp_path / "made.json").write_text('{"of": "old", "stamp": "one"}')
    assert computed("one") == ("old", [])
    assert read_json(tmp_path / "made.json", made_by="run")["of"] == "old"


def test_keys_that_are_no_text_and_tuples_are_given_as_they_will_be_read(tmp_path):
    value = cached(tmp_path / "made.json", "one", lambda: {"by": {10: (1, 2), 9: 0.1}})
    assert value["by"] == {"10": [1, 2], "9": 0.1}
    assert cached(tmp_path / "made.json", "one", dict) == value


@pytest.mark.parametrize("content", ['{"of": "on', "[1]", '{"of": "one"}'])
def test_a_file_without_a_key_is_replaced(computed, tmp_path, content):
    (tmp_path / "made.json").write_text(content)
    assert computed("one") == ("one", ["one"])


def test_a_result_whose_other_file_is_gone_is_computed_again(computed, tmp_path):
    other = tmp_path / "other"
    other.touch()
    computed("one")
    assert computed("one", needs=lambda _: [other]) == ("one", [])
    other.unlink()
    assert computed("one", needs=lambda _: [other]) == ("one", ["one"])


def test_only_a_result_that_is_kept_is_reported_as_such(computed):
    hits = []
    for _ in range(2):
        computed("one", on_hit=lambda: hits.append(1))
    assert hits == [1]


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as half:
        half.write_text("new, but brok")
        raise RuntimeError
    assert [(p.name, p.read_text()) for p in tmp_path.iterdir()] == [("a.txt", "old")]


def test_the_order_of_keys_does_not_change_a_digest():
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


@pytest.mark.parametrize(("content", "message"), [(None, "isn't there yet: `mixopt run`"), ("{", "not JSON .*delete")])
def test_an_artefact_that_cannot_be_read_names_the_command_that_makes_it(tmp_path, content, message):
    if content:
        (tmp_path / "a.json").write_text(content)
    with pytest.raises(MixoptError, match=message):
        read_json(tmp_path / "a.json", made_by="run")
