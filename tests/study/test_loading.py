import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.errors import MixoptError
from mixopt.formatting import parse_count
from mixopt.mixture.config import Study
from mixopt.study import examples
from mixopt.study.loading import load_study

GOOD = """\
name: small
domains:
  a: {path: a.jsonl, pool: 2B}
  b: {path: b.jsonl}
held_out:
  c: {path: b.jsonl}
target: {a: 0.5, c: 0.5}
full: {params: 1e9, tokens: 20B}
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}")
    (tmp_path / "b.jsonl").write_text("{}")
    (tmp_path / "runs.csv").write_text("w_a,w_b,loss_x\n")

    def to_file(text: str) -> Path:
        (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
        return tmp_path / "study.yaml"

    return to_file


def test_a_good_file_loads(write):
    study = load_study(write(GOOD))
    assert study.domains["a"].pool == 2e9
    assert study.target_weights == {"a": 0.5, "c": 0.5}
    assert study.full is not None and study.full.tokens == 20e9


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("pool: 2B", "poool: 2B", r"study.yaml:3: domains.a.poool: unknown key; did you mean 'pool'\?"),
        ("pool: 2B", "pool: many", r":3: domains.a.pool: 'many' is not a count: write a number such as 1e9"),
        ("pool: 2B", "pool: -1", r":3: domains.a.pool: .*greater than 0"),
        ("pool: 2B", "pool: true", r":3: domains.a.pool: .*got True"),
        ("pool: 2B", "pool: .nan", r":3: domains.a.pool"),
        ("a: 0.5, c: 0.5", "a: 0.5, c: 0.4", r":7: target: its weights sum to 0.9, not 1: divide each by 0.9"),
        ("c: 0.5}", "d: 0.5}", r":7: target.d: 'd' is none of the texts a, b, c"),
        ("path: a.jsonl", "path: no.jsonl", r":3: domains.a.path: no.jsonl doesn't exist .*relative to the study file"),
        ("path: a.jsonl", "path: a.jsonl, hub: x", r":3: domains.a: has path and hub: keep one"),
        ("path: a.jsonl, ", "", r":3: domains.a: has no text: give path, hub or builtin"),
        ("full:", "ful:", r": full: is missing|:8: ful: unknown key; did you mean 'full'\?"),
        ("full: {params: 1e9, tokens: 20B}", "", r": full: is missing: state params and tokens"),
        ("full: {params: 1e9, ", "full: {", r"study.yaml:8: full.params: is missing"),
        ("held_out:\n  c", "held_out:\n  a", r":6: held_out.a: is a domain too"),
        ("name: small", "name: a/b", r":1: name: 'a/b' can't name"),
        ("name: small", "name: small\nname: again", r"study.yaml:\d: not valid YAML"),
        ("name: small", "name: [small", r"study.yaml:\d: not valid YAML"),
        ("name: small", "name: small\ndesign: {mixtures: 3}", r":2: design.mixtures: .*4"),
        ("name: small", "name: small\nproxy: {width: 50, heads: 4}", r":2: proxy: width 50 must be a multiple"),
        ("name: small", "name: small\nsearch: {storage: db}", r":2: search.storage: .*is no database URL: write one such as"),
        ("name: small", "name: small\nsearch: {max_epochs: {z: 3}}", r":2: search.max_epochs.z: no domain has this name"),
        ("name: small", "name: small\npredictors: [magic]", r":2: predictors"),
        ("name: small", "name: small\nseed: one", r":2: seed"),
        ("path: a.jsonl", "path: ~nobody-here/a.jsonl", r":3: domains.a.path: .*home"),
        ("path: a.jsonl", f"path: {300 * 'a'}.jsonl", r":3: domains.a.path: .*File name too long"),
        ("name: small", "name: small\nsearch: {max_weight: 0.2}", r":2: search: the largest weights .* sum to 0.4, below 1"),
        ("name: small", "name: small\nsearch: {min_weight: 0.6}", r":2: search: the smallest weights .* sum to 1.2"),
        ("name: small", "name: small\nsearch: {fixed: {a: 0.3, b: 0.3}}", r":2: search: .*largest weights .* sum to 0.6"),
        ("b: {path: b.jsonl}", "b: {path: b.jsonl, pool: 1B}\nsearch: {max_epochs: 4}", r":5: search: .* sum to 0.6, .*raise max_epochs"),
        ("name: small", "name: small\ntokenizer: {end_token: x}", r":2: tokenizer: has end_token, .* give path or hub"),
        ("held_out:\n  c", "held_out:\n  target", r":6: held_out.*'target' can't name a domain"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_reported_in_one_line_with_its_place(write, old, new, says):
    assert old in GOOD
    with pytest.raises(MixoptError) as error:
        load_study(write(GOOD.replace(old, new, 1)))
    message = str(error.value)
    assert re.search(says, message), message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["", "just words", "- a\n- b\n", "42"])
def test_a_file_that_is_no_mapping_is_refused(write, text):
    with pytest.raises(MixoptError, match="a study file is a mapping"):
        load_study(write(text))


@pytest.mark.parametrize("text", ["domains: &a {x: *a}", "name: " + 2000 * "[" + 2000 * "]"], ids=["alias", "deep"])
def test_a_file_without_a_bottom_is_refused(write, text):
    with pytest.raises(MixoptError, match=r"study\.yaml: nested too deeply, or an alias \(\*\) contains itself"):
        load_study(write(text))


def test_a_study_file_below_a_file_is_refused_as_one(write):
    with pytest.raises(MixoptError, match=r"can't be read as a study file \(.*Not a directory"):
        load_study(write(GOOD) / "study.yaml")


def test_an_absent_file_points_to_init(tmp_path):
    with pytest.raises(MixoptError, match="mixopt init"):
        load_study(tmp_path / "none.yaml")


def test_yaml_1_2_reads_numbers_and_words_as_they_are_meant(write):
    study = load_study(
        write(
            "name: no\ndomains: {on: {path: a.jsonl, pool: 1e6}, off: {path: b.jsonl}}\ntarget: on\n"
            "proxy: {learning_rate: 1e-3}\nfull: {params: 1_000, tokens: 1.5e9}\n"
        )
    )
    assert study.name == "no" and list(study.domains) == ["on", "off"]
    assert study.proxy.learning_rate == 1e-3


def test_a_study_on_runs_needs_no_text(write):
    study = load_study(write("name: mine\nruns: runs.csv\ntarget: x\ndomains: {a: {pool: 1B}}\n"))
    assert study.runs_file is not None and study.runs_file.path == "runs.csv"
    with pytest.raises(MixoptError, match="state only pool here"):
        load_study(write("name: mine\nruns: runs.csv\ntarget: x\ndomains: {a: {path: a.jsonl}}\n"))


def test_records_are_frozen(write):
    study = load_study(write(GOOD))
    with pytest.raises(ValueError, match="frozen"):
        study.name = "other"  # type: ignore[misc]


@given(st.integers(1, 999), st.sampled_from(["K", "M", "B", "T", "k", "m", "b", "t"]))
def test_suffixes_multiply(number, suffix):
    scale = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}[suffix.upper()]
    assert parse_count(f"{number}{suffix}") == number * scale


@given(st.text(max_size=8).filter(lambda s: not re.fullmatch(r"\s*[\d_.]+\s*[KMBTkmbt]\s*", s)))
def test_other_text_is_no_count(text):
    with pytest.raises(ValueError, match="is not a count"):
        parse_count(text)


@pytest.mark.parametrize("name", examples.names())
def test_every_example_is_a_valid_study(name, tmp_path):
    files = examples.copy(name, tmp_path)
    study = next(path for path in files if path.suffix == ".yaml")
    assert load_study(study).name
    with pytest.raises(MixoptError, match="is there already"):
        examples.copy(name, tmp_path)


def test_an_unknown_example_lists_those_that_are_there(tmp_path):
    with pytest.raises(MixoptError, match="quickstart"):
        examples.copy("nothing", tmp_path)


def test_the_schema_is_json_and_names_every_key():
    schema = json.loads(json.dumps(Study.model_json_schema()))
    assert set(schema["properties"]) == set(Study.model_fields)
