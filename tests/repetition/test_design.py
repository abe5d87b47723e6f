"""Configuration and experimental design of a repetition study."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.errors import MixoptError
from mixopt.repetition.config import RepetitionStudy
from mixopt.repetition.design import REPEAT, ladder_runs, make_ladder
from mixopt.study.loading import load_study

GOOD = """\
name: small
kind: repetition
domains:
  a: {path: a.jsonl}
full: {unique: 1M, compute: 1e12}
proxy: {layers: 1, width: 16, heads: 2, context: 16, batch: 4}
design:
  sizes: [1, 4]
  unique: [640, 2560]
  epochs: [1, 2, 4]
  weight_decay: [0.1, 1.0]
  repeats: 1
"""


@pytest.fixture
def write(tmp_path):
    (tmp_path / "a.jsonl").write_text("{}")
    (tmp_path / "b.jsonl").write_text("{}")

    def to_file(text: str) -> Path:
        (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
        return tmp_path / "study.yaml"

    return to_file


def study_with(**design) -> RepetitionStudy:
    """A study whose ladder is this."""
    return RepetitionStudy.model_validate(
        {
            "name": "s",
            "kind": "repetition",
            "domains": {"a": {"builtin": "code"}},
            "full": {"unique": 1e6, "compute": 1e12},
            "proxy": {"layers": 1, "width": 16, "heads": 2, "context": 16, "batch": 4},
            "design": {"sizes": [1], "unique": [640], "epochs": [1, 2], "weight_decay": [0.1], "repeats": 0} | design,
        }
    )


def test_a_good_file_loads_as_the_record_of_its_kind(write):
    study = load_study(write(GOOD))
    assert isinstance(study, RepetitionStudy) and not study.brings_runs
    assert study.design.levels == ("unique", [640, 2560])
    assert study.target_weights == {"a": 1.0}
    assert study.full.compute == 1e12


def test_a_file_without_a_kind_is_a_study_of_mixtures(write):
    from mixopt.mixture.config import Study

    study = load_study(
        write("name: m\ndomains: {a: {path: a.jsonl}, b: {path: b.jsonl}}\ntarget: a\nfull: {params: 1, tokens: 1}\n")
    )
    assert isinstance(study, Study) and study.kind == "mixture"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("kind: repetition", "kind: repetitions", r":2: kind: no kind .* 'repetitions': did you mean 'repetition'"),
        ("kind: repetition", "kind: 3", r":2: kind: no kind of study is called 3: choose from mixture, repetition"),
        ("kind: repetition", "kind: mixture", r"study.yaml: target: is missing; `mixopt schema` lists"),
        (", compute: 1e12", "", r":5: full: give one of compute, params and tokens: the others follow"),
        ("compute: 1e12", "compute: 1e12, params: 1M", r":5: full: has compute and params: keep one"),
        ("unique: 1M, ", "", r":5: full.unique: is missing; `mixopt schema --kind repetition`"),
        ("unique: 1M", "unique: -3", r":5: full.unique: .*greater than 0"),
        ("  unique: [640, 2560]\n", "", r":7: design: give one of unique, tokens and flops"),
        ("unique: [640, 2560]", "unique: [640]\n  tokens: [9000]", r":7: design: has unique and tokens: keep one"),
        ("epochs: [1, 2, 4]", "epochs: [1]", r":10: design.epochs: .*at least 2"),
        ("epochs: [1, 2, 4]", "epochs: [0.5, 2]", r":10: design.epochs.0: .*greater than or equal to 1"),
        ("epochs: [1, 2, 4]", "epochs: [1, 2, 2]", r":10: design.epochs: 2 stands there twice"),
        ("epochs: [1, 2, 4]", "epochs: 4", r":10: design.epochs: .*list"),
        ("epochs", "epoch", r":10: design.epoch: unknown key; did you mean 'epochs'\?"),
        ("sizes: [1, 4]", "sizes: [1, 1.2]", r":8: design.sizes: 1.2 and another size both come to a width of 16"),
        ("unique: [640, 2560]", "unique: [20, 640]", r":9: design.unique: 20 unique tokens are less than one step"),
        ("unique: [640, 2560]", "tokens: [128]", r":9: design.tokens: 32 unique tokens are less than one step of 64"),
        ("repeats: 1", "repeats: 1\n  max_tokens: 100", r":13: design.max_tokens: leaves no run: .*640 tokens"),
        ("[0.1, 1.0]", "[-1]", r":11: design.weight_decay.0: .*greater than or equal to 0"),
        ("layers: 1", "tokens: 5, layers: 1", r":6: proxy.tokens: unknown key"),
        ("design:", "target: b\ndesign:", r":7: target: 'b' is none of the texts a"),
        ("design:", "weights: {b: 1}\ndesign:", r":7: weights.b: no domain has this name; there are a"),
        ("design:", "weights: {a: 0.5}\ndesign:", r":7: weights: its weights sum to 0.5"),
        ("design:", "search: {trials: 5}\ndesign:", r":7: search: unknown key"),
        ("domains:\n  a: {path: a.jsonl}\n", "", r"domains: is missing: name the text to repeat"),
        ("path: a.jsonl", "path: no.jsonl", r":4: domains.a.path: no.jsonl doesn't exist"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line_with_its_place(write, old, new, says):
    assert old in GOOD
    with pytest.raises(MixoptError) as error:
        load_study(write(GOOD.replace(old, new, 1)))
    message = str(error.value)
    assert re.search(says, message), message
    assert "\n" not in message


# The ladder


ladders = st.fixed_dictionaries(
    {
        "sizes": st.sampled_from([[1.0], [1.0, 4.0], [0.25, 1.0, 9.0]]),
        "epochs": st.lists(st.sampled_from([1.0, 1.5, 2.0, 3.0, 4.0, 8.0]), min_size=2, max_size=4, unique=True),
        "weight_decay": st.sampled_from([[0.1], [0.0, 0.1, 1.0]]),
        "repeats": st.integers(0, 2),
    }
)
LEVELS = st.lists(st.integers(8, 60), min_size=1, max_size=3, unique=True)


@settings(max_examples=30)
@given(ladders, LEVELS)
def test_every_cell_passes_over_its_text_as_often_as_asked(design, steps):
    study = study_with(**design, unique=[64 * n for n in steps])
    runs = ladder_runs(study, vocab=300)
    ordinary = [run for run in runs if run.role != REPEAT]
    assert len(ordinary) == len(design["sizes"]) * len(steps) * len(design["epochs"]) * len(design["weight_decay"])
    for run in ordinary:
        # Half a step of 64 tokens of the fewest unique ones, 512.
        assert min(abs(run.epochs - e) for e in design["epochs"]) <= 32 / 512
        assert run.tokens % 64 == run.unique % 64 == 0


@settings(max_examples=30)
@given(ladders, LEVELS)
def test_matched_tokens_are_the_same_in_every_cell(design, steps):
    levels = [64 * 8 * n for n in steps]
    runs = ladder_runs(study_with(**design, unique=None, tokens=levels), vocab=300)
    assert {run.tokens for run in runs} == set(levels)
    for run in runs:
        # Unique tokens come in sequences of 16, of which the fewest have 64.
        assert run.unique == pytest.approx(run.tokens / min(design["epochs"], key=lambda e: abs(run.epochs - e)), abs=8)


def test_matched_compute_takes_as_many_flops_of_every_size():
    from mixopt.study.jobs import scaled

    study = study_with(unique=None, flops=[3e9], sizes=[1.0, 4.0, 16.0], epochs=[1.0, 8.0])
    spent = []
    for run in ladder_runs(study, vocab=300):
        recipe = scaled(study.proxy, vocab=300, params_scale=run.size, tokens=run.tokens, weight_decay=0.1)
        spent.append(recipe.shape.flops_per_token * recipe.tokens_seen)
    assert spent == pytest.approx([3e9] * len(spent), rel=0.02)  # whole steps of 64 tokens


def test_max_tokens_leaves_out_the_longest_cells_alone():
    runs = ladder_runs(study_with(unique=[640, 2560], epochs=[1, 4, 16], max_tokens=10_240), vocab=300)
    assert {(run.unique, run.epochs) for run in runs} == {(640, 1), (640, 4), (640, 16), (2560, 1), (2560, 4)}


@dataclass(frozen=True)
class Meta:
    train_tokens: int
    vocab_size: int = 300
    content: str = "hash"

    @property
    def tokens(self) -> int:
        return self.train_tokens


@dataclass(frozen=True)
class Shard:
    meta: Meta


def plan_of(study, tokens=100_000):
    names = list(study.domains)
    return make_ladder(study, {name: Shard(Meta(tokens)) for name in names}, Path("study.yaml"))


def test_unique_tokens_are_nested_and_only_repeats_read_elsewhere():
    plan = plan_of(study_with(unique=[640, 2560], repeats=2))
    for run, job in zip(plan.runs, plan.jobs, strict=True):
        assert job.pools == {"a": run.unique + 1}
        if run.role == REPEAT:
            assert job.starts["a"] >= 2561
        else:
            assert job.starts is None  # from the first token on: a smaller part is the beginning of a larger one
    repeats = [job for job in plan.jobs if job.role == REPEAT and job.pools["a"] == 641]
    first, second = sorted(job.starts["a"] for job in repeats)
    assert second >= first + 641


def test_a_run_is_known_by_everything_that_decides_it():
    plan = plan_of(study_with(sizes=[1, 4], unique=[640, 2560], weight_decay=[0.1, 1.0], repeats=1))
    assert len({job.run_id for job in plan.jobs}) == len(plan.jobs)
    other = plan_of(study_with(sizes=[4, 1], unique=[2560, 640], weight_decay=[1.0, 0.1], repeats=1))
    assert {job.run_id for job in other.jobs} == {job.run_id for job in plan.jobs}
    more = plan_of(study_with(sizes=[1, 4], unique=[640, 2560], epochs=[1, 2, 4], weight_decay=[0.1, 1.0], repeats=1))
    assert {job.run_id for job in plan.jobs if job.role != REPEAT} < {job.run_id for job in more.jobs}


def test_too_little_text_is_refused_with_how_to_fix_it():
    with pytest.raises(MixoptError, match=r"runs of 6,400 unique tokens need 6,401 of 'a', which has 3,000 .*2,999"):
        plan_of(study_with(unique=[640, 6400]), tokens=3000)


def test_cells_that_are_the_same_in_whole_steps_are_refused():
    with pytest.raises(MixoptError, match=r"the same in whole steps of 64 tokens"):
        plan_of(study_with(unique=[640, 650]))


@given(st.integers(1, 9), LEVELS)
def test_several_domains_are_repeated_equally_often_at_one_mixture(tenths, steps):
    given = {"domains": {"a": {"builtin": "code"}, "b": {"builtin": "docs"}}}
    study = study_with(unique=[64 * n for n in steps], repeats=0)
    study = study.model_validate(study.model_dump() | given | {"weights": {"a": tenths / 10, "b": 1 - tenths / 10}})
    plan = plan_of(study)
    assert plan.weights == study.weights
    for run, job in zip(plan.runs, plan.jobs, strict=True):
        for name, weight in plan.weights.items():
            # Whole sequences of 16 tokens, and at least one.
            assert job.pools[name] - 1 == pytest.approx(max(weight * run.unique, 16), abs=8 + 1e-6)
            assert job.pools[name] % 16 == 1


def test_domains_without_weights_are_mixed_as_there_is_text_of_them():
    study = study_with(unique=[640], repeats=0)
    given = {"domains": {"a": {"builtin": "code", "pool": 3e6}, "b": {"builtin": "docs", "pool": 1e6}}}
    plan = plan_of(study.model_validate(study.model_dump() | given))
    assert plan.weights == {"a": 0.75, "b": 0.25}


def test_an_answer_far_from_the_runs_is_called_an_extrapolation():
    from mixopt.plan.surface import Run
    from mixopt.repetition.recommend import scale_warning

    scale = {"params": (1e4, 1e5), "unique": (1e4, 1e5), "tokens": (1e4, 1e6)}
    assert scale_warning(Run(1e5, 1e6, 1e5, 3.0), scale) is None
    longer = scale_warning(Run(1e5, 5e6, 1e5, 3.0), scale)
    assert longer and longer.code == "extrapolation"
    assert longer.text == "The answer extrapolates: it has 5 times the training tokens of the largest run."
    larger = scale_warning(Run(7e9, 240e9, 25e9, 3.0), scale)
    assert larger and "10^4.8 times the parameters, 10^5.4 times the unique tokens" in larger.text
    assert "train a grid nearer" in larger.text


def test_repeats_without_text_of_their_own_are_noted():
    plan = plan_of(study_with(unique=[640], repeats=3), tokens=2000)
    assert any("1 repeat had to read the same text" in note for note in plan.notes)


# Launching several recipes


def test_only_runs_of_one_recipe_are_stacked_and_the_longest_come_first():
    from proxies.launch import arrange

    plan = plan_of(study_with(sizes=[1, 4], unique=[640, 2560], epochs=[1, 4], repeats=1))
    assert len({job.recipe for job in plan.jobs}) == 6  # 2560 x 1 and 640 x 4 tokens are one recipe, at both sizes
    for gpu in (True, False):
        groups, _, _ = arrange(plan.jobs, plan.recipe, gpu=gpu, workers=2, stack=3)
        assert sorted(job.run_id for group in groups for job in group) == sorted(job.run_id for job in plan.jobs)
        assert all(len({job.recipe for job in group}) == 1 for group in groups)
        assert max(map(len, groups)) == (3 if gpu else 1)
        costs = [group[0].recipe.flops for group in groups]
        assert costs == sorted(costs, reverse=True)


def test_the_id_of_a_run_of_a_mixture_is_the_hash_of_what_decides_it():
    from dataclasses import asdict

    from mixopt.study.jobs import PlannedRun, make_job, run_id, scaled

    study = study_with()
    recipe = scaled(study.proxy, vocab=300, params_scale=1.0, tokens=6400, weight_decay=0.1)
    run = PlannedRun("uniform", {"a": 1.0}, {"a": 640}, 0)
    decides = {
        "recipe": asdict(recipe),
        "version": 2,
        "texts": [["hash", 1.0, 640, 0]],
        "seed": 0,
        "validation_tokens": 10_000,
        "precision": "float32",
    }
    study = study.model_copy(update={"proxy": study.proxy.model_copy(update={"device": "cpu"})})
    job = make_job(run, study, {"a": Shard(Meta(1000))}, recipe)  # type: ignore[dict-item]
    assert job.run_id == run_id(decides) and job.recipe is None and job.starts is None
