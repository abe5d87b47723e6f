import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from proxies.gpt import Shape, StackedGPT, rotary, rotate
from proxies.train import (
    ProxyRun,
    Recipe,
    ValidationSet,
    adamw,
    clip_each,
    divergence,
    pick_device,
    train,
)

RECIPE = Recipe(vocab=50, layers=2, width=16, heads=2, context=8, batch=4, tokens=8 * 4 * 12)


def pools(seed=0, tokens=400):
    rng = np.random.default_rng(seed)
    # Two domains that differ: rising runs of tokens in one, falling in the other.
    return {
        "up": (np.arange(tokens) % 25).astype(np.uint16),
        "down": (49 - np.arange(tokens) % 20 - rng.integers(0, 2, tokens)).astype(np.uint16),
    }


def validation():
    windows = np.stack([(np.arange(9) + i) % 25 for i in range(6)]).astype(np.int64)
    return {"up": ValidationSet(windows, bytes=100)}


def mixtures(n):
    return [ProxyRun({"up": k / n, "down": 1 - k / n}, pools(), seed=k % 2) for k in range(n)]


def test_four_stacked_proxies_come_to_what_they_come_to_alone():
    runs = mixtures(4)
    together = train(runs, RECIPE, validation(), device="cpu")
    alone = [train([run], RECIPE, validation(), device="cpu")[0] for run in runs]
    for stacked, single in zip(together, alone, strict=True):
        # Batched matrix products may add in another order: float32 rounding over a dozen steps.
        assert stacked.losses["up"] == pytest.approx(single.losses["up"], abs=2e-5)
        assert stacked.epochs == single.epochs


def test_training_twice_on_a_cpu_gives_the_same_numbers_to_the_last_bit():
    first, second = (train(mixtures(1), RECIPE, validation(), device="cpu")[0] for _ in range(2))
    assert first.losses == second.losses
    assert first.trajectory == second.trajectory


def test_training_learns_the_text():
    recipe = Recipe(vocab=50, layers=1, width=16, heads=2, context=8, batch=8, tokens=8 * 8 * 60)
    outcome = train([ProxyRun({"up": 1.0}, {"up": pools()["up"]}, seed=0)], recipe, validation(), device="cpu")[0]
    assert not outcome.diverged
    assert outcome.losses["up"] < 0.7 * math.log(50)
    assert outcome.bits_per_byte["up"] == pytest.approx(outcome.losses["up"] * 6 * 8 / math.log(2) / 100)
    assert outcome.trajectory[-1]["tokens"] == recipe.tokens_seen


def test_a_position_does_not_see_what_comes_after_it():
    model = StackedGPT(Shape(vocab=50, layers=2, width=16, heads=2, context=8), [0])
    for p in model.parameters():
        torch.nn.init.normal_(p, std=0.3, generator=torch.Generator().manual_seed(1))
    tokens = torch.randint(0, 50, (1, 1, 8), generator=torch.Generator().manual_seed(2))
    changed = tokens.clone()
    changed[..., 5:] = (changed[..., 5:] + 7) % 50
    before, after = model.hidden(tokens), model.hidden(changed)
    assert torch.equal(before[:, :5], after[:, :5])
    assert not torch.allclose(before[:, 5:], after[:, 5:])


def test_rotary_products_depend_on_distance_alone():
    cos, sin = rotary(16, 8)
    q, k = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    q_at, k_at = rotate(q.expand(16, 8), cos, sin), rotate(k.expand(16, 8), cos, sin)
    products = q_at @ k_at.T
    for distance in range(1, 5):
        along = products.diagonal(-distance)
        assert torch.allclose(along, along[0].expand_as(along), atol=1e-5)


def test_counted_parameters_are_those_of_the_tensors():
    shape = Shape(vocab=50, layers=3, width=16, heads=2, context=8)
    model = StackedGPT(shape, [0, 0])
    matrices = [p for name, p in model.named_parameters() if name not in ("embed", "sharpness")]
    assert sum(p[0].numel() for p in matrices) == shape.params
    assert shape.params_total - shape.params == model.embed[0].numel()
    assert shape.flops_per_token > 6 * shape.params_total


def test_every_proxy_is_clipped_by_its_own_norm():
    model = StackedGPT(RECIPE.shape, [0, 1])
    for p in model.parameters():
        p.grad = torch.ones_like(p)
        p.grad[0] *= 1e-6
    small = {name: p.grad[0].clone() for name, p in model.named_parameters() if p.grad is not None}
    clip_each(model, limit=1.0)
    norm = sum(float(p.grad[1].square().sum()) for p in model.parameters() if p.grad is not None) ** 0.5
    assert norm == pytest.approx(1.0, rel=1e-4)
    assert all(torch.equal(p.grad[0], small[name]) for name, p in model.named_parameters() if p.grad is not None)


def test_temperatures_are_not_decayed():
    model = StackedGPT(RECIPE.shape, [0])
    undecayed = [
        p for group in adamw(model, RECIPE).param_groups if group["weight_decay"] == 0 for p in group["params"]
    ]
    assert len(undecayed) == 1 and undecayed[0] is model.sharpness


@pytest.mark.filterwarnings("ignore")  # PyTorch's compiler warns of its own deprecations
@pytest.mark.slow
def test_a_compiled_model_comes_to_the_same_losses():
    plain, compiled = (train(mixtures(2), RECIPE, validation(), device="cpu", compile_model=c) for c in (False, True))
    for a, b in zip(plain, compiled, strict=True):
        assert a.losses["up"] == pytest.approx(b.losses["up"], abs=1e-3)  # fused kernels round differently


def test_the_rate_warms_up_stays_and_falls_to_nothing():
    recipe = Recipe(vocab=50, batch=16, tokens=64 * 16 * 100, warmup=0.1, decay=0.3, learning_rate=1.0)
    rates = [recipe.rate(step) for step in range(recipe.steps)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[20:60] == [1.0] * 40
    assert rates[-1] == pytest.approx(1 / 30)
    assert all(a >= b for a, b in pairwise(rates[20:]))


def test_divergence_is_a_loss_that_is_not_finite_or_no_better_than_guessing():
    fine = [{"train_loss": 2.0}]
    assert divergence({"a": 3.0}, fine, vocab=50) is None
    assert divergence({"a": 9.0}, fine, vocab=50) is None  # a text it never saw may be that hard
    assert "not finite" in (divergence({"a": math.nan}, fine, vocab=50) or "")
    assert "uninformed" in (divergence({"a": 3.0}, [{"train_loss": 5.0}], vocab=50) or "")
    assert "uninformed" in (divergence({"a": 3.0}, [{"train_loss": math.nan}], vocab=50) or "")


def test_a_rate_that_blows_up_is_recorded_as_divergence_and_leaves_its_neighbour_alone():
    from dataclasses import replace

    wild = replace(RECIPE, learning_rate=1e6, clip=1e9, weight_decay=0.0)
    assert train(mixtures(1), wild, validation(), device="cpu")[0].diverged


def test_a_device_that_is_not_there_is_refused():
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="no CUDA device"):
            pick_device("cuda")
    assert pick_device("cpu").type == "cpu"
