"""Experimental design of a repetition study: a grid of sizes, unique tokens, epochs and weight decays."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.errors import MixoptError
from mixopt.formatting import count_text, counted
from mixopt.repetition.config import RepetitionStudy
from mixopt.serialization import Json
from mixopt.study.jobs import (
    MIN_POOL_SEQUENCES,
    REPEAT,
    PlannedRun,
    design_row,
    make_job,
    natural_mixture,
    pool_columns,
    scaled,
)

if TYPE_CHECKING:
    from proxies.launch import Job
    from proxies.shards import Shard
    from proxies.train import Recipe

LADDER = "cell"  # the role of all others but repeats, as files hold it


@dataclass(frozen=True)
class LadderRun:
    """One planned run: a model of so many times the proxy's parameters, epochs x unique tokens long."""

    size: float
    unique: int  # tokens that are predicted, all domains together
    tokens: int
    weight_decay: float
    seed: int
    role: str = LADDER

    @property
    def epochs(self) -> float:
        return self.tokens / self.unique


@dataclass(frozen=True)
class LadderPlan:
    """Everything that the training of a study of repetition needs besides its shards."""

    runs: list[LadderRun]
    jobs: list["Job"]  # in the order of runs, each with its own recipe
    weights: dict[str, float]  # share of training tokens by domain
    notes: list[str]

    @property
    def recipe(self) -> "Recipe":
        """Any of the jobs': they have one context and vocabulary."""
        return recipe_of(self.jobs[0])

    @property
    def rows(self) -> list[Json]:
        """Of design.csv."""
        rows = []
        for run, job in zip(self.runs, self.jobs, strict=True):
            size = {"params": recipe_of(job).shape.params, "tokens": run.tokens, "unique": run.unique}
            more = {"epochs": f"{run.epochs:.6g}", "weight_decay": f"{run.weight_decay:g}"}
            rows.append(design_row(job, self.weights, **size, **more) | pool_columns(job))
        return rows

    @property
    def summary(self) -> str:
        repeats = sum(run.role == REPEAT for run in self.runs)
        return (
            f"{len(self.runs) - repeats} runs and {repeats} repeats; {len({run.size for run in self.runs})} sizes, "
            f"{len({run.unique for run in self.runs})} numbers of unique tokens, up to "
            f"{max(run.epochs for run in self.runs):g} epochs; {count_text(sum(run.tokens for run in self.runs))} "
            "tokens to train on"
        )


def recipe_of(job: "Job") -> "Recipe":
    """A ladder's jobs bring their own."""
    assert job.recipe is not None
    return job.recipe


def ladder_runs(study: RepetitionStudy, *, vocab: int) -> list[LadderRun]:
    """Every run of the ladder, and the repeats, smallest first.

    Unique tokens come in whole steps, so that whole epochs stay whole; matched tokens and compute come in whole steps
    too, and their unique tokens in whole sequences.
    """
    design, proxy = study.design, study.proxy
    step = proxy.batch * proxy.context
    key, levels = design.levels
    runs = []
    for decay in sorted(design.weight_decay):
        for size in sorted(design.sizes):
            shape = scaled(proxy, vocab=vocab, params_scale=size, tokens=step, weight_decay=decay).shape
            for level in levels:
                for epochs in sorted(design.epochs):
                    if key == "unique":
                        unique = max(1, round(level / step)) * step
                        tokens = max(1, round(epochs * unique / step)) * step
                    else:
                        wanted = level if key == "tokens" else level / shape.flops_per_token
                        tokens = max(1, round(wanted / step)) * step
                        unique = max(1, round(tokens / epochs / proxy.context)) * proxy.context
                    if design.max_tokens is None or tokens <= design.max_tokens:
                        runs.append(LadderRun(size, unique, tokens, decay, study.seed))
    return runs + list(repeat_runs(runs, study))


def repeat_runs(runs: Sequence[LadderRun], study: RepetitionStudy) -> Iterator[LadderRun]:
    """The longest run at every number of unique tokens again: of the middle size, and the weakest weight decay."""
    sizes = sorted({run.size for run in runs})
    middle, weakest = sizes[(len(sizes) - 1) // 2], min(run.weight_decay for run in runs)
    longest: dict[int, LadderRun] = {}
    for run in runs:
        if run.size == middle and run.weight_decay == weakest:
            longest[run.unique] = max(longest.get(run.unique, run), run, key=lambda one: one.tokens)
    for run in longest.values():
        for n in range(study.design.repeats):
            yield replace(run, seed=study.seed + 1 + n, role=REPEAT)


def make_ladder(study: RepetitionStudy, shards: Mapping[str, "Shard"], study_path: Path) -> LadderPlan:
    """The ladder on a study's shards. Raises MixoptError when a run needs more text than there is."""
    design, proxy = study.design, study.proxy
    weights = shares_of(study, shards)
    runs = ladder_runs(study, vocab=next(iter(shards.values())).meta.vocab_size)
    if not runs:
        raise MixoptError(f"{study_path}: design.max_tokens: leaves no run: raise it, or lower the ladder")
    if len(set(runs)) < len(runs):
        step = proxy.batch * proxy.context
        raise MixoptError(
            f"{study_path}: design: some runs are the same in whole steps of {step:,} tokens: set them further apart"
        )
    most = max(run.unique for run in runs)
    widest = pools_of(most, weights, proxy.context)
    for name, pool in widest.items():
        there = shards[name].meta.train_tokens
        if pool > there:
            raise MixoptError(
                f"{study_path}: design.{design.levels[0]}: runs of {most:,} unique tokens need {pool:,} of "
                f"{name!r}, which has {there:,} to train on: give more text, raise prepare.max_bytes if it kept some "
                f"out, or leave out the most unique runs (up to {floor(there * most / pool):,} would do)"
            )
    jobs = [ladder_job(run, study, shards, weights, widest) for run in runs]
    return LadderPlan(runs, jobs, weights, design_notes(runs, jobs, study))


def shares_of(study: RepetitionStudy, shards: Mapping[str, "Shard"]) -> dict[str, float]:
    """Share of training tokens by domain: as stated, or as much of each as there is."""
    if study.weights is not None:
        return dict(study.weights)
    there = [float(domain.pool or shards[name].meta.tokens) for name, domain in study.domains.items()]
    return {name: round(float(w), 8) for name, w in zip(study.domains, natural_mixture(there), strict=True)}


def pools_of(unique: int, weights: Mapping[str, float], context: int) -> dict[str, int]:
    """Tokens of each shard that hold so many unique ones to predict: one more, since the first is only given."""
    return {name: max(1, round(unique * w / context)) * context + 1 for name, w in weights.items()}


def ladder_job(
    run: LadderRun,
    study: RepetitionStudy,
    shards: Mapping[str, "Shard"],
    weights: dict[str, float],
    widest: Mapping[str, int],
) -> "Job":
    """A run under its id. Repeats read other text, where there is enough: which text is chance as well."""
    recipe = recipe_of_run(run, study, next(iter(shards.values())).meta.vocab_size)
    pools = pools_of(run.unique, weights, study.proxy.context)
    starts = None
    if run.role == REPEAT:  # after the text of all runs and earlier repeats; from 0 where there is no more
        earlier = run.seed - study.seed - 1
        after = {name: widest[name] + earlier * pool for name, pool in pools.items()}
        fits = {name: after[name] + pool <= shards[name].meta.train_tokens for name, pool in pools.items()}
        starts = {name: start if fits[name] else 0 for name, start in after.items()}
    job = make_job(PlannedRun(run.role, weights, dict(pools), run.seed), study, shards, recipe, starts=starts)
    return replace(job, recipe=recipe, starts=starts)


def recipe_of_run(run: LadderRun, study: RepetitionStudy, vocab: int) -> "Recipe":
    return scaled(study.proxy, vocab=vocab, params_scale=run.size, tokens=run.tokens, weight_decay=run.weight_decay)


def design_notes(runs: Sequence[LadderRun], jobs: Sequence["Job"], study: RepetitionStudy) -> list[str]:
    notes = []
    fewest = min(run.unique for run in runs)
    if fewest < MIN_POOL_SEQUENCES * study.proxy.context:
        notes.append(
            f"runs of {fewest:,} unique tokens see {fewest // study.proxy.context} sequences: their noise is large"
        )
    if not any(run.epochs < 1.01 for run in runs):
        notes.append("no run sees its text only once: the value of new tokens then rests on the fitted laws alone")
    same = [
        job for run, job in zip(runs, jobs, strict=True) if run.role == REPEAT and not all((job.starts or {}).values())
    ]
    if same:
        notes.append(
            f"{counted(len(same), 'repeat')} had to read the same text as the other runs, since there is no more: the "
            "noise is underestimated; give more text"
        )
    return notes
