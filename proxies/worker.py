"""One worker: reads groups of runs from standard input, trains them, writes a JSON file a run.

The protocol is JSON lines. In: a setup object, then lists of jobs. Out: {"event": "ready" | "step" | "done" | "error"}.
A worker whose parent is gone finds its pipe closed at its next event and ends, so a killed study leaves
no process behind; a finished run is already on disk by then.
"""

import json
import math
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any, TextIO

from proxies.sampling import validation_windows
from proxies.shards import Shard, open_shard
from proxies.tokens import Tokenizer
from proxies.train import Outcome, ProxyRun, Recipe, ValidationText, pick_device, train

EVENT_SECONDS = 0.5  # between two step events


class Worker:
    """What stays the same from job to job: recipe, shards in memory maps, validation windows."""

    def __init__(self, setup: Mapping[str, Any], events: TextIO):
        self.recipe = Recipe(**setup["recipe"])
        self.out = Path(setup["out"])
        self.device = setup["device"]
        self.versions = setup["versions"]
        self.events = events
        self.shards = {name: open_shard(Path(folder)) for name, folder in setup["texts"].items()}
        count = max(1, setup["validation_tokens"] // self.recipe.context)
        self.validation = {}
        for name, shard in self.shards.items():
            tokenizer = open_tokenizer(setup["tokenizer"], shard.meta.end)
            self.validation[name] = validation_text(name, shard, tokenizer, self.recipe, count)
        self.said = 0.0

    def say(self, event: str, **more: Any) -> None:
        self.events.write(json.dumps({"event": event, **more}) + "\n")
        self.events.flush()

    def work(self, jobs: list[dict[str, Any]]) -> None:
        """Train one group in lockstep and write its files."""
        runs = [ProxyRun(job["weights"], self.pools(job), job["seed"]) for job in jobs]
        names = [job["run_id"] for job in jobs]

        def on_step(step: int) -> None:
            if time.monotonic() - self.said > EVENT_SECONDS:
                self.said = time.monotonic()
                self.say("step", run_ids=names, share=(step + 1) / self.recipe.steps)

        outcomes = train(runs, self.recipe, self.validation, device=self.device, on_step=on_step)
        for job, outcome in zip(jobs, outcomes, strict=True):
            write_whole(self.out / f"{job['run_id']}.json", self.record(job, outcome, len(jobs)))
            self.say("done", run_id=job["run_id"], diverged=outcome.diverged, seconds=outcome.seconds)

    def pools(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The fixed part of each domain that the run may read: the first tokens of a shuffled shard."""
        return {name: self.shards[name].train[: job["pools"][name]] for name in job["weights"]}

    def record(self, job: Mapping[str, Any], outcome: Outcome, stacked: int) -> dict[str, Any]:
        shape = self.recipe.shape
        return {
            "run_id": job["run_id"],
            "role": job["role"],
            "seed": job["seed"],
            "params": shape.params,
            "params_total": shape.params_total,
            "tokens": self.recipe.tokens_seen,
            "flops": shape.flops_per_token * self.recipe.tokens_seen,
            "flops_6nd": 6 * shape.params * self.recipe.tokens_seen,
            "seconds": outcome.seconds,
            "eval_seconds": outcome.eval_seconds,
            "stacked": stacked,
            "weights": job["weights"],
            "pools": job["pools"],
            "epochs": outcome.epochs,
            "losses": {
                name: {
                    "nats_per_token": finite(outcome.losses[name]),
                    "bits_per_byte": finite(outcome.bits_per_byte[name]),
                }
                for name in outcome.losses
            },
            "trajectory": [{key: finite(value) for key, value in point.items()} for point in outcome.trajectory],
            "diverged": outcome.diverged,
            "reason": outcome.reason,
            "device": device_name(self.device),
            "versions": self.versions,
            "recipe": asdict(self.recipe),
        }


@cache
def open_tokenizer(path: str, end: int) -> Tokenizer:
    import tokenizers

    return Tokenizer(tokenizers.Tokenizer.from_file(path), end)


def validation_text(name: str, shard: Shard, tokenizer: Tokenizer, recipe: Recipe, count: int) -> ValidationText:
    try:
        windows = validation_windows(shard.val, context=recipe.context, count=count)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; give it more text or a larger val_fraction") from None
    # The first token of a window is given, not predicted, so its bytes don't count.
    return ValidationText(windows, tokenizer.bytes_of(windows[:, 1:].reshape(-1)))


def finite(value: float) -> float | None:
    """JSON has no NaN: a loss that isn't finite is null, and the run's reason says why."""
    return value if math.isfinite(value) else None


def device_name(wish: str) -> str:
    import torch

    device = pick_device(wish)
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def write_whole(path: Path, record: Mapping[str, Any]) -> None:
    """By rename: a reader sees the whole file or none."""
    half = path.with_name(f".{path.name}.{os.getpid()}")
    half.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    half.replace(path)


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not break the protocol
    setup = json.loads(sys.stdin.readline())
    import torch

    torch.set_num_threads(setup["threads"])
    try:
        worker = Worker(setup, events)
        worker.say("ready")
        for line in sys.stdin:
            worker.work(json.loads(line))
            worker.say("free")
    except BrokenPipeError:
        return 1  # nobody listens any more
    except ValueError as error:
        events.write(json.dumps({"event": "error", "message": str(error)}) + "\n")
        events.flush()
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
