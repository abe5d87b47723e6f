"""One contract for every kind of study."""

import json

import pytest

from mixopt.errors import MixoptError
from mixopt.study.examples import folder, names
from mixopt.study.kind import DEFAULT, KINDS, StudyKind, kind_named
from mixopt.study.loading import load_study

every_kind = pytest.mark.parametrize("kind", [kind_named(name) for name in KINDS], ids=KINDS)


@every_kind
def test_a_kind_has_every_stage_and_its_own_name(kind):
    assert isinstance(kind, StudyKind) and kind_named(kind.name).name == kind.name
    assert kind.record.model_fields["kind"].default in (kind.name, None) or kind.name != DEFAULT
    assert kind.__class__.__doc__


@every_kind
def test_a_kind_has_an_example_that_has_no_problems(kind):
    studies = [load_study(folder() / f"{name}.yaml") for name in names()]
    own = [study for study in studies if study.kind == kind.name]
    assert own and all(isinstance(study, kind.record) and kind.problems(study) == [] for study in own)


@every_kind
def test_the_schema_of_a_kind_is_json_and_describes_its_keys(kind):
    schema = json.loads(json.dumps(kind.record.model_json_schema()))
    assert set(schema["properties"]) == set(kind.record.model_fields) >= {"name", "domains", "seed"}


@every_kind
def test_what_a_kind_cannot_do_is_refused_in_a_sentence(kind, tmp_path):
    class Nothing:
        path = tmp_path / "study.yaml"

    for stage in ("export", "verify"):
        if getattr(type(kind), stage) is getattr(StudyKind, stage):
            with pytest.raises(MixoptError, match=f"kind {kind.name} recommends no"):
                getattr(kind, stage)(Nothing())


def test_an_unknown_kind_is_refused_with_the_nearest_name():
    with pytest.raises(MixoptError, match="did you mean 'mixture'"):
        kind_named("mixtures")
    with pytest.raises(MixoptError, match="choose from mixture, repetition, continual"):
        kind_named(3)
