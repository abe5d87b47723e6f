"""Training of the planned runs that are not on disk yet, in parallel, with progress."""

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.errors import MixoptError
from mixopt.formatting import counted, listed
from mixopt.study.config import AnyStudy
from mixopt.study.jobs import finished_run
from mixopt.study.layout import Folder
from mixopt.study.progress import Progress

if TYPE_CHECKING:
    from proxies.launch import Event, Job
    from proxies.shards import Shard
    from proxies.train import Recipe

BYTES_PER_PARAMETER = 4
MAX_WEIGHTS = 1 << 30  # bytes of all the trained proxies of a study that are kept without being asked for


def train_missing(
    jobs: Sequence["Job"],
    recipe: "Recipe",
    study: AnyStudy,
    shards: Mapping[str, "Shard"],
    folder: Folder,
    out: Path,
    progress: Progress,
    *,
    title: str = "train",
) -> None:
    """Train the jobs that have no file in out yet, with the recipe or their own, and evaluate those that lack a loss.
    Whatever stops it, finished runs stay and are not trained again.

    Raises MixoptError for a finished run that isn't as planned, for what a worker refuses, or when one dies.
    """
    from proxies.launch import Setup, launch, versions
    from proxies.shards import check_shard

    out.mkdir(parents=True, exist_ok=True)
    recipes = {job.run_id: job.recipe or recipe for job in jobs}
    keep = keeps_weights(recipes.values(), study)
    left = {job.run_id: to_do(job, out, folder.weights, keep=keep) for job in jobs}
    missing = [job for job in left.values() if job and not job.evaluate]
    evaluated = [job for job in left.values() if job and job.evaluate]
    for job in jobs:
        if left[job.run_id] is None:
            finished_run(out / f"{job.run_id}.json", job, recipe)  # a bad record would waste hours of training
    new = listed(list(dict.fromkeys(name for job in evaluated for name in job.evaluate)))
    if evaluated:
        progress.note(
            f"{counted(len(evaluated), 'finished run')} to evaluate on {new} with the weights in weights/; "
            "none of them is trained again"
        )
    watch = Watch(recipes, recipes.keys() - {job.run_id for job in missing}, progress)
    progress.stage(title, total=watch.total)
    watch.report()
    setup = Setup(
        recipe=recipe,
        shards={name: shard.folder.resolve() for name, shard in shards.items()},
        tokenizer=folder.tokenizer.resolve(),
        out=out.resolve(),
        validation_tokens=study.proxy.validation_tokens,
        device=study.proxy.device,
        versions=versions(),
    )
    try:
        if missing or evaluated:  # a damaged shard would give runs that look good
            for shard in shards.values():
                check_shard(shard.folder)
        launch(
            [*missing, *evaluated], setup, workers=study.proxy.workers, stack=study.proxy.stack, on_event=watch.on_event
        )
    except (ValueError, RuntimeError) as error:
        raise MixoptError(f"training stopped: {error}; finished runs are kept in {out}") from None
    progress.finish(watch.summary(len(missing)) + (f", {len(evaluated)} evaluated on {new}" if evaluated else ""))


def keeps_weights(recipes: Iterable["Recipe"], study: AnyStudy) -> bool:
    """Whether trained proxies are left in weights/: as the study file wants it, or where they are small together."""
    size = sum(BYTES_PER_PARAMETER * recipe.shape.params_total for recipe in recipes)
    return size <= MAX_WEIGHTS if study.proxy.keep_weights is None else study.proxy.keep_weights


def to_do(job: "Job", out: Path, weights: Path, *, keep: bool = False) -> "Job | None":
    """What is left of a job: all of it, its evaluation on texts that its record lacks, or nothing.

    weights: the folder of trained proxies. keep: leave it there, so that a text held out later is evaluated without
    training. Bases have a place of their own, and evaluations before the end of training can't be made up for.
    """
    from proxies.record import read_record

    path, checkpoint = out / f"{job.run_id}.json", weights / f"{job.run_id}.npz"
    extra = not job.save_to and not job.n_evals
    if path.is_file():
        lacking = []
        with suppress(ValueError):  # of a record that isn't whole: refused when it is read as a planned run
            lacking = read_record(path).renamed(job.texts).unevaluated(job.texts)
        if not lacking:
            return None
        if extra and checkpoint.is_file():
            return replace(job, evaluate=tuple(lacking), save_to=str(checkpoint.resolve()))
    return replace(job, save_to=str(checkpoint.resolve())) if extra and keep else job


class Watch:
    """Workers' events as progress: FLOPs done of all runs', runs done, tokens a second."""

    def __init__(self, recipes: Mapping[str, "Recipe"], finished: Collection[str], progress: Progress):
        self.recipes, self.finished, self.progress = recipes, finished, progress  # finished: before this launch
        self.done = set(finished)
        self.running: dict[str, float] = {}  # run -> share trained
        self.started = time.monotonic()
        self.total = sum(recipe.flops for recipe in recipes.values())

    @property
    def flops(self) -> float:
        """FLOPs done, those of running runs included."""
        whole = sum(self.recipes[run].flops for run in self.done)
        return whole + sum(share * self.recipes[run].flops for run, share in self.running.items())

    def on_event(self, event: "Event") -> None:
        if event["event"] == "step":
            self.running |= dict.fromkeys(event["run_ids"], event["share"])
        elif event["event"] == "done":
            self.running.pop(event["run_id"], None)
            self.done.add(event["run_id"])
            if event["diverged"]:
                self.progress.note(f"run {event['run_id']} diverged: it is kept on record and left out of every fit")
        self.report()

    def rate(self) -> float:
        """Tokens a second of all workers together."""
        whole = sum(self.recipes[run].tokens_seen for run in self.done if run not in self.finished)
        running = sum(share * self.recipes[run].tokens_seen for run, share in self.running.items())
        return (whole + running) / max(time.monotonic() - self.started, 1e-9)

    def report(self) -> None:
        speed = f", {self.rate():,.0f} tokens/s" if self.running or len(self.done) > len(self.finished) else ""
        self.progress.update(self.flops, f"{len(self.done)} of {len(self.recipes)} runs{speed}")

    def summary(self, missing: int) -> str:
        kept = f", {len(self.finished)} were there" if self.finished else ""
        return f"{missing} runs trained{kept}" + (f", {self.rate():,.0f} tokens/s" if missing else "")
