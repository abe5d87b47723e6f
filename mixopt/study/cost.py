"""Cost of a study's runs before they are trained: tokens, FLOPs, time, disk and memory, by size."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from mixopt.formatting import bytes_text, count_text, counted, duration, flops, two_digits
from mixopt.report.document import Document, Section, table_of
from mixopt.study.prepare import vocabulary
from mixopt.study.training import BYTES_PER_PARAMETER, keeps_weights, to_do

if TYPE_CHECKING:
    from mixopt.study.kind import AnyPlan, Session
    from proxies.train import Recipe

NEAR = 2.0  # finished runs of up to so many times the parameters say how fast a size trains; else steps are measured
TIMED = 0.3  # seconds of training that are measured of a size, where two steps don't take longer
INTERPRETER = 360e6  # bytes of a worker without a proxy: Python, PyTorch and what they load
STATES = 4  # numbers a parameter: itself, its gradient and Adam's two moments
KEPT_BY_LAYER = 34, 16  # numbers a token, layer and unit of width in training, and (of one layer) in evaluation
KEPT_BY_LOGITS = 3, 2  # numbers a token and entry of the vocabulary in training and in evaluation


@dataclass(frozen=True)
class SizeCost:
    """Runs of one size. tokens, flops, seconds: of those to train, now or later. seconds: None where unknown."""

    params: int
    new: int
    kept: int
    later: int  # counted from the study file: planned once the others are there
    tokens: int
    flops: float
    seconds: float | None


@dataclass(frozen=True)
class Cost:
    """What is left of a study. weights, shards, free: bytes, shards 0 where there are none. memory: bytes a worker."""

    sizes: Sequence[SizeCost]
    full_flops: float | None
    planned: bool
    weights: int
    shards: int
    free: int
    memory: float
    workers: int
    device: str  # as the study file has it
    measured: bool  # whether steps were measured, for want of finished runs of a size

    def total(self, key: str) -> float:
        return sum(getattr(size, key) or 0 for size in self.sizes)

    def share(self, flops: float) -> str:
        """FLOPs in those of the full run, as text; empty where it isn't known."""
        return f"{two_digits(100 * flops / self.full_flops)}%" if self.full_flops else ""

    @property
    def sentence(self) -> str:
        """'9 runs to train, 3 are there: 1.2M tokens, 3.40e11 FLOPs (0.2% of the full run's), about 40 s'."""
        kept, later = int(self.total("kept")), int(self.total("later"))
        text = f"{counted(int(self.total('new')), 'run')} to train" + (
            f" and about {later} planned after them" if later else ""
        )
        text += f", {kept} there" if kept else ""
        if self.new:
            work = self.total("flops")
            text += f": {count_text(self.total('tokens'))} tokens, {flops(work)} FLOPs"
            text += f" ({self.share(work)} of the full run's)" if self.full_flops else ""
            text += f", about {duration(self.total('seconds'))}" if self.is_timed else ""
        return text

    @property
    def new(self) -> bool:
        """Whether anything is left to train."""
        return any(size.new or size.later for size in self.sizes)

    @property
    def is_timed(self) -> bool:
        return all(size.seconds is not None for size in self.sizes)


def cost_of(session: Session, plan: AnyPlan | None, *, timed: bool | None = None) -> Cost:
    """Of the plan's runs that aren't there and of those that will follow them; None: by the study file alone.

    timed: whether training steps may be measured, None: on a CPU. Raises MixoptError for a tokenizer or a checkpoint
    that can't be read.
    """
    study, folder = session.study, session.folder
    new: list[Recipe] = []
    kept: list[Recipe] = []
    if plan is not None:
        for jobs, out in session.kind.launches(session, plan):
            for job in {job.run_id: job for job in jobs}.values():
                left = to_do(job, out, folder.weights)
                there = (left is None or left.evaluate) and (job.save_to is None or Path(job.save_to).is_file())
                (kept if there else new).append(job.recipe or plan.recipe)
    later = session.kind.unplanned(session, plan.recipe.vocab if plan else vocabulary(study, session.path), plan)
    if plan is None:
        new, later = later, []
    clock = Clock(session, timed=timed)
    sizes = []
    for params in sorted({recipe.shape.params for recipe in (*new, *kept, *later)}):
        now, there, then = ([one for one in part if one.shape.params == params] for part in (new, kept, later))
        work = now + then
        tokens, operations = sum(one.tokens_seen for one in work), sum(one.flops for one in work)
        sizes.append(SizeCost(params, len(now), len(there), len(then), tokens, operations, clock.seconds(work)))
    every = [*new, *kept, *later]
    weights = [one for one in (*new, *later) if keeps_weights(every, study)]
    return Cost(
        sizes,
        study.full_flops,
        plan is not None,
        sum(BYTES_PER_PARAMETER * one.shape.params_total for one in weights),
        sum(path.stat().st_size for path in folder.shards.rglob("*") if path.is_file()),
        shutil.disk_usage(next(one for one in folder.shards.resolve().parents if one.exists())).free,
        max(memory_of(one, clock.stack) for one in every) if every else 0.0,
        clock.workers,
        study.proxy.device,
        clock.measured,
    )


class Clock:
    """How long runs take here: by the finished ones of about their size in the folder, else by measured steps."""

    def __init__(self, session: Session, *, timed: bool | None = None):
        from proxies.launch import cores
        from proxies.record import read_record
        from proxies.train import pick_device

        self.proxy, self.measured, self.device = session.study.proxy, False, ""
        with suppress(ValueError):  # a GPU that isn't there
            self.device = pick_device(self.proxy.device).type
        cpu = self.device != "cuda" and not self.proxy.device.startswith("cuda")
        self.workers, self.stack = (self.proxy.workers or cores(), 1) if cpu else (1, self.proxy.stack)
        self.timed = bool(self.device) and (cpu if timed is None else timed)
        self.speeds: dict[int, list[float]] = defaultdict(list)  # non-embedding parameters -> seconds a FLOP
        for path in session.folder.runs.glob("[!.]*.json"):
            with suppress(ValueError):  # damaged: refused by who needs it
                run = read_record(path)
                if run.seconds and run.flops and run.params and (run.device == "cpu") == cpu:
                    self.speeds[run.params].append(run.seconds / run.flops / (1 if cpu else run.stacked or 1))

    def seconds(self, recipes: Sequence[Recipe]) -> float | None:
        """Of runs with these recipes, trained side by side. None where no speed is known."""
        total = longest = 0.0
        for recipe in recipes:
            speed = self.speed(recipe)
            if speed is None:
                return None
            total, longest = total + speed * recipe.flops, max(longest, speed * recipe.flops)
        return max(total / self.workers, longest)

    def speed(self, recipe: Recipe) -> float | None:
        """Seconds a FLOP of one run, however many train side by side."""
        params = recipe.shape.params
        near = min(self.speeds, key=lambda one: max(one / params, params / one), default=None)
        if near is None or max(near / params, params / near) > NEAR:
            if not self.timed:
                return None
            self.speeds[near := params] = [measured_speed(recipe, self.proxy.device, self.stack, warm=self.measured)]
            self.measured = True
        return median(self.speeds[near])


def measured_speed(recipe: Recipe, device: str, stack: int, *, warm: bool) -> float:
    """Seconds a FLOP of a proxy in a stack of so many, from a few steps on random tokens.

    warm: whether steps were taken before in this process: the first ones load libraries.
    """
    from proxies.train import ProxyRun, train

    text = np.random.default_rng(0).integers(0, recipe.vocab, 4 * (recipe.context + 1))
    run = ProxyRun({"text": 1.0}, {"text": text}, 0)

    def seconds(steps: int) -> float:
        own = replace(recipe, tokens=steps * recipe.batch * recipe.context)
        return train([run] * stack, own, {}, device=device, compile_model=False)[0].seconds / steps

    one = seconds(1) if warm else min(seconds(1), seconds(1))
    taken = one if one > TIMED / 2 else seconds(min(50, int(TIMED / one)))
    return taken / (stack * recipe.batch * recipe.context * recipe.shape.flops_per_token)


def memory_of(recipe: Recipe, stack: int) -> float:
    """Bytes of a worker, within a third or so: what PyTorch loads, the proxies, and the larger of what a training step
    and an evaluation hold (in 32-bit numbers, as on a CPU)."""
    from proxies.train import EVAL_BATCH

    shape, (by_layer, by_width), logits = recipe.shape, KEPT_BY_LAYER, KEPT_BY_LOGITS
    step = recipe.batch * (logits[0] * shape.vocab + by_layer * shape.layers * shape.width)
    evaluation = EVAL_BATCH * (logits[1] * shape.vocab + by_width * shape.width)
    return INTERPRETER + 4 * stack * (STATES * shape.params_total + shape.context * max(step, evaluation))


def cost_document(cost: Cost) -> Document:
    """The cost as a table by size, and in sentences what it takes of the machine."""
    cells = {
        "Parameters": lambda size: f"{size.params:,}",
        "To train": lambda size: str(size.new),
        "There": lambda size: str(size.kept),
        "Planned after them": lambda size: str(size.later or ""),
        "Tokens": lambda size: count_text(size.tokens),
        "FLOPs": lambda size: flops(size.flops),
        "Of the full run": lambda size: cost.share(size.flops),
        "Here": lambda size: "" if size.seconds is None else duration(size.seconds),
    }
    disk = f"{bytes_text(cost.shards)} of shards are there" if cost.shards else "shards are still to be prepared"
    disk += f", {bytes_text(cost.weights)} of trained proxies will be kept" if cost.weights else ""
    how = "measured training steps" if cost.measured else "finished runs of about the same size"
    summary = [
        f"Disk: {disk}; {bytes_text(cost.free)} are free.",
        f"Memory: about {bytes_text(cost.memory)} for each of {counted(cost.workers, 'worker')}.",
    ]
    if cost.new:
        summary.append(
            f"Time: from {how}, for training alone."
            if cost.is_timed
            else f"Time: not known, device {cost.device!r} isn't here."
        )
    if not cost.planned:
        summary.insert(0, "Counted from the study file: no text is prepared yet.")
    table = table_of("Runs by size", cost.sizes, cells).without_empty_columns()
    return Document("Cost", f"{cost.sentence}.", summary, sections=[Section("cost", "Cost", [table], brief=True)])
