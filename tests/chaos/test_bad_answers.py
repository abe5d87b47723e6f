"""What studies of continued pretraining and of repetition store, damaged, edited and of other studies: refused by name."""

import json
from contextlib import chdir

import pytest

from mixopt.continual.results import Check, Verification, VerifiedRun
from mixopt.serialization import write_json
from proxies.files import sealed
from tests.factories.bad_input import assert_refused, at, dotted, paths_of, put, without
from tests.factories.command import Command, contents
from tests.factories.golden import answers, continual_study, repetition_study

pytestmark = pytest.mark.slow

BROKEN = {
    "empty": b"", "list": b"[]", "null": b"null", "object": b"{}", "binary": bytes(range(256)) * 9, "deep": b"[" * 100_000,
    "digits": b'{"a": ' + b"9" * 5000 + b"}", "utf-16": '{"a": 1}'.encode("utf-16"), "two objects": b"{}{}", "cut": None,
}  # fmt: skip
VALUES = {
    "null": None, "text": "strange", "list": [1, "a"], "mapping": {"a": 1}, "true": True, "a mapping of nothing": {}, "no items": [],
}  # fmt: skip
MAKERS = {"continual": continual_study, "repetition": repetition_study}


def verified(folder) -> None:
    """A verification as `mixopt verify` would have left it."""
    answer = json.loads((folder / "study/recommendation.json").read_text())
    check = Check(measured=2.0, sd=0.01, predicted=2.0, low=1.9, high=2.1, inside=True)
    runs = [VerifiedRun(f"r{seed}", seed, 2.0, 2.0, 0.0) for seed in (1000, 1001)]
    found = Verification(runs, 0.5, 0.02, check, check, check, kept=True, of=answer["stamp"])
    write_json(folder / "study/verify.json", found.to_json())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A finished study of each kind, by kind."""
    folders = {}
    for kind, maker in MAKERS.items():
        folders[kind] = tmp_path_factory.mktemp(kind)
        with chdir(folders[kind]):
            maker()
            answers("report", "study.yaml", "--out", "study")
    verified(folders["continual"])
    return folders


def restore(folder, before) -> None:
    """A folder as it was; folders stay."""
    for name, content in (contents(folder) | before).items():
        path = folder / name
        if name not in before:
            path.unlink()
        elif content is not None and (not path.is_file() or path.read_bytes() != content):
            path.write_bytes(content)


@pytest.fixture
def study(request, made, capsys, monkeypatch):
    """A command in the folder of a finished study, which is as before afterwards."""
    folder = made[request.param]
    before = contents(folder)
    yield Command(capsys, monkeypatch, folder)
    restore(folder, before)


def first(folder, pattern):
    return min((folder / "study").glob(pattern))


FILES = {  # kind -> file -> the commands that read it
    "continual": {
        "runs/*.json": ["recommend", "report", "fit"], "recommendation.json": ["report", "verify"], "fits/continual.json": ["report", "verify"],
        "verify.json": ["report"],
    },
    "repetition": {"runs/*.json": ["recommend", "report", "fit"], "recommendation.json": ["report"], "fits/repetition.json": ["report"]},
}  # fmt: skip
CASES = [
    pytest.param(kind, pattern, names[i % len(names)], damage, id=f"{kind}-{pattern}-{names[i % len(names)]}-{damage}")
    for kind, files in FILES.items()
    for pattern, names in files.items()
    for i, damage in enumerate(BROKEN)
    if not (pattern.startswith("fits") and damage == "object")  # as if the fit were of other runs
]


@pytest.mark.parametrize(("study", "pattern", "name", "damage"), CASES, indirect=["study"])
def test_a_damaged_file_is_refused_by_name(pattern, name, damage, study):
    path = first(study.cwd, pattern)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if damage == "cut" else BROKEN[damage])
    assert_refused(study, name, "study.yaml", "--out", "study", names=[path.name])


@pytest.mark.parametrize("damage", BROKEN)
@pytest.mark.parametrize("study", MAKERS, indirect=True)
def test_a_damaged_answer_or_fit_is_made_again_from_the_runs(damage, study):
    if study.cwd.name.startswith("repetition") and damage != "cut":
        pytest.skip("its fit takes its time, and goes the same way")
    kind = "continual" if (study.cwd / "study/fits/continual.json").exists() else "repetition"
    answer = json.loads((study.cwd / "study/recommendation.json").read_text())
    for path in (study.cwd / "study/recommendation.json", study.cwd / f"study/fits/{kind}.json"):
        path.write_bytes(path.read_bytes()[:300] if damage == "cut" else BROKEN[damage])
    study.output("recommend", "study.yaml", "--out", "study")
    assert json.loads((study.cwd / "study/recommendation.json").read_text()) == answer


def numbers_of(data):
    """The key paths of nested data, one of every list's."""
    seen = set()
    for path in paths_of(data):
        place = tuple("*" if isinstance(key, int) else key for key in path)
        if place not in seen and path[0] not in ("checksum", "mixopt"):
            seen.add(place)
            yield path


@pytest.mark.parametrize(
    ("study", "pattern"), [(kind, pattern) for kind, files in FILES.items() for pattern in files], indirect=["study"]
)
def test_a_file_edited_in_one_place_is_refused_by_name(pattern, study):
    """Its checksum doesn't fit any more; runs of older versions have none, but are compared with their plan."""
    path = first(study.cwd, pattern)
    good = path.read_text()
    data = json.loads(good)
    data = data if "checksum" in data else sealed(data)
    for place in list(numbers_of(data))[:40]:
        value = at(data, place)
        changed = (
            without(data, place)
            if isinstance(value, list | dict)
            else put(data, place, f"{value}0" if isinstance(value, str) else (value or 0) + 0.125)
        )
        path.write_text(json.dumps(changed))
        assert_refused(study, "report", "study.yaml", "--out", "study", names=[path.name])


def edits(data, deep):
    """Every key in turn left out or with a wrong value, down to the numbers if deep."""
    for i, place in enumerate(place for place in numbers_of(data) if deep or len(place) == 1):
        if len(place) > 2 and i % 4:
            continue
        name = list(VALUES)[i % len(VALUES)]
        yield f"{dotted(place)}: {name}", put(data, place, VALUES[name])
        if len(place) < 3:
            yield f"without {dotted(place)}", without(data, place)


@pytest.mark.parametrize(
    ("study", "pattern"), [(kind, pattern) for kind, files in FILES.items() for pattern in files], indirect=["study"]
)
def test_every_edit_under_a_fitting_checksum_is_refused_or_shown(pattern, study):
    """Files of older versions have no checksum: any content may stand under one that fits."""
    path, before, bad = first(study.cwd, pattern), contents(study.cwd), []
    for what, data in edits(json.loads(path.read_text()), deep=not pattern.startswith("fits")):  # a report shows no fit
        path.write_text(json.dumps(sealed({key: value for key, value in data.items() if key != "checksum"})))
        try:
            code, _, err = study("report", "study.yaml", "--out", "study")
        except Exception as error:  # noqa: BLE001 - a traceback
            code, err = 1, repr(error)
        if code and not (code == 2 and err.startswith("mixopt: ") and err.count("\n") == 1 and ".json" in err):
            bad.append((what, err[-300:]))
        restore(study.cwd, before)
    assert bad == []


OTHERS = {
    "another kind's answer": lambda own, other: (own / "recommendation.json").write_bytes((other / "recommendation.json").read_bytes()),
    "one run for another": lambda own, other: sorted((own / "runs").glob("*.json"))[0].write_bytes(sorted((own / "runs").glob("*.json"))[1].read_bytes()),
    "another study's run": lambda own, other: first(own.parent, "runs/*.json").write_bytes(first(other.parent, "runs/*.json").read_bytes()),
    "another kind's fit": lambda own, other: first(own.parent, "fits/*.json").write_bytes(first(other.parent, "fits/*.json").read_bytes()),
    "a fit as the answer": lambda own, other: (own / "recommendation.json").write_bytes(first(own.parent, "fits/*.json").read_bytes()),
    "the answer as the fit": lambda own, other: first(own.parent, "fits/*.json").write_bytes((own / "recommendation.json").read_bytes()),
    "the answer as a run": lambda own, other: first(own.parent, "runs/*.json").write_bytes((own / "recommendation.json").read_bytes()),
    "another question's answer": lambda own, other: (own / "recommendation.json").write_text(json.dumps(sealed({
        key: value for key, value in (json.loads((own / "recommendation.json").read_text()) | {"question": "other"}).items() if key != "checksum"}))),
}  # fmt: skip


@pytest.mark.parametrize("what", OTHERS)
@pytest.mark.parametrize("study", MAKERS, indirect=True)
def test_a_file_of_another_study_is_refused(what, study, made):
    other = made["repetition" if study.cwd == made["continual"] else "continual"]
    OTHERS[what](study.cwd / "study", other / "study")
    assert_refused(study, "report", "study.yaml", "--out", "study", names=[".json"])


@pytest.mark.parametrize("study", ["continual"], indirect=True)
def test_a_verification_of_another_answer_is_not_shown(study):
    path, page = study.cwd / "study/verify.json", study.cwd / "study/report.html"
    good = json.loads(path.read_text())
    for of, shown in (("another", False), (good["of"], True)):
        write_json(path, {key: value for key, value in good.items() if key != "checksum"} | {"of": of})
        study.output("report", "study.yaml", "--out", "study")
        assert ("Measured check" in page.read_text()) is shown
