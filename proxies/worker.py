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

from proxies.checkpoint import load_checkpoint, save_checkpoint, take
from proxies.gpt import StackedGPT
from proxies.sampling import validation_windows
from proxies.shards import Shard, open_shard
from proxies.tokenizer import Tokenizer
from proxies.train import Outcome, ProxyRun, Recipe, ValidationText, pick_device, train

EVENT_SECONDS = 0.5  # between two step events


class Worker:
    """What stays the same from job to job: shards in memory maps, validation windows, the recipe of most jobs."""

    def __init__(self, setup: Mapping[str, Any], events: TextIO):
        self.recipe = Recipe(**setup["recipe"])
        self.out = Path(setup["out"])
        self.device = setup["device"]
        self.compiled = bool(setup.get("compiled"))
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
        """Train one group, whose jobs have one recipe, in lockstep and write its files."""
        own = jobs[0].get("recipe")
        recipe = Recipe(**own) if own else self.recipe
        runs = [ProxyRun(job["weights"], self.pools(job), job["seed"]) for job in jobs]
        names = [job["run_id"] for job in jobs]

        def on_step(step: int) -> None:
            if time.monotonic() - self.said > EVENT_SECONDS:
                self.said = time.monotonic()
                self.say("step", run_ids=names, share=(step + 1) / recipe.steps)

        begin = [load_checkpoint(Path(job["begin"])) for job in jobs] if jobs[0].get("begin") else None
        outcomes = train(
            runs,
            recipe,
            self.validation,
            device=self.device,
            compile_model=self.compiled,
            on_step=on_step,
            begin=begin,
            looks=jobs[0].get("looks", 0),
            on_end=lambda model: self.keep(model, recipe, jobs),
        )
        for job, outcome in zip(jobs, outcomes, strict=True):
            write_whole(self.out / f"{job['run_id']}.json", self.record(job, recipe, outcome, len(jobs)))
            self.say("done", run_id=job["run_id"], diverged=outcome.diverged, seconds=outcome.seconds)

    def keep(self, model: StackedGPT, recipe: Recipe, jobs: list[dict[str, Any]]) -> None:
        """Leaves the trained proxies of the jobs that ask for it as checkpoints, before their runs are on record."""
        tokenizer = next(iter(self.shards.values())).meta.tokenizer
        for k, job in enumerate(jobs):
            if job.get("keep"):
                about = {key: job[key] for key in ("run_id", "weights", "pools", "seed")}
                about |= {"recipe": asdict(recipe), "tokenizer": tokenizer, "versions": self.versions}
                save_checkpoint(Path(job["keep"]), take(model, k, about))

    def pools(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """The fixed part of each domain that the run may read: the first tokens of a shuffled shard, or later ones."""
        starts = job.get("starts") or {}
        return {name: self.part(name, starts.get(name, 0), job["pools"][name]) for name in job["weights"]}

    def part(self, name: str, start: int, tokens: int) -> Any:
        return self.shards[name].train[start : start + tokens]

    def record(self, job: Mapping[str, Any], recipe: Recipe, outcome: Outcome, stacked: int) -> dict[str, Any]:
        shape = recipe.shape
        return {
            "run_id": job["run_id"],
            "role": job["role"],
            "seed": job["seed"],
            "params": shape.params,
            "params_total": shape.params_total,
            "tokens": recipe.tokens_seen,
            "flops": shape.flops_per_token * recipe.tokens_seen,
            "flops_6nd": 6 * shape.params * recipe.tokens_seen,
            "seconds": outcome.seconds,
            "eval_seconds": outcome.eval_seconds,
            "stacked": stacked,
            "weights": job["weights"],
            "pools": job["pools"],
            **({"starts": job["starts"]} if job.get("starts") else {}),
            "epochs": outcome.epochs,
            "losses": {
                name: {
                    "nats_per_token": finite(outcome.losses[name]),
                    "bits_per_byte": finite(outcome.bits_per_byte[name]),
                }
                for name in outcome.losses
            },
            "trajectory": [{key: finite(value) for key, value in point.items()} for point in outcome.trajectory],
            **({"along": [whole(point) for point in outcome.along]} if outcome.along else {}),
            **({"begin": Path(job["begin"]).stem} if job.get("begin") else {}),
            "diverged": outcome.diverged,
            "reason": outcome.reason,
            "device": device_name(self.device),
            "versions": self.versions,
            "recipe": asdict(recipe),
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


def whole(point: Mapping[str, Any]) -> dict[str, Any]:
    """Losses on the way, as JSON can hold them."""
    return {**point, "losses": {name: finite(loss) for name, loss in point["losses"].items()}}


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
