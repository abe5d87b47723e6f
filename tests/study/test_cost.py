"""What a study would take: `mixopt run --dry-run`, and the first lines of every run."""

import re
from collections import Counter
from dataclasses import replace

import pytest

from mixopt.study import cost
from mixopt.study.pipeline import open_session, planned
from mixopt.study.prepare import prepare
from tests.factories.command import contents
from tests.factories.finished import write_finished
from tests.factories.progress import Recorder
from tests.factories.small_study import CONTINUAL, write_small_study

LADDER = "ladder: [{params: 4, tokens: 2, mixtures: 4, repetition_runs: 1, shorter_runs: 1, repeats: 1}]\n"
REPETITION = """\
name: NAME
kind: repetition
domains: {web: {path: web.jsonl}}
full: {unique: 1M, compute: 1e15}
design: {sizes: [1, 4], unique: [1280, 2560], epochs: [1, 2], weight_decay: [0.1], repeats: 1}
tokenizer: {vocab: 280}
proxy: {layers: 1, width: 16, heads: 1, context: 16, batch: 8, validation_tokens: 400, workers: 2}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A study of each kind, prepared."""
    folder = tmp_path_factory.mktemp("home")
    path = write_small_study(folder)
    text = path.read_text().replace("repetition_runs: 0, shorter_runs: 0", "repetition_runs: 2, shorter_runs: 1")
    (folder / "mixture.yaml").write_text(text + LADDER)
    (folder / "repetition.yaml").write_text(REPETITION)
    (folder / "continual.yaml").write_text(CONTINUAL)
    for kind in ("mixture", "repetition", "continual"):
        session = open_session(folder / f"{kind}.yaml", folder / kind)
        prepare(session.study, session.path, session.folder, session.progress)
    return folder


@pytest.fixture
def steady(monkeypatch):
    """A second is 1e9 FLOPs, wherever steps would be measured: every recipe that was."""
    seen = []
    monkeypatch.setattr(cost, "measured_speed", lambda recipe, *_, **__: seen.append(recipe) or 1e-9)
    return seen


def recipes(session, plan):
    return [job.recipe or plan.recipe for jobs, _ in session.kind.launches(session, plan) for job in jobs]


@pytest.mark.parametrize("kind", ["mixture", "repetition", "continual"])
def test_the_study_file_alone_counts_the_runs_of_the_plan(home, kind):
    session = open_session(home / f"{kind}.yaml", home / kind)
    plan, _ = planned(session)
    later = session.kind.unplanned(session, 280, plan)
    assert Counter(session.kind.unplanned(session, 280, None)) == Counter([*recipes(session, plan), *later])
    assert bool(later) == (kind == "mixture")


@pytest.mark.slow
def test_a_ladder_s_larger_runs_are_counted_before_they_are_planned(home, tmp_path, steady):
    session = open_session(home / "mixture.yaml", home / "mixture", Recorder())
    plan, shards = planned(session)
    before = cost.cost_of(session, plan)
    assert [(size.params, size.new, size.kept, size.later) for size in before.sizes] == [
        (3072, 12, 0, 2),
        (12288, 0, 0, 8),
    ]
    session.folder.runs = tmp_path / "runs"
    session.folder.ladder = tmp_path / "ladder.json"
    write_finished(session.folder.runs, plan, plan.jobs)
    whole = session.kind.extended(session, plan, shards)
    after = cost.cost_of(session, whole)
    assert after.total("kept") == len(plan.jobs) and after.total("later") == 0
    assert after.total("new") == pytest.approx(
        before.total("later"), abs=2
    )  # near-best mixtures may be trained already
    assert after.sizes[1].flops == before.sizes[1].flops


def test_time_is_that_of_finished_runs_of_about_the_size_and_of_measured_steps_otherwise(home, tmp_path, steady):
    session = open_session(home / "repetition.yaml", home / "repetition")
    plan, _ = planned(session)
    small, large = sorted({job.recipe.shape.params for job in plan.jobs})
    session.folder.runs = tmp_path / "runs"
    there = [job for job in plan.jobs if job.recipe.shape.params == small][:3]
    for n, job in enumerate(there):  # at 1, 2 and 4 seconds a GFLOP
        write_finished(session.folder.runs, plan, [job], seconds=2.0**n * job.recipe.flops / 1e9)
    write_finished(session.folder.runs, plan, [])
    (session.folder.runs / "r0.json").write_text("damaged")
    found = cost.cost_of(session, plan)
    assert [recipe.shape.params for recipe in steady] == [large] and found.measured
    smaller, larger = found.sizes
    assert (smaller.kept, smaller.params, larger.params) == (3, small, large)
    assert smaller.seconds == pytest.approx(2e-9 * smaller.flops / 2)  # the median, and two workers
    assert larger.seconds == pytest.approx(1e-9 * larger.flops / 2)
    assert cost.cost_of(session, plan, timed=False).sizes[1].seconds is None


def test_runs_side_by_side_take_as_long_as_the_longest(home, steady):
    clock = cost.Clock(open_session(home / "mixture.yaml", home / "mixture"))
    clock.workers = 16
    recipe = planned(open_session(home / "mixture.yaml", home / "mixture"))[0].recipe
    assert clock.seconds([recipe] * 3) == pytest.approx(1e-9 * recipe.flops)
    assert clock.seconds([recipe] * 32) == pytest.approx(2e-9 * recipe.flops)


def test_times_of_a_gpu_s_runs_say_nothing_of_a_cpu(home, tmp_path, steady):
    session = open_session(home / "repetition.yaml", home / "repetition")
    plan, _ = planned(session)
    session.folder.runs = tmp_path / "runs"
    write_finished(session.folder.runs, plan, plan.jobs[:3], device="NVIDIA H200")
    assert cost.cost_of(session, plan).measured and steady


@pytest.mark.slow
def test_a_measured_step_takes_time_in_proportion_to_its_work():
    from proxies.train import Recipe

    recipe = Recipe(vocab=280, layers=1, width=16, heads=1, context=16, batch=8)
    assert 1e-12 < cost.measured_speed(recipe, "cpu", 1, warm=False) < 1e-5


def test_memory_grows_with_the_model_the_vocabulary_and_the_stack():
    from proxies.train import Recipe

    small = Recipe(vocab=512)
    larger = [replace(small, width=512, heads=8), replace(small, vocab=32_000), replace(small, context=512)]
    assert all(cost.memory_of(one, 1) > cost.memory_of(small, 1) for one in larger)
    assert cost.memory_of(small, 32) > cost.memory_of(small, 1) > 3e8


@pytest.mark.parametrize("kind", ["mixture", "repetition", "continual"])
def test_a_dry_run_before_any_text_is_prepared_leaves_nothing(home, tmp_path, command, steady, kind):
    before = contents(home)
    shown = command("run", home / f"{kind}.yaml", "--dry-run", "--out", tmp_path / "new/out", cwd=tmp_path)
    assert shown.code == 0, shown.err
    assert not list(tmp_path.iterdir()) and contents(home) == before
    assert re.search(r"\d+ runs to train: \S+ tokens, \S+ FLOPs.*, about \d+ s", shown.out.replace("\n", " "))
    for words in (
        "Counted from the study file",
        "still to be prepared",
        "are free",
        "worker",
        "measured training steps",
    ):
        assert words in shown.out
    assert ("of the full run's" in shown.out) == (kind != "continual")  # whose full run is left open


def test_a_dry_run_trains_nothing_and_says_what_is_there(home, tmp_path, command, steady):
    session = open_session(home / "repetition.yaml", home / "repetition")
    plan, _ = planned(session)
    write_finished(session.folder.runs, plan, plan.jobs[:2])
    runs = contents(session.folder.runs)
    shown = command("run", home / "repetition.yaml", "--dry-run", "--out", session.folder.root, cwd=tmp_path)
    assert shown.code == 0 and f"{len(plan.jobs) - 2} runs to train, 2 there" in shown.out
    assert contents(session.folder.runs) == runs and not session.folder.plan.exists()
    assert "of shards are there" in shown.out and "finished runs of about the same size" not in shown.out
    for path in session.folder.runs.iterdir():
        path.unlink()


def test_a_tokenizer_that_isn_t_one_is_named(home, tmp_path, command):
    (tmp_path / "tokenizer.json").write_text("{}")
    text = (home / "repetition.yaml").read_text().replace("web.jsonl", str(home / "web.jsonl"))
    (tmp_path / "study.yaml").write_text(text.replace("{vocab: 280}", "{path: tokenizer.json}"))
    shown = command("run", "study.yaml", "--dry-run", cwd=tmp_path)
    assert shown.code == 2 and "tokenizer.json" in shown.err and not (tmp_path / "studies").exists()


def test_a_gpu_that_isn_t_here_leaves_the_time_open(home, tmp_path, command):
    from proxies.train import pick_device

    if pick_device().type == "cuda":
        pytest.skip("there is one")
    text = (home / "repetition.yaml").read_text().replace("web.jsonl", str(home / "web.jsonl"))
    (tmp_path / "study.yaml").write_text(text.replace("layers: 1,", "layers: 1, device: cuda,"))
    shown = command("run", "study.yaml", "--dry-run", cwd=tmp_path)
    assert shown.code == 0 and "device 'cuda' isn't here" in shown.out and "of 1 worker" in shown.out


def test_a_study_on_runs_trains_nothing(tmp_path, command):
    from mixopt.study import examples

    path = next(path for path in examples.copy("your-runs", tmp_path / "mine") if path.suffix == ".yaml")
    shown = command("run", path, "--dry-run", cwd=tmp_path)
    assert shown.code == 0 and "nothing is trained" in shown.out and not (tmp_path / "studies").exists()
