"""How many proxies to train in lockstep, and whether that changes what they come to.

    python benchmarks/stacking.py [--quick] [--device cuda]

K proxies of one shape share every kernel launch. `speed`: training tokens a second of all K together, over those of one
proxy alone on the same device in the same run; compilation is left out of it and given as `compile_share`, of the time
that the largest stack takes for a whole run of 512K tokens. `gap`: mean absolute difference in nats/token of the final
losses of the same proxies trained alone on the CPU in float32, and `spearman` of the two over mixtures.

Text is drawn from two made Markov chains (seed 0), so nothing has to be there; the mixtures are even steps of one
chain's share, the proxies' seed is 0.
"""

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch

from proxies.train import ProxyRun, Recipe, ValidationSet, pick_device, train
from regressors import spearman

STACKS = (1, 4, 16, 64)
MIXTURES = 8
WHOLE = 512_000  # tokens of a usual proxy
Text = dict[str, np.ndarray]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true")
    options.add_argument("--device", default="auto")
    given = options.parse_args()
    try:
        device = pick_device(given.device)
    except ValueError as error:
        print(f"stacking: {error}", file=sys.stderr)
        return 2
    print("benchmark,case,method,metric,value")
    gpu = device.type == "cuda"
    torch.set_num_threads(1)  # as a CPU worker does: proxies run side by side in processes of one thread
    stacks = STACKS if gpu else STACKS[:2]
    recipe = Recipe(vocab=512, tokens=(20_000 if given.quick else 60_000) if not gpu else 256_000)
    texts = {name: chain(seed) for seed, name in enumerate("ab")}
    speeds(texts, recipe, stacks, str(device), compiled=gpu)
    agreement(texts, recipe, str(device))
    return 0


def chain(seed: int, *, tokens: int = 200_000, vocab: int = 512) -> np.ndarray:
    """Text in which every token is followed by one of eight."""
    rng = np.random.default_rng([seed, 0])
    follow = rng.integers(0, vocab, (vocab, 8))
    picks = rng.integers(0, 8, tokens)
    out = np.empty(tokens, dtype=np.int64)
    now = 0
    for i, pick in enumerate(picks):
        now = follow[now, pick]
        out[i] = now
    return out


def speeds(texts: Text, recipe: Recipe, stacks: Sequence[int], device: str, *, compiled: bool) -> None:
    """Speed of every stack over one proxy's, with torch.compile and without."""
    alone = None
    for compile_model in (False, True) if compiled else (False,):
        for k in stacks:
            rate, first = measured(texts, recipe, k, device, compile_model)
            alone = alone or rate
            case = f"{device} K={k}"
            method = "compiled" if compile_model else "eager"
            row(case, method, "speed", rate / alone)
            if compile_model and k == stacks[-1]:
                row(case, method, "compile_share", first / (k * WHOLE / rate))


def measured(texts: Text, recipe: Recipe, k: int, device: str, compile_model: bool) -> tuple[float, float]:
    """Training tokens a second after the first steps, and the seconds of the first step, compilation mostly."""
    started, marks = time.perf_counter(), []
    skip = recipe.steps // 5

    def on_step(step: int) -> None:
        if step in (0, skip, recipe.steps - 1):
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            marks.append(time.perf_counter())

    mixtures = [{"a": 0.5, "b": 0.5}] * k
    train(runs_of(texts, mixtures), recipe, {}, device=device, compile_model=compile_model, on_step=on_step)
    tokens = k * (recipe.steps - 1 - skip) * recipe.batch * recipe.context
    return tokens / (marks[2] - marks[1]), marks[0] - started


def agreement(texts: Text, recipe: Recipe, device: str) -> None:
    """Final losses of a stack on the device against the same proxies alone on the CPU in float32."""
    shares = np.linspace(0.1, 0.9, MIXTURES)
    runs = runs_of(texts, [{"a": float(w), "b": float(1 - w)} for w in shares])
    windows = {name: text[:13_000].reshape(-1, 65) for name, text in texts.items()}
    validation = {name: ValidationSet(one, bytes=one.size) for name, one in windows.items()}
    together = train(runs, recipe, validation, device=device)
    single = [train([run], recipe, validation, device="cpu")[0] for run in runs]
    for name in texts:
        here, there = ([outcome.losses[name] for outcome in outcomes] for outcomes in (together, single))
        row(f"{device} K={MIXTURES}", "default", f"gap {name}", float(np.abs(np.subtract(here, there)).mean()))
        row(f"{device} K={MIXTURES}", "default", f"spearman {name}", spearman(np.array(here), np.array(there)))


def runs_of(texts: Text, mixtures: Sequence[dict[str, float]]) -> list[ProxyRun]:
    return [ProxyRun(weights, texts, 0) for weights in mixtures]


def row(case: str, method: str, metric: str, value: float) -> None:
    print("stacking", case, method, metric, f"{value:.4f}", sep=",", flush=True)


if __name__ == "__main__":
    sys.exit(main())
