"""Parallel training of proxies: processes of one thread and one proxy on a CPU, one stack of proxies on a GPU."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from proxies.train import Recipe, pick_device

# Tokens that each proxy of a stack must train on for compiling to pay: on an H100 it takes as long as 800,000 of them
# and saves over a quarter of the time (`python benchmarks/stacking.py --device cuda`).
MIN_COMPILED_TOKENS = 3_000_000


@dataclass(frozen=True)
class Job:
    """One run to train. weights: domain -> share; pools: domain -> unique tokens of its shard that it may read.

    recipe: its own, None: the launch's. starts: domain -> the shard's token at which its pool begins, None: the first.
    init_from: the checkpoint to go on from, None: a fresh proxy. save_to: where to leave the trained proxy as a
    checkpoint, None: nowhere. n_evals: how often to evaluate before the end. texts: every text that it reads or is
    evaluated on -> hash of its tokens. evaluate: validation sets that the trained proxy in save_to is evaluated on, for
    the record that it has already; empty: it is trained.
    """

    run_id: str
    role: str
    weights: dict[str, float]
    pools: dict[str, int]
    seed: int
    recipe: Recipe | None = None
    starts: dict[str, int] | None = None
    init_from: str | None = None
    save_to: str | None = None
    n_evals: int = 0
    texts: dict[str, str] = field(default_factory=dict)
    evaluate: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Job":
        recipe, evaluate = value.pop("recipe"), tuple(value.pop("evaluate"))
        return cls(**value, recipe=recipe and Recipe(**recipe), evaluate=evaluate)


@dataclass(frozen=True)
class Setup:
    """What the jobs of a launch share. shards: every corpus that is trained or evaluated on -> its shard folder."""

    recipe: Recipe  # of every job that has none of its own; all have the same context
    shards: dict[str, Path]
    tokenizer: Path
    out: Path  # where runs are written, <run_id>.json each
    validation_tokens: int
    device: str
    versions: dict[str, str]
    threads: int = 1  # of each worker
    compiled: bool = False  # by torch.compile

    def to_json(self) -> str:
        return json.dumps(asdict(self), default=str)  # paths as text

    @classmethod
    def from_json(cls, text: str) -> "Setup":
        value: dict[str, Any] = json.loads(text)
        value["recipe"] = Recipe(**value["recipe"])
        value["shards"] = {name: Path(folder) for name, folder in value["shards"].items()}
        value |= {key: Path(value[key]) for key in ("tokenizer", "out")}
        return cls(**value)


Event = dict[str, Any]


def launch(
    jobs: Sequence[Job],
    setup: Setup,
    *,
    workers: int | None = None,
    stack: int = 32,
    on_event: Callable[[Event], None] | None = None,
) -> None:
    """Train all jobs; each finished run is a file in setup.out before its "done" event.

    workers: CPU processes; None: one a core. stack: proxies in lockstep on a GPU. on_event gets
    {"event": "step", "run_ids", "share"} and {"event": "done", "run_id", "diverged", "seconds"}.
    Raises ValueError for input that a worker refuses, RuntimeError when one dies. Whatever ends the
    launch, Ctrl-C among it, stops the workers; finished runs stay.
    """
    if not jobs:
        return
    setup.out.mkdir(parents=True, exist_ok=True)
    gpu = pick_device(setup.device).type == "cuda"
    groups, count, threads = arrange(jobs, setup.recipe, gpu=gpu, workers=workers, stack=stack)
    setup = replace(setup, threads=threads, compiled=gpu and worth_compiling(groups, setup.recipe))
    pool = [Process(setup) for _ in range(min(count, len(groups)))]
    try:
        drive(pool, groups, on_event or (lambda event: None))
    finally:
        for process in pool:
            process.stop()


def arrange(
    jobs: Sequence[Job], recipe: Recipe, *, gpu: bool, workers: int | None, stack: int
) -> tuple[list[list[Job]], int, int]:
    """Groups of jobs that train in lockstep, how many processes work on them, and threads of each.

    recipe: of jobs that have none of their own. Only jobs of one recipe, all fresh or none, go together. The longest
    come first: what ends a launch is then short, and no worker waits long for the last one.
    """
    size = stack if gpu else 1
    alike: dict[tuple[object, ...], list[Job]] = {}
    for job in sorted(jobs, key=lambda job: (job.recipe or recipe).flops, reverse=True):
        alike.setdefault((job.recipe or recipe, job.n_evals, job.init_from is None, job.evaluate), []).append(job)
    groups = [mine[i : i + size] for mine in alike.values() for i in range(0, len(mine), size)]
    return (groups, 1, os.cpu_count() or 1) if gpu else (groups, workers or cores(), 1)


def worth_compiling(groups: Sequence[Sequence[Job]], recipe: Recipe) -> bool:
    """Whether torch.compile saves more time than it takes: stacks of one recipe share what it makes."""
    stacks = Counter(group[0].recipe or recipe for group in groups)
    return max(own.tokens_seen * count for own, count in stacks.items()) >= MIN_COMPILED_TOKENS


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def drive(pool: Sequence["Process"], groups: Sequence[list[Job]], on_event: Callable[[Event], None]) -> None:
    """Hand the next group to whichever worker is free until all are done."""
    inbox: queue.Queue[tuple[Process, Event]] = queue.Queue()
    for process in pool:
        process.listen(inbox)
    waiting = list(groups)[::-1]
    busy = len(pool)
    while busy:
        process, event = inbox.get()
        kind = event["event"]
        if kind in ("ready", "free"):
            if waiting:
                process.give(waiting.pop())
            else:
                process.finish()
                busy -= 1
        elif kind == "error":
            raise ValueError(event["message"])
        elif kind == "died":
            raise RuntimeError(f"a training worker died (exit status {event['status']}): {process.last_words()}")
        else:
            on_event(event)


class Process:
    """A worker process and the threads-free half of its pipes."""

    def __init__(self, setup: Setup):
        self.stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in stop()
        self.finished = False
        self.child = subprocess.Popen(
            [sys.executable, "-m", "proxies.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.stderr,
            text=True,
            encoding="utf-8",
            env=environment(setup.threads),
        )
        assert self.child.stdin and self.child.stdout
        self.stdin, self.stdout = self.child.stdin, self.child.stdout
        self.send(setup.to_json())

    def send(self, line: str) -> None:
        try:
            self.stdin.write(line + "\n")
            self.stdin.flush()
        except BrokenPipeError:
            pass  # it has died: its listener reports that, with the exit status

    def give(self, group: Sequence[Job]) -> None:
        self.send(json.dumps([asdict(job) for job in group]))

    def finish(self) -> None:
        self.finished = True
        self.stdin.close()

    def listen(self, inbox: "queue.Queue[tuple[Process, Event]]") -> None:
        def pump() -> None:
            for line in self.stdout:
                inbox.put((self, json.loads(line)))
            status = self.child.wait()
            if not self.finished:
                inbox.put((self, {"event": "died", "status": status}))

        threading.Thread(target=pump, daemon=True).start()

    def last_words(self) -> str:
        self.stderr.seek(0)
        lines = self.stderr.read().decode(errors="replace").strip().splitlines()
        return " | ".join(lines[-3:]) or "it printed nothing (out of memory, perhaps: try fewer workers)"

    def stop(self) -> None:
        if self.child.poll() is None and not self.finished:
            self.child.kill()
        self.child.wait()
        for pipe in (self.stdin, self.stdout):
            # Unsent bytes to a killed worker, or a reader thread that was faster.
            with contextlib.suppress(BrokenPipeError, ValueError):
                pipe.close()
        self.stderr.close()


def environment(threads: int) -> dict[str, str]:
    """The worker finds these packages where its parent did, and its BLAS keeps to its share of the cores."""
    root = str(Path(__file__).resolve().parent.parent)
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    return os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


def versions() -> dict[str, str]:
    """Of what decides a run's numbers."""
    from importlib.metadata import version

    import torch

    return {"python": sys.version.split()[0], "numpy": version("numpy"), "torch": str(torch.__version__)}
