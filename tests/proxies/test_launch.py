import io
import json
from dataclasses import replace

import numpy as np
import pytest

from proxies import shards
from proxies.launch import MIN_COMPILED_TOKENS, Job, Setup, arrange, launch, worth_compiling
from proxies.tokenizer import train
from proxies.train import Recipe
from proxies.worker import Worker


def job(k, seed=0):
    return Job(f"r{k}", "dirichlet", {"a": k / 4, "b": 1 - k / 4}, {"a": 600, "b": 700}, seed)


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    """Shards of two small domains, and what a launch on them needs."""
    root = tmp_path_factory.mktemp("launch")
    rng = np.random.default_rng(0)
    texts = {
        name: [" ".join(rng.choice(words.split(), size=12)) for _ in range(120)]
        for name, words in {"a": "red green blue white black", "b": "one two three four five"}.items()
    }
    tokenizer = train(texts, vocab_size=270)
    tokenizer.save(root / "tokenizer.json")
    for name, docs in texts.items():
        shards.write(root / name, docs, tokenizer, val_fraction=0.2)
    recipe = Recipe(vocab=tokenizer.size, layers=1, width=16, heads=1, context=16, batch=4, tokens=16 * 4 * 10)
    return Setup(
        recipe=recipe,
        shards={name: root / name for name in texts},
        tokenizer=root / "tokenizer.json",
        out=root / "runs",
        validation_tokens=320,
        device="cpu",
        versions={"torch": "2"},
    )


def losses_in(folder):
    records = [json.loads(path.read_text()) for path in folder.glob("r*.json")]
    return {r["run_id"]: {t: x["nats_per_token"] for t, x in r["losses"].items()} for r in records}


def test_a_gpu_takes_stacks_and_a_cpu_takes_single_runs_on_one_thread_each():
    jobs = [job(k) for k in range(5)]
    recipe = Recipe(vocab=300)
    groups, processes, _ = arrange(jobs, recipe, gpu=True, workers=None, stack=2)
    assert [len(g) for g in groups] == [2, 2, 1] and processes == 1
    groups, processes, threads = arrange(jobs, recipe, gpu=False, workers=3, stack=2)
    assert [len(g) for g in groups] == [1] * 5 and (processes, threads) == (3, 1)


def test_a_stacked_group_writes_what_its_runs_come_to_alone(setup, tmp_path):

    results = []
    for name, groups in (("stacked", [[1, 2, 3]]), ("alone", [[1], [2], [3]])):
        here = replace(setup, out=tmp_path / name)
        here.out.mkdir()
        events = io.StringIO()
        worker = Worker(here, events)
        for group in groups:
            worker.work([job(k) for k in group])
        done = [json.loads(line) for line in events.getvalue().splitlines()]
        assert [e["run_id"] for e in done if e["event"] == "done"] == ["r1", "r2", "r3"]
        results.append(losses_in(here.out))
    for run_id, losses in results[0].items():
        assert losses == pytest.approx(results[1][run_id], abs=2e-5)  # float32 sums in another order


def test_workers_finish_all_jobs_and_report_each_once(setup, tmp_path):

    here, heard = replace(setup, out=tmp_path / "runs"), []
    launch([job(k) for k in range(5)], here, workers=2, on_event=heard.append)
    assert sorted(e["run_id"] for e in heard if e["event"] == "done") == [f"r{k}" for k in range(5)]
    assert sorted(losses_in(here.out)) == [f"r{k}" for k in range(5)]
    assert not [p for p in here.out.iterdir() if not p.name.startswith("r")]


def test_what_a_worker_refuses_comes_back_as_a_value_error(setup, tmp_path):

    tiny = Job("r9", "dirichlet", {"a": 0.5, "b": 0.5}, {"a": 3, "b": 700}, 0)
    with pytest.raises(ValueError, match=r"domain 'a': its proxy pool has 3 tokens"):
        launch([tiny], replace(setup, out=tmp_path / "runs"), workers=1)


def test_a_worker_that_dies_tells_its_last_words(setup, tmp_path, monkeypatch):

    broken = tmp_path / "tokenizer.json"
    broken.write_text("not a tokenizer")
    with pytest.raises(RuntimeError, match=r"a training worker died \(exit status 1\): .*Exception"):
        launch([job(1)], replace(setup, out=tmp_path / "runs", tokenizer=broken), workers=1)


def test_compiling_is_worth_it_for_many_stacks_of_one_recipe_alone():
    recipe = Recipe(vocab=300, tokens=MIN_COMPILED_TOKENS // 4)
    stacks = [[job(k)] for k in range(5)]
    assert worth_compiling(stacks, recipe)
    assert not worth_compiling(stacks[:2], recipe)
    own = [[replace(job(k), recipe=replace(recipe, weight_decay=0.1 * k))] for k in range(5)]
    assert not worth_compiling(own, recipe)
