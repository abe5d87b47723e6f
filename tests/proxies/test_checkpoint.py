"""Trained proxies on disk."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch

from proxies.checkpoint import load_checkpoint, put, save_checkpoint, take
from proxies.gpt import Shape, StackedGPT
from proxies.launch import Job, arrange
from proxies.train import ProxyRun, Recipe, ValidationSet, train

SHAPE = Shape(vocab=64, layers=2, width=16, heads=2, context=8)


def tokens(seed=0):
    return torch.randint(0, SHAPE.vocab, (1, 3, SHAPE.context + 1), generator=torch.Generator().manual_seed(seed))


def test_a_proxy_taken_from_a_stack_and_put_into_another_computes_the_same(tmp_path):
    stack = StackedGPT(SHAPE, [3, 4])
    with torch.no_grad():
        stack.out[0].normal_(generator=torch.Generator().manual_seed(1))
    path = tmp_path / "bases" / "b1.npz"
    save_checkpoint(path, take(stack, 1, {"tokens": 100}))
    kept = load_checkpoint(path)
    alone = StackedGPT(SHAPE, [99])
    put(alone, [kept])
    given = tokens()
    both = stack.losses(given[..., :-1].expand(2, -1, -1), given[..., 1:].expand(2, -1, -1))
    assert torch.allclose(alone.losses(given[..., :-1], given[..., 1:])[0], both[1], atol=1e-6)
    assert kept.about == {"tokens": 100}
    assert list(path.parent.iterdir()) == [path]  # no half-written file stays


def test_a_checkpoint_does_not_follow_its_model():
    model = StackedGPT(SHAPE, [0])
    kept = take(model, 0, {})
    before = kept.weights["embed"].copy()
    with torch.no_grad():
        model.embed.add_(1.0)
    assert np.array_equal(kept.weights["embed"], before)


def test_a_checkpoint_of_another_shape_is_refused():
    kept = take(StackedGPT(SHAPE, [0]), 0, {})
    with pytest.raises(ValueError, match="can't be continued"):
        put(StackedGPT(Shape(64, 2, 32, 2, 8), [0]), [kept])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a zip", b"{}"])
def test_a_file_that_is_no_checkpoint_is_refused_by_name(tmp_path, content):
    path = tmp_path / "b2.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"b2\.npz: not a checkpoint"):
        load_checkpoint(path)


def test_an_archive_that_lacks_a_part_is_no_checkpoint(tmp_path):
    about = json.dumps({"shape": asdict(SHAPE)}).encode()
    np.savez(tmp_path / "b4.npz", about=np.frombuffer(about, dtype=np.uint8))
    with pytest.raises(ValueError, match=r"b4\.npz: not a checkpoint"):
        load_checkpoint(tmp_path / "b4.npz")


def test_numbers_that_make_up_no_proxy_are_refused(tmp_path):
    kept = take(StackedGPT(SHAPE, [0]), 0, {})
    path = tmp_path / "b3.npz"
    kept.weights["embed"][0, 0] = np.nan
    save_checkpoint(path, kept)
    with pytest.raises(ValueError, match="make up a proxy"):
        load_checkpoint(path)
    del kept.weights["embed"]
    save_checkpoint(path, kept)
    with pytest.raises(ValueError, match="make up a proxy"):
        load_checkpoint(path)


RECIPE = Recipe(vocab=64, layers=2, width=16, heads=2, context=8, batch=4, tokens=640, learning_rate=1e-2)


def pools(seed=0):
    return {"a": np.random.default_rng(seed).integers(0, 64, 400)}


def text():
    return {"a": ValidationSet(np.random.default_rng(5).integers(0, 64, (6, 9)), bytes=100)}


def test_a_run_that_begins_at_a_checkpoint_starts_at_its_loss():
    kept = []
    runs = [ProxyRun({"a": 1.0}, pools(), 1)]
    (first,) = train(runs, RECIPE, text(), on_end=lambda model: kept.append(take(model, 0, {})))
    (second,) = train([ProxyRun({"a": 1.0}, pools(1), 2)], RECIPE, text(), init_from=kept, n_evals=4)
    assert second.eval_history[0].step == 0
    assert second.eval_history[0].losses["a"] == pytest.approx(first.losses["a"], abs=1e-5)
    assert second.losses["a"] != first.losses["a"]


def test_evaluating_before_the_end_changes_nothing():
    runs = [ProxyRun({"a": 1.0}, pools(), 1)]
    (plain,), (evaluated,) = (train(runs, RECIPE, text(), n_evals=n) for n in (0, 3))
    assert plain.losses == evaluated.losses
    assert plain.eval_history == []
    assert [point.tokens for point in evaluated.eval_history] == [0, 160, 320, 480]


def test_jobs_that_begin_at_checkpoints_are_not_stacked_with_fresh_ones():
    fresh = [Job(f"r{i}", "base", {"a": 1.0}, {"a": 100}, i) for i in range(2)]
    going_on = [Job(f"s{i}", "continuation", {"a": 1.0}, {"a": 100}, i, init_from="b.npz") for i in range(2)]
    groups, _, _ = arrange([*fresh, *going_on], RECIPE, gpu=True, workers=None, stack=8)
    assert sorted([job.run_id for job in group] for group in groups) == [["r0", "r1"], ["s0", "s1"]]
