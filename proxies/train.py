"""Lockstep training of K proxies: AdamW, warm-up, constant rate, decay to zero, then one evaluation.

Which checkpoints are comparable: only the last. The rate decays over the final part of every run, so a loss
read before the decay is not the final loss of a shorter run; trajectories are for looking at.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from proxies.checkpoint import Checkpoint, put
from proxies.gpt import Shape, StackedGPT
from proxies.record import Evaluation
from proxies.sampling import MixtureSampler, stacked_batches

EVAL_BATCH = 64  # windows


@dataclass(frozen=True)
class Recipe:
    """How every proxy of a study is trained; with the data, weights and seed it decides the result."""

    vocab: int
    layers: int = 2
    width: int = 64
    heads: int = 2
    context: int = 64  # tokens
    batch: int = 8  # sequences a step; small, because tiny runs gain more from more steps
    tokens: int = 512_000  # training tokens of one proxy
    learning_rate: float = 8e-3  # normalised queries and keys keep this rate steady
    warmup: float = 0.05  # share of the steps
    decay: float = 0.5  # share of the steps, linear to zero: averages the weights' noise away
    weight_decay: float = 0.1
    clip: float = 1.0  # gradient norm, per proxy

    @property
    def flops(self) -> int:
        """Training FLOPs of one run, counted from the architecture."""
        return self.shape.flops_per_token * self.tokens_seen

    @property
    def shape(self) -> Shape:
        return Shape(self.vocab, self.layers, self.width, self.heads, self.context)

    @property
    def steps(self) -> int:
        return max(1, round(self.tokens / (self.batch * self.context)))

    @property
    def tokens_seen(self) -> int:
        return self.steps * self.batch * self.context

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        warm = max(1, round(self.warmup * self.steps))
        cool = max(1, round(self.decay * self.steps))
        return self.learning_rate * min(1.0, (step + 1) / warm, (self.steps - step) / cool)


@dataclass(frozen=True)
class ProxyRun:
    """One model of a stack. pools: domain -> the unique tokens it may draw from."""

    weights: Mapping[str, float]
    pools: Mapping[str, np.ndarray]
    seed: int


@dataclass(frozen=True)
class ValidationSet:
    """windows: (n, context + 1) token ids; bytes: of the text that their predicted tokens stand for."""

    windows: np.ndarray
    bytes: int

    @property
    def tokens(self) -> int:
        """Those that are predicted."""
        return self.windows[:, 1:].size


@dataclass(frozen=True)
class Outcome:
    """Result of training one proxy. losses and bits_per_byte: by validation set; nats/token and bits/byte.

    eval_history: evaluations before the end, empty without any.
    """

    losses: dict[str, float]
    bits_per_byte: dict[str, float]
    trajectory: list[dict[str, float]]
    eval_history: list[Evaluation]
    epochs: dict[str, float]
    reason: str | None  # why it counts as diverged
    seconds: float
    eval_seconds: float

    @property
    def diverged(self) -> bool:
        return self.reason is not None


def pick_device(wish: str = "auto") -> torch.device:
    """auto: CUDA when there is one, CPU otherwise. Raises ValueError for a device that isn't there."""
    if wish == "auto":
        wish = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(wish)
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device.type == "cuda" and (device.index or 0) >= there:
        raise ValueError(f"device {wish!r}: this machine has no CUDA device of that number; use device: auto or cpu")
    return device


def train(
    runs: Sequence[ProxyRun],
    recipe: Recipe,
    validation: Mapping[str, ValidationSet],
    *,
    device: str = "auto",
    compile_model: bool | None = None,
    on_step: Callable[[int], None] | None = None,
    init_from: Sequence[Checkpoint] | None = None,
    n_evals: int = 0,
    on_end: Callable[[StackedGPT], None] | None = None,
) -> list[Outcome]:
    """Train len(runs) proxies side by side and evaluate each on every validation set.

    compile_model: torch.compile; None means on CUDA only. on_step is called after each step with its number.
    init_from: trained proxies to go on from, one a run, in place of fresh ones; the optimiser starts anew, and the
    recipe's warm-up is the re-warming. n_evals: how often to evaluate before the end, evenly, the start besides. on_end
    is given the trained stack.
    Proxies don't touch each other: outcome k is what run k gives alone, up to the order of float32 sums.
    Raises ValueError for a checkpoint of another shape than the recipe's.
    """
    where = pick_device(device)
    started = time.perf_counter()
    model = StackedGPT(recipe.shape, [run.seed for run in runs])
    if init_from is not None:
        put(model, init_from)
    model = model.to(where)
    compiled = where.type == "cuda" if compile_model is None else compile_model
    losses_of = torch.compile(model.losses) if compiled else model.losses
    optimiser = adamw(model, recipe)
    samplers = [
        MixtureSampler(run.pools, run.weights, context=recipe.context, slots=recipe.steps * recipe.batch, seed=run.seed)
        for run in runs
    ]
    every = max(1, recipe.steps // 20)
    trajectories: list[list[dict[str, float]]] = [[] for _ in runs]
    window = torch.zeros(len(runs), device=where)
    history = EvalHistory(model, validation, recipe, n_evals)
    history.after(0)
    batches = to_device(stacked_batches(samplers, steps=recipe.steps, size=recipe.batch), where)
    for step, tokens in enumerate(batches):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(step)
        with autocast(where):
            each = losses_of(tokens[..., :-1], tokens[..., 1:]).mean(dim=(1, 2))
        optimiser.zero_grad(set_to_none=True)
        each.sum().backward()
        clip_each(model, recipe.clip)
        optimiser.step()
        window += each.detach()
        if (step + 1) % every == 0:
            for trajectory, loss in zip(trajectories, (window / every).tolist(), strict=True):
                seen = (step + 1) * recipe.batch * recipe.context
                trajectory.append({"step": step + 1, "tokens": seen, "train_loss": loss})
            window.zero_()
        history.after(step + 1)
        if on_step is not None:
            on_step(step)
    trained = time.perf_counter()
    sums = evaluate(model, validation)
    if on_end is not None:
        on_end(model)
    seconds = (trained - started - history.seconds, time.perf_counter() - trained + history.seconds)
    outcomes = []
    for k, (sampler, trajectory) in enumerate(zip(samplers, trajectories, strict=True)):
        losses, bits = per_token_and_byte(k, sums, validation)
        reason = divergence(losses, trajectory, vocab=recipe.vocab)
        outcomes.append(Outcome(losses, bits, trajectory, history.of[k], sampler.epochs, reason, *seconds))
    return outcomes


class EvalHistory:
    """Evaluations before the end: at the start and `n_evals` times after it. of: a list a proxy."""

    def __init__(self, model: StackedGPT, validation: Mapping[str, ValidationSet], recipe: Recipe, n_evals: int):
        self.model, self.validation, self.recipe = model, validation, recipe
        self.steps = {round(recipe.steps * i / (n_evals + 1)) for i in range(n_evals + 1)} if n_evals else set()
        self.of: list[list[Evaluation]] = [[] for _ in range(model.embed.shape[0])]
        self.seconds = 0.0

    def after(self, step: int) -> None:
        """Evaluates, when this is one of the steps to evaluate after."""
        if step not in self.steps:
            return
        started = time.perf_counter()
        sums = evaluate(self.model, self.validation)
        for k, history in enumerate(self.of):
            losses, _ = per_token_and_byte(k, sums, self.validation)
            history.append(Evaluation(step, step * self.recipe.batch * self.recipe.context, losses))
        self.seconds += time.perf_counter() - started


def adamw(model: StackedGPT, recipe: Recipe) -> torch.optim.AdamW:
    """Element-wise, so one optimiser serves all K proxies. No decay on the temperatures."""
    matrices = [p for name, p in model.named_parameters() if name != "sharpness"]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": recipe.weight_decay},
            {"params": [model.sharpness], "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.95),
        fused=True,
    )


@torch.no_grad()
def clip_each(model: StackedGPT, limit: float) -> None:
    """Clip every proxy's gradient by its own norm; one shared norm would let proxies steer each other."""
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    square = torch.stack([g.flatten(1).square().sum(1) for g in grads]).sum(0)
    scale = (limit / (square.sqrt() + 1e-6)).clamp(max=1.0)
    for g in grads:
        g.mul_(scale.view(-1, *[1] * (g.dim() - 1)))


def autocast(device: torch.device) -> torch.autocast:
    """bf16 on a GPU; plain float32 on a CPU, where determinism matters more."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=device.type == "cuda")


def to_device(batches: Iterator[np.ndarray], device: torch.device) -> Iterator[Tensor]:
    """Batches on the device; for a GPU from pinned memory, the next copied while the current one computes."""
    if device.type != "cuda":
        yield from (torch.from_numpy(batch) for batch in batches)
        return
    coming = (torch.from_numpy(batch).pin_memory().to(device, non_blocking=True) for batch in batches)
    ahead = next(coming)
    for tokens in coming:
        yield ahead
        ahead = tokens
    yield ahead


@torch.no_grad()
def evaluate(model: StackedGPT, validation: Mapping[str, ValidationSet]) -> dict[str, Tensor]:
    """Summed loss of every proxy, (K,) nats in float64, by validation set."""
    k, device, sums = model.embed.shape[0], model.embed.device, {}
    for name, text in validation.items():
        total = torch.zeros(k, dtype=torch.float64, device=device)
        for windows in torch.from_numpy(text.windows).split(EVAL_BATCH):
            tokens = windows.to(device).expand(k, -1, -1)
            with autocast(device):
                total += model.losses(tokens[..., :-1], tokens[..., 1:]).double().sum(dim=(1, 2))
        sums[name] = total.cpu()
    return sums


def per_token_and_byte(
    k: int, sums: Mapping[str, Tensor], validation: Mapping[str, ValidationSet]
) -> tuple[dict[str, float], dict[str, float]]:
    """Proxy k's part of what `evaluate` gives: nats/token and bits/byte, by validation set."""
    nats = {name: float(total[k]) for name, total in sums.items()}
    tokens = {name: loss / validation[name].tokens for name, loss in nats.items()}
    return tokens, {name: loss / math.log(2) / validation[name].bytes for name, loss in nats.items()}


def divergence(losses: Mapping[str, float], trajectory: Sequence[Mapping[str, float]], *, vocab: int) -> str | None:
    """Why a run counts as diverged, or None: a loss that isn't finite, or training no better than guessing.

    The uninformed loss is ln(vocab). A domain never trained on may lie above it, so only the loss on the run's own
    training text is held against it.
    """
    bad = [name for name, loss in losses.items() if not math.isfinite(loss)]
    if bad:
        return f"loss is not finite on {', '.join(bad)}"
    if trajectory and not trajectory[-1]["train_loss"] < math.log(vocab):
        return f"training loss {trajectory[-1]['train_loss']:.2f} ends above the uninformed {math.log(vocab):.2f}"
    return None
