"""Study files of all kinds with something wrong at every key: one sentence that names file and key, and nothing else."""

import io
import json
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from tests.factories.bad_input import WRONG, assert_refused, at, dotted, paths_of, put, without
from tests.factories.command import Command

pytestmark = pytest.mark.slow

MIXTURE = """\
name: small
kind: mixture
seed: 1
domains:
  web: {path: web.jsonl, text: text, unit: paragraph, pool: 1M, split: train}
  law: {path: law.jsonl}
held_out:
  qa: {path: qa.txt, unit: line}
target: {law: 0.5, qa: 0.5}
full: {params: 10M, tokens: 1M}
tokenizer: {vocab: 280}
prepare: {val_fraction: 0.2, max_bytes: 1M, on_bad: refuse}
proxy: {layers: 1, width: 16, heads: 1, context: 16, batch: 8, learning_rate: 0.008, warmup: 0.05, decay: 0.5,
  validation_tokens: 400, device: cpu, workers: 1, stack: 4, tokens: 10K, weight_decay: 0.1}
design: {mixtures: 8, repeats: 1, repetition_matched: true, repetition_runs: 0, shorter_runs: 0}
predictors: [regmix-linear]
search: {sampler: cma-es, trials: 40, storage: "sqlite:///x.db", max_epochs: 4, min_weight: 0.1, max_weight: {web: 0.8},
  fixed: {}}
verify: {seeds: 2, params_scale: 4, tokens_scale: 2}
"""
IMPORTED = """\
name: mine
kind: mixture
domains: {a: {pool: 1B}}
target: x
full: {params: 10M, tokens: 1M}
runs: {path: runs.csv, on: run, weights: w_, losses: loss_, where: ["seed=0"], last_step: false, params: 1M, tokens: 1M,
  seed: seed, renormalise: false}
"""
REPETITION = """\
name: repeated
kind: repetition
domains:
  a: {path: web.jsonl}
  b: {path: law.jsonl}
weights: {a: 0.5, b: 0.5}
target: {a: 1.0}
full: {unique: 1M, compute: 1e12}
tokenizer: {vocab: 257}
proxy: {layers: 1, width: 16, heads: 2, context: 16, batch: 4, device: cpu}
design: {sizes: [1, 4], unique: [640, 2560], epochs: [1, 2, 4, 8], max_tokens: 20K, weight_decay: [0.1], repeats: 2}
"""
CONTINUAL = """\
name: continued
kind: continual
domains:
  a: {path: web.jsonl}
  b: {path: law.jsonl}
  c: {path: qa.txt}
new: a
general: {b: 0.75, c: 0.25}
domain_loss: a
general_loss: {b: 0.5, c: 0.5}
base: {sizes: [1, 4], tokens: 3K, weight_decay: 0.1, store: bases}
continuing: {learning_rate: 0.002, warmup: 0.05, decay: 0.3, weight_decay: 0.1}
design: {shares: [0, 0.25, 0.5, 0.75, 1], tokens: [640, 1280], repeats: 1, looks: 2}
full: {tokens: 1280, params: 3K, domain_tokens: 1M, tolerance: 0.02}
proxy: {layers: 1, width: 16, heads: 2, context: 16, batch: 4, validation_tokens: 320, device: cpu}
"""
STUDIES = {
    name: YAML(typ="safe").load(text)
    for name, text in {
        "mixture": MIXTURE,
        "imported": IMPORTED,
        "repetition": REPETITION,
        "continual": CONTINUAL,
    }.items()
}
STAGE = {"imported": "run"}  # the others stop before `design` asks for tokens
# What is a sound value there after all.
NAMES = {"name", "text", "split", "store"}
SOUND = {("text", key) for key in NAMES} | {("huge", "max_epochs")}
SOUND |= {("true", key) for key in ("repetition_matched", "last_step", "renormalise")}
NEEDED = {
    "mixture": [
        "name",
        "target",
        "full",
        "full.params",
        "full.tokens",
        "domains.law.path",
        "held_out.qa.path",
        "domains",
    ],
    "imported": ["name", "target", "runs.path", "full.tokens"],
    "repetition": ["name", "domains", "full", "full.unique", "full.compute", "design.unique", "weights.b"],
    "continual": ["name", "new", "domains", "domains.a", "general.b"],
}


@pytest.fixture
def study(capsys, monkeypatch, tmp_path):
    """A command in a folder with the files that the studies name; text: study.yaml."""
    for name in ("web", "law"):
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": f"a little text of {name}"}))
    (tmp_path / "qa.txt").write_text("a line\n")
    rows = [f"r{i},0,{i / 10},{1 - i / 10},{3 + i / 100}" for i in range(10)]
    (tmp_path / "runs.csv").write_text("\n".join(["run,seed,w_a,w_b,loss_x", *rows]))
    return Command(capsys, monkeypatch, tmp_path)


def refused(study, data, *, names, kind="mixture"):
    text = data
    if not isinstance(data, str | bytes):
        out, yaml = io.StringIO(), YAML(typ="safe")
        yaml.dump(data, out)
        text = out.getvalue()
    (study.cwd / "study.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    sentence = assert_refused(study, STAGE.get(kind, "design"), "study.yaml", names=names)
    assert "mixopt prepare" not in sentence  # it was read and found sound
    return sentence


def every_key():
    """Five wrong values for every key of every study, each value as often as the others."""
    turn = 0
    for kind, data in STUDIES.items():
        for path in paths_of(data):
            key = next(key for key in reversed(path) if isinstance(key, str))
            wrong = [name for name in WRONG if (name, key) not in SOUND]
            for i in range(3):
                name = wrong[(turn + 4 * i) % len(wrong)]
                yield pytest.param(kind, path, WRONG[name], id=f"{kind}-{dotted(path)}-{name}")
            turn += 1


@pytest.mark.parametrize(("kind", "path", "value"), list(every_key()))
def test_a_wrong_value_is_refused_at_its_key(kind, path, value, study):
    names = [key for key in path[:1] if key != "search"]  # of what is there no more, the part is named
    sentence = refused(study, put(STUDIES[kind], path, value), names=names, kind=kind)
    assert "study.yaml" in sentence or "runs.csv" in sentence or "`where:`" in sentence


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in NEEDED.items() for path in paths])
def test_a_key_that_is_needed_is_asked_for(kind, path, study):
    path = tuple(path.split("."))
    refused(study, without(STUDIES[kind], path), names=["study.yaml", path[0]], kind=kind)


def parts():
    for kind, data in STUDIES.items():
        for path in [(), *paths_of(data)]:
            if isinstance(at(data, path), dict) and dotted(path) not in ("domains", "held_out", "target", "fixed"):
                yield pytest.param(kind, path, id=f"{kind}-{dotted(path)}")


@pytest.mark.parametrize(("kind", "path"), list(parts()))
def test_an_unknown_key_is_refused_wherever_it_stands(kind, path, study):
    refused(study, put(STUDIES[kind], (*path, "strange"), 0.1), names=["study.yaml", "strange"], kind=kind)


@pytest.mark.parametrize("line", MIXTURE.splitlines()[:12])
def test_a_key_that_stands_there_twice_is_refused(line, study):
    if ":" in line and line.split(":")[0].strip() not in ("web", "law", "qa"):
        refused(study, MIXTURE + line.split(":")[0].strip() + ": twice\n", names=["study.yaml"])


BROKEN = {
    "empty": "",
    "spaces": "  \n\n",
    "a comment": "# nothing\n",
    "a list": "- a\n- b\n",
    "a word": "study",
    "a number": "3",
    "null": "null",
    "unclosed": "name: {a",
    "a tab": "name:\n\t- a",
    "two documents": "name: a\n---\nname: b\n",
    "deep lists": "name: " + "[" * 5000,
    "deep and closed": "name: " + "[" * 3000 + "]" * 3000,
    "deep mappings": "name: " + "{a: " * 3000 + "1" + "}" * 3000,
    "an alias in itself": "name: &a [*a]\n",
    "aliases that multiply": "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p},*{p}]\n" for p, c in zip("abcdefghi", "bcdefghij", strict=True)),
    "an unknown alias": "name: *a\n",
    "a tag": "name: !!python/object/apply:os.system [echo]\n",
    "a date that isn't one": "name: 2026-13-45\n",
    "digits without end": "seed: " + "9" * 5000 + "\n",
    "a NUL byte": "name: a\0b\n",
    "a control character": "name: a\x07b\n",
    "latin-1": "name: caf\xe9\n".encode("latin-1"),
    "utf-16": MIXTURE.encode("utf-16"),
    "binary": bytes(range(256)) * 20,
    "json lines": '{"name": "a"}\n{"name": "b"}\n',
    "no mapping of domains": MIXTURE.replace("target: {law", "domains: [web]\ntarget: {law"),
    "a key that is a list": MIXTURE + "? [a, b]\n: 1\n",
    "a key that is a number": MIXTURE + "3: 1\n",
    "a key without a value": MIXTURE + "searches:\n",
    "merge of nothing": MIXTURE + "<<: *nothing\n",
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_no_yaml_mapping_is_refused(name, study):
    refused(study, BROKEN[name], names=["study.yaml"])


CONTRADICTIONS = {
    "mixture": [
        ("target", {"law": 0.5, "qa": 0.4}), ("target", {"law": 0.0}), ("target", "nowhere"), ("domains.qa", {"path": "web.jsonl"}),
        ("domains.law", {"path": "law.jsonl", "hub": "a/b"}), ("domains.law.path", "nowhere.jsonl"),
        ("domains.law.path", "~nouser/x.jsonl"), ("domains.law.path", "*.nothing"), ("domains.law.path", "n" * 300),
        ("proxy.width", 17), ("proxy.heads", 3), ("proxy.device", "tpu"), ("proxy.device", "cuda:x"), ("proxy.device", "mps"),
        ("proxy.layers", 10**9), ("proxy.workers", 10**9), ("design.mixtures", 3), ("design.mixtures", 10**9), ("search.trials", 10**12),
        ("search.max_weight", 0.2), ("search.min_weight", 0.9), ("search.fixed", {"web": 0.7, "law": 0.7}), ("search.fixed", {"nowhere": 0.1}),
        ("search.min_weight", {"web": 0.9}), ("search.storage", "search.db"), ("prepare.val_fraction", 0), ("prepare.val_fraction", 1),
        ("tokenizer.vocab", 256), ("tokenizer.end_token", "</s>"), ("tokenizer", {"path": "a", "hub": "b"}), ("tokenizer", {"path": "nowhere.json"}),
        ("seed", 2**32), ("seed", 10**30), ("full.params", 0.5), ("full.tokens", 1e21), ("full.params", "10 parameters"), ("full.tokens", "1,00"),
        ("full.params", "7Q"), ("full.params", "-7B"), ("full.params", "7.B"), ("full.params", 10**400), ("predictors", ["regmix"]), ("predictors", []),
        ("name", "a/b"), ("name", "../a"), ("name", ".."), ("name", ".hidden"), ("name", "n" * 201), ("domains", {"a/b": {"path": "web.jsonl"}}),
        ("domains.target", {"path": "web.jsonl"}), ("kind", "mixtures"),
    ],
    "imported": [
        ("runs.path", "nowhere.csv"), ("runs.path", "."), ("runs.metrics", "runs.csv"), ("runs.on", "nowhere"), ("runs.weights", "v_"),
        ("runs.weights", ["w_a"]), ("runs.weights", {"a": "w_a", "b": "w_a"}), ("runs.losses", ["loss_x", "loss_x"]), ("runs.where", "seed=7"),
        ("runs.where", "seed"), ("runs.last_step", True), ("runs.params", "nowhere"), ("runs.weights", {"a": "w_a", "b": "nowhere"}),
        ("domains.a", {"path": "web.jsonl"}), ("domains.nowhere", {"pool": "1B"}), ("held_out", {"qa": {"path": "qa.txt"}}),
        ("search", {"max_weight": 0.3}), ("search", {"fixed": {"nowhere": 0.2}}), ("target", {"x": 0.5, "y": 0.5}),
    ],
    "repetition": [
        ("weights", {"a": 1.0}), ("weights", {"a": 0.5, "b": 0.6}), ("weights.nowhere", 0.1), ("full.params", "1M"), ("full", {"unique": "1M"}),
        ("design.tokens", [640]), ("design.unique", [640, 640]), ("design.unique", [10]), ("design.max_tokens", 10), ("design.epochs", [0.5]),
        ("design.sizes", [1, 1]), ("design.sizes", [1, 1.01]), ("design.epochs", []), ("design.weight_decay", [5000]),
    ],
    "continual": [
        ("new", "nowhere"), ("general", {"a": 1.0}), ("general", {"b": 0.5, "c": 0.4}), ("general_loss", "nowhere"), ("domain_loss", {"a": 0.5}),
        ("full.compute", 1e15), ("base.checkpoint", "nowhere.npz"), ("design.shares", [0, 1]), ("design.shares", [0, 0, 1]), ("design.tokens", [10]),
        ("design.shares", [0, 50, 100]), ("base.tokens", 10), ("full.tolerance", 3),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        pytest.param(kind, tuple(path.split(".")), value, id=f"{kind}-{path}-{str(value)[:40]}")
        for kind, pairs in CONTRADICTIONS.items()
        for path, value in pairs
    ],
)
def test_what_contradicts_the_rest_is_refused(kind, path, value, study):
    refused(study, put(STUDIES[kind], path, value), names=[], kind=kind)


plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=6), st.lists(st.integers(), max_size=3),
    st.dictionaries(st.text(max_size=4), st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_value_at_any_key_is_read_or_refused_in_one_sentence(study, data):
    kind = data.draw(st.sampled_from([kind for kind in STUDIES if kind != "imported"]))
    path = data.draw(st.sampled_from(list(paths_of(STUDIES[kind]))))
    changed = put(STUDIES[kind], path, data.draw(plain))
    (study.cwd / "study.yaml").write_text(json.dumps(changed))
    assert_refused(study, "design", "study.yaml")


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(alphabet=" \n\t:-[]{}&*!|>'\"%@`#,?ab1.~\0é", max_size=60))
def test_any_text_is_read_or_refused_in_one_sentence(study, text):
    (study.cwd / "study.yaml").write_text(text, encoding="utf-8")
    assert_refused(study, "design", "study.yaml")


def test_the_battery_is_large():
    assert len(list(islice(every_key(), 1000))) > 300
