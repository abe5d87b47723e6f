"""Malformed input: wrong values for every key of nested data, and the contract that every refusal keeps."""

import copy
import time
from collections.abc import Iterator

from tests.factories.command import contents

# Wrong for every key but where a test says otherwise, by what is wrong with them.
WRONG = {
    "mapping": {"strange": 1}, "list": ["strange"], "text": "strange", "empty": "", "blank": " ", "true": True,
    "negative": -1, "nan": float("nan"), "inf": float("inf"), "huge": 1e40, "NUL": "a\0b",
}  # fmt: skip


def assert_refused(command, *words, names=()) -> str:
    """One sentence, exit status 2, nothing written, under 20 s; gives the sentence, which holds all of names."""
    before, started = contents(command.cwd), time.monotonic()
    sentence = command.refused(*words)
    assert time.monotonic() - started < 20
    after = contents(command.cwd)
    assert {name for name in {**before, **after} if before.get(name, "") != after.get(name, "")} == set()
    assert 20 < len(sentence) < 1500, sentence
    for name in names:
        assert str(name) in sentence, (name, sentence)
    return sentence


def paths_of(value, above=()) -> Iterator[tuple]:
    """Every key path of nested mappings and lists."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*above, key)
        yield from paths_of(value[key], (*above, key))


def at(value, path):
    for key in path:
        value = value[key]
    return value


def put(value, path, new):
    """A copy with another value, or a new one, at a key path."""
    value = copy.deepcopy(value)
    at(value, path[:-1])[path[-1]] = new
    return value


def without(value, path):
    """A copy without a key."""
    value = copy.deepcopy(value)
    del at(value, path[:-1])[path[-1]]
    return value


def dotted(path) -> str:
    return ".".join(map(str, path))
