"""Stage train: the planned runs that aren't on disk yet, side by side."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.config import Study
from mixopt.errors import MixoptError
from mixopt.folder import Folder
from mixopt.progress import Progress

if TYPE_CHECKING:
    from proxies.launch import Event, Job
    from proxies.shards import Shard
    from proxies.train import Recipe


def train_missing(
    jobs: Sequence["Job"],
    recipe: "Recipe",
    study: Study,
    shards: Mapping[str, "Shard"],
    folder: Folder,
    out: Path,
    progress: Progress,
    *,
    title: str = "train",
) -> None:
    """Train the jobs that have no file in out yet. Whatever stops it, finished runs stay and are not trained again.

    Raises MixoptError for what a worker refuses, or when one dies.
    """
    from proxies.launch import Setup, launch, versions

    out.mkdir(parents=True, exist_ok=True)
    missing = [job for job in jobs if not (out / f"{job.run_id}.json").is_file()]
    progress.stage(title, total=len(jobs) * recipe.tokens_seen)
    watch = Watch(len(jobs), len(jobs) - len(missing), recipe.tokens_seen, progress)
    watch.tell()
    setup = Setup(
        recipe=recipe,
        texts={name: shard.folder.resolve() for name, shard in shards.items()},
        tokenizer=folder.tokenizer.resolve(),
        out=out.resolve(),
        validation_tokens=study.proxy.validation_tokens,
        device=study.proxy.device,
        versions=versions(),
    )
    try:
        launch(missing, setup, workers=study.proxy.workers, stack=study.proxy.stack, on_event=watch.hear)
    except (ValueError, RuntimeError) as error:
        raise MixoptError(f"training stopped: {error}; finished runs are kept in {out}") from None
    progress.finish(watch.summary(len(missing)))


class Watch:
    """Turns the workers' events into progress: runs done, tokens a second."""

    def __init__(self, runs: int, done: int, tokens: int, progress: Progress):
        self.runs, self.done, self.tokens, self.progress = runs, done, tokens, progress
        self.running: dict[str, float] = {}  # run -> share trained
        self.had = done
        self.started = time.monotonic()
        self.diverged: list[str] = []

    @property
    def trained(self) -> float:
        """Runs' worth of work, running ones included."""
        return self.done + sum(self.running.values())

    def hear(self, event: "Event") -> None:
        if event["event"] == "step":
            self.running |= dict.fromkeys(event["run_ids"], event["share"])
        elif event["event"] == "done":
            self.running.pop(event["run_id"], None)
            self.done += 1
            if event["diverged"]:
                self.diverged.append(event["run_id"])
                self.progress.note(f"run {event['run_id']} diverged: it is kept on record and left out of every fit")
        self.tell()

    def rate(self) -> float:
        """Tokens a second of all workers together."""
        return (self.trained - self.had) * self.tokens / max(time.monotonic() - self.started, 1e-9)

    def tell(self) -> None:
        speed = f", {self.rate():,.0f} tokens/s" if self.trained > self.had else ""
        self.progress.update(self.trained * self.tokens, f"{self.done} of {self.runs} runs{speed}")

    def summary(self, missing: int) -> str:
        kept = f", {self.had} were there" if self.had else ""
        return f"{missing} runs trained{kept}" + (f", {self.rate():,.0f} tokens/s" if missing else "")
