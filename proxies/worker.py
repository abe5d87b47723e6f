"""Worker process: reads groups of runs from standard input, trains them, writes a JSON file a run.

The protocol is JSON lines. In: a setup object, then lists of jobs. Out: {"event": "ready" | "step" | "done" | "error"}.
A worker whose parent is gone finds its pipe closed at its next event and ends, so a killed study leaves
no process behind; a finished run is already on disk by then.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch

from proxies.checkpoint import load_checkpoint, put, save_checkpoint, take
from proxies.files import WriteError
from proxies.gpt import StackedGPT
from proxies.launch import Job, Setup
from proxies.record import Loss, RunRecord, read_record, write_record
from proxies.sampling import validation_windows
from proxies.shards import Shard, open_shard
from proxies.tokenizer import Tokenizer
from proxies.train import (
    Outcome,
    ProxyRun,
    Recipe,
    ValidationSet,
    divergence,
    evaluate,
    per_token_and_byte,
    pick_device,
    train,
)

EVENT_SECONDS = 0.5  # between two step events


class Worker:
    """What stays the same from job to job: shards in memory maps and the windows of the validation sets."""

    def __init__(self, setup: Setup, events: TextIO):
        self.setup, self.events = setup, events
        self.shards = {name: open_shard(folder) for name, folder in setup.shards.items()}
        count = max(1, setup.validation_tokens // setup.recipe.context)
        tokenizer = open_tokenizer(str(setup.tokenizer), next(iter(self.shards.values())).meta.end)
        self.validation = {
            name: validation_set(name, shard, tokenizer, setup.recipe, count) for name, shard in self.shards.items()
        }
        self.last_step_event = 0.0  # seconds

    def emit(self, event: str, **more: Any) -> None:
        self.events.write(json.dumps({"event": event, **more}) + "\n")
        self.events.flush()

    def work(self, jobs: Sequence[Job]) -> None:
        """Train one group, whose jobs have one recipe, in lockstep and write its files."""
        recipe = jobs[0].recipe or self.setup.recipe
        if jobs[0].evaluate:
            self.evaluate(jobs, recipe)
            return
        names = [job.run_id for job in jobs]

        def on_step(step: int) -> None:
            if time.monotonic() - self.last_step_event > EVENT_SECONDS:
                self.last_step_event = time.monotonic()
                self.emit("step", run_ids=names, share=(step + 1) / recipe.steps)

        outcomes = train(
            [ProxyRun(job.weights, self.pools(job), job.seed) for job in jobs],
            recipe,
            self.validation,
            device=self.setup.device,
            compile_model=self.setup.compiled,
            on_step=on_step,
            init_from=[load_checkpoint(Path(str(job.init_from))) for job in jobs] if jobs[0].init_from else None,
            n_evals=jobs[0].n_evals,
            on_end=lambda model: self.save_checkpoints(model, recipe, jobs),
        )
        for job, outcome in zip(jobs, outcomes, strict=True):
            write_record(self.setup.out / f"{job.run_id}.json", self.record(job, recipe, outcome, len(jobs)))
            self.emit("done", run_id=job.run_id, diverged=outcome.diverged, seconds=outcome.seconds)

    def evaluate(self, jobs: Sequence[Job], recipe: Recipe) -> None:
        """Adds the losses of trained proxies on more validation sets to their records."""
        checkpoints = [load_checkpoint(Path(str(job.save_to)), run_id=job.run_id) for job in jobs]
        model = StackedGPT(recipe.shape, [job.seed for job in jobs])
        put(model, checkpoints)
        validation = {name: self.validation[name] for name in jobs[0].evaluate}
        sums = evaluate(model.to(pick_device(self.setup.device)), validation)
        for k, job in enumerate(jobs):
            record = read_record(path := self.setup.out / f"{job.run_id}.json").renamed(job.texts)
            nats, bits = per_token_and_byte(k, sums, validation)
            losses = record.losses | {name: Loss(nats[name], bits[name]) for name in validation}
            texts = record.texts | {name: job.texts[name] for name in validation}
            reason = record.reason or divergence(nats, (), vocab=recipe.vocab)
            record = replace(record, losses=losses, texts=texts, reason=reason, diverged=reason is not None)
            write_record(path, record)
            self.emit("done", run_id=job.run_id, diverged=record.diverged, seconds=0.0)

    def save_checkpoints(self, model: StackedGPT, recipe: Recipe, jobs: Sequence[Job]) -> None:
        """Leaves the trained proxies of the jobs that ask for it as checkpoints, before their runs are on record."""
        tokenizer = next(iter(self.shards.values())).meta.tokenizer
        for k, job in enumerate(jobs):
            if job.save_to:
                about = {key: getattr(job, key) for key in ("run_id", "weights", "pools", "seed")}
                about |= {"recipe": asdict(recipe), "tokenizer": tokenizer, "versions": self.setup.versions}
                save_checkpoint(Path(job.save_to), take(model, k, about))

    def pools(self, job: Job) -> dict[str, np.ndarray]:
        """The fixed part of each domain that the run may read: the first tokens of a shuffled shard, or later ones."""
        starts = {name: (job.starts or {}).get(name, 0) for name in job.weights}
        return {name: self.shards[name].train[start : start + job.pools[name]] for name, start in starts.items()}

    def record(self, job: Job, recipe: Recipe, outcome: Outcome, stacked: int) -> RunRecord:
        shape, tokens, device = recipe.shape, recipe.tokens_seen, pick_device(self.setup.device)
        return RunRecord(
            run_id=job.run_id,
            role=job.role,
            seed=job.seed,
            params=shape.params,
            params_total=shape.params_total,
            tokens=tokens,
            flops=recipe.flops,
            flops_6nd=6 * shape.params * tokens,
            seconds=outcome.seconds,
            eval_seconds=outcome.eval_seconds,
            stacked=stacked,
            weights=job.weights,
            pools=dict(job.pools),
            starts=job.starts,
            epochs=outcome.epochs,
            losses={name: Loss(loss, outcome.bits_per_byte[name]) for name, loss in outcome.losses.items()},
            texts=job.texts,
            trajectory=outcome.trajectory,
            eval_history=outcome.eval_history,
            init_from=Path(job.init_from).stem if job.init_from else None,
            diverged=outcome.diverged,
            reason=outcome.reason,
            device=torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            versions=self.setup.versions,
            recipe=asdict(recipe),
        )


def open_tokenizer(path: str, end: int) -> Tokenizer:
    import tokenizers

    return Tokenizer(tokenizers.Tokenizer.from_file(path), end)


def validation_set(name: str, shard: Shard, tokenizer: Tokenizer, recipe: Recipe, count: int) -> ValidationSet:
    try:
        windows = validation_windows(shard.val, context=recipe.context, count=count)
    except ValueError as error:
        raise ValueError(f"{name}: {error}; give it more text or a larger val_fraction") from None
    # The first token of a window is given, not predicted, so its bytes don't count.
    return ValidationSet(windows, tokenizer.bytes_of(windows[:, 1:].reshape(-1)))


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    events = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # a library that prints must not break the protocol
    setup = Setup.from_json(sys.stdin.readline())
    torch.set_num_threads(setup.threads)
    try:
        worker = Worker(setup, events)
        worker.emit("ready")
        for line in sys.stdin:
            worker.work([Job.from_json(job) for job in json.loads(line)])
            worker.emit("free")
    except BrokenPipeError:
        return 1  # nobody listens any more
    except (ValueError, OSError) as error:
        remedy = ": make room, or choose another place with --out" if isinstance(error, WriteError) else ""
        events.write(json.dumps({"event": "error", "message": f"{error}{remedy}"}) + "\n")
        events.flush()
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
