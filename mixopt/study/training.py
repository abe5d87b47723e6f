"""Training of the planned runs that are not on disk yet, in parallel, with progress."""

import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.errors import MixoptError
from mixopt.study.config import AnyStudy
from mixopt.study.jobs import finished_run
from mixopt.study.layout import Folder
from mixopt.study.progress import Progress

if TYPE_CHECKING:
    from proxies.launch import Event, Job
    from proxies.shards import Shard
    from proxies.train import Recipe


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
    """Train the jobs that have no file in out yet, with the recipe or their own. Whatever stops it, finished runs stay
    and are not trained again.

    Raises MixoptError for a finished run that isn't as planned, for what a worker refuses, or when one dies.
    """
    from proxies.launch import Setup, launch, versions
    from proxies.shards import check_shard

    out.mkdir(parents=True, exist_ok=True)
    missing = list({job.run_id: job for job in jobs if not (out / f"{job.run_id}.json").is_file()}.values())
    recipes = {job.run_id: job.recipe or recipe for job in jobs}
    left = {job.run_id for job in missing}
    for job in jobs:
        if job.run_id not in left:
            finished_run(out / f"{job.run_id}.json", job, recipe)  # a bad record would waste hours of training
    watch = Watch(recipes, recipes.keys() - left, progress)
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
        if missing:  # a damaged shard would give runs that look good
            for shard in shards.values():
                check_shard(shard.folder)
        launch(missing, setup, workers=study.proxy.workers, stack=study.proxy.stack, on_event=watch.on_event)
    except (ValueError, RuntimeError) as error:
        raise MixoptError(f"training stopped: {error}; finished runs are kept in {out}") from None
    progress.finish(watch.summary(len(missing)))


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
