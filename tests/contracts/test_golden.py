"""Golden records: answers on fixed inputs keep their numbers, names and choices; words and added keys are free."""

import json
from collections.abc import Iterator
from math import isclose
from pathlib import Path
from typing import Any

import pytest

from tests.factories.golden import GOLDEN, MAKERS, made

RELATIVE, ABSOLUTE = 1e-6, 1e-9  # of numbers

# Never compared, wherever they stand: versions, times and hashes.
VOLATILE = {"mixopt", "versions", "command", "seconds", "stamp", "checksum", "sha256", "table_sha256"}
# Below `search`, not compared but checked: the golden files' certificates are of branch and bound. What has come in its
# place is a duality gap, or null.
CERTIFICATE = ("search", "certificate")
# What is written for people may be reworded, but stays a string. A single word is a name, even under these keys.
PROSE = {
    "beyond",
    "cautions",
    "from",
    "method",
    "note",
    "notes",
    "objective",
    "over",
    "source",
    "step",
    "warnings",
    "why",
}


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_prose(value: str, path: tuple[str | int, ...]) -> bool:
    """Words for people: under a key of prose, or a sentence anywhere."""
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    return " " in value and (key in PROSE or value.endswith("."))


def told(path: tuple[str | int, ...]) -> str:
    """A JSON path, such as $.domains[2].epochs."""
    return "$" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)


def without_twins(curve: Any) -> Any:
    """A domain's curve of loss over its share without points that repeat the share before but for rounding.

    The recommended share is added to an even grid; where it stands at a limit, the last bit decides whether it is new.
    """
    if not (isinstance(curve, dict) and {"weight", "loss"} <= curve.keys()):
        return curve
    shares = curve["weight"]
    kept = [n for n in range(len(shares)) if n == 0 or shares[n] - shares[n - 1] > ABSOLUTE]
    return curve | {key: [curve[key][n] for n in kept] for key in ("weight", "loss")}


def flaws(certificate: Any, path: tuple[str | int, ...]) -> Iterator[str]:
    """What a certificate must not say, a line each."""
    if not isinstance(certificate, dict) or certificate.keys() != {"residual", "gap", "scope", "why"}:
        yield f"{told(path)} is {certificate!r}, not residual, gap, scope and why"
        return
    if certificate["scope"] not in ("local", None):
        yield f"{told((*path, 'scope'))} is {certificate['scope']!r}, not local or null"
    if certificate["gap"] is not None and not (is_number(certificate["gap"]) and certificate["gap"] >= 0):
        yield f"{told((*path, 'gap'))} is {certificate['gap']!r}, not null, 0 or more"


def differences(golden: Any, found: Any, path: tuple[str | int, ...] = ()) -> Iterator[str]:
    """What found lacks or has otherwise, a line each, with its JSON path."""
    if path[-1:] and path[-1] in VOLATILE:
        return
    if path[-2:] == CERTIFICATE:
        yield from flaws(found, path)
        return
    if path[-2:-1] == ("effects",):
        golden, found = without_twins(golden), without_twins(found)
    if isinstance(golden, dict) and isinstance(found, dict):
        for key, value in golden.items():
            if key in found:
                yield from differences(value, found[key], (*path, key))
            else:
                yield f"{told((*path, key))} is missing"
    elif isinstance(golden, list) and isinstance(found, list):
        if len(golden) != len(found):
            yield f"{told(path)} has {len(found)} entries, not {len(golden)}"
            return
        for n, (one, other) in enumerate(zip(golden, found, strict=True)):
            yield from differences(one, other, (*path, n))
    elif is_number(golden) and is_number(found):
        if not isclose(golden, found, rel_tol=RELATIVE, abs_tol=ABSOLUTE):
            yield f"{told(path)} is {found!r}, not {golden!r}"
    elif isinstance(golden, str) and isinstance(found, str):
        if golden != found and not is_prose(golden, path):
            yield f"{told(path)} is {found!r}, not {golden!r}"
    elif type(golden) is not type(found) or golden != found:
        yield f"{told(path)} is {found!r:.80}, not {golden!r:.80}"


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """A golden file's name to what the commands answer now; one study that gives two files is worked through once."""
    kept: dict[str, Any] = {}

    def answer(name: str) -> Any:
        if name not in kept:
            kept.update(made(MAKERS[name], tmp_path_factory.mktemp("golden")))
        return kept[name]

    return answer


def test_every_golden_file_has_a_maker():
    assert {path.name for path in Path(GOLDEN).glob("*.json")} == set(MAKERS)


@pytest.mark.parametrize("name", MAKERS)
def test_an_answer_keeps_its_numbers_names_and_choices(name, answered):
    golden = json.loads((GOLDEN / name).read_text(encoding="utf-8"))
    lines = list(differences(golden, answered(name)))
    more = f"\n... and {len(lines) - 20} more" if len(lines) > 20 else ""
    assert not lines, f"{name}: {len(lines)} differences\n" + "\n".join(lines[:20]) + more


OLD = {"search": {"certificate": {"residual": 0.0, "gap": 3e-5, "scope": "global", "why": "branch and bound"}}}


@pytest.mark.parametrize(
    ("golden", "found", "says"),
    [
        ({"a": 1.0}, {"a": 1.0 + 1e-8, "b": 2}, None),
        ({"a": 0.0}, {"a": 1e-10}, None),
        ({"a": [{"b": 1.0}]}, {"a": [{"b": 1.00001}]}, "$.a[0].b is 1.00001, not 1.0"),
        ({"a": {"b": None}}, {"a": {}}, "$.a.b is missing"),
        ({"a": [1, 2]}, {"a": [1]}, "$.a has 1 entries, not 2"),
        ({"a": True}, {"a": 1}, "$.a is 1, not True"),
        ({"a": None}, {"a": 0}, "$.a is 0, not None"),
        ({"predictor": "one"}, {"predictor": "other"}, "$.predictor is 'other', not 'one'"),
        ({"law": "two words"}, {"law": "other words"}, "$.law is 'other words', not 'two words'"),
        ({"why": "so it was"}, {"why": "otherwise"}, None),
        ({"over": "natural"}, {"over": "uniform"}, "$.over is 'uniform', not 'natural'"),
        ({"warnings": ["It is far."]}, {"warnings": ["It is too far."]}, None),
        ({"warnings": ["It is far."]}, {"warnings": []}, "$.warnings has 0 entries, not 1"),
        ({"why": "so it was"}, {"why": 3}, "$.why is 3, not 'so it was'"),
        ({"stamp": "a", "versions": {"numpy": "2"}}, {"stamp": "b", "versions": {"numpy": "3"}}, None),
        (OLD, {"search": {"certificate": {"residual": None, "gap": None, "scope": None, "why": "none"}}}, None),
        (OLD, {"search": {"certificate": {"residual": 0.0, "gap": 0.0, "scope": "local", "why": "none"}}}, None),
        (OLD, OLD, "$.search.certificate.scope is 'global', not local or null"),
        (
            OLD,
            {"search": {"certificate": {"residual": 0.0, "gap": -1e-9, "scope": None, "why": ""}}},
            "$.search.certificate.gap is -1e-09, not null, 0 or more",
        ),
        (
            OLD,
            {"search": {"certificate": {"gap": None}}},
            "$.search.certificate is {'gap': None}, not residual, gap, scope and why",
        ),
        (
            {"effects": {"a": {"weight": [0, 0.3], "loss": [2, 1]}}},
            {"effects": {"a": {"weight": [0, 0.3, 0.3 + 1e-15], "loss": [2, 1, 1]}}},
            None,
        ),
        (OLD, {"search": {}}, "$.search.certificate is missing"),
    ],
)
def test_a_difference_is_told_with_its_path(golden, found, says):
    assert list(differences(golden, found)) == ([] if says is None else [says])
