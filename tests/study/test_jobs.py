"""A run's file against what was planned."""

import json
from dataclasses import asdict, replace

import pytest

from mixopt.errors import MixoptError
from mixopt.study.jobs import finished_run
from proxies.launch import Job
from proxies.record import Loss, RunRecord, write_record
from proxies.train import Recipe

RECIPE = Recipe(vocab=64, tokens=640)
JOB = Job("r1", "dirichlet", {"a": 0.25, "b": 0.75, "c": 0.0}, {"a": 600, "b": 900, "c": 50}, 3)
RUN = RunRecord(
    run_id="r1",
    role="repeat",
    seed=3,
    params=RECIPE.shape.params,
    tokens=RECIPE.tokens_seen,
    weights=JOB.weights,
    pools={"a": 600, "b": 900, "c": 7},
    losses={"a": Loss(2.5, 1.25)},
    recipe=asdict(RECIPE),
)


def test_role_and_pools_that_weren_t_read_are_the_plan_s(tmp_path):
    write_record(tmp_path / "r1.json", RUN)
    run = finished_run(tmp_path / "r1.json", JOB, RECIPE)
    assert (run.role, run.pools["c"], run.losses) == ("dirichlet", 50, RUN.losses)


def test_a_file_of_the_required_keys_alone_is_taken(tmp_path):
    (tmp_path / "r1.json").write_text(json.dumps({"run_id": "r1", "weights": JOB.weights, "losses": {}}))
    assert finished_run(tmp_path / "r1.json", JOB, RECIPE).pools == JOB.pools


@pytest.mark.parametrize("losses", [{}, {"a": Loss(2.5, 1.25)}], ids=len)
def test_a_run_without_the_loss_on_a_text_is_to_be_evaluated(tmp_path, losses):
    texts = {"a": "hash a", "b": "hash b"}
    write_record(tmp_path / "r1.json", replace(RUN, losses=losses, texts=texts))
    with pytest.raises(MixoptError, match=r"r1\.json: has no loss on .*b as it is now: `mixopt train` evaluates"):
        finished_run(tmp_path / "r1.json", replace(JOB, texts=texts), RECIPE)


@pytest.mark.parametrize(
    "change",
    [
        {"run_id": "r2"},
        {"seed": 4},
        {"seed": "3"},
        {"tokens": 1},
        {"params": [1]},
        {"weights": {"a": 0.75, "b": 0.25, "c": 0.0}},
        {"weights": {"a": 0.25, "b": 0.65, "c": 0.1}},
        {"pools": {"a": 1800, "b": 900}},
        {"pools": 5},
        {"recipe": {"vocab": 64, "width": 999}},
        {"recipe": "a"},
        {"losses": {"a": {"nats_per_token": -2.5}}},
        {"losses": {"a": {"nats_per_token": True}}},
        {"losses": {"a": {"nats_per_token": 0}}},
    ],
    ids=str,
)
def test_a_file_of_another_run_or_of_no_run_is_refused_in_a_sentence_with_its_key_and_remedy(tmp_path, change):
    value = RUN.to_json() | change
    (tmp_path / "r1.json").write_text(json.dumps(value))
    with pytest.raises(MixoptError, match=rf"r1\.json: {next(iter(change))}.*: delete it, and `mixopt train`"):
        finished_run(tmp_path / "r1.json", JOB, RECIPE)
