"""Stage design: the planned runs of a study, with the unique tokens that each proxy may draw on."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.config import AnyStudy, ProxyShape, Study
from mixopt.design import (
    EXTRA,
    HALF,
    REPEAT,
    REPETITION,
    SHORTER,
    PlannedRun,
    mixtures,
    natural_mixture,
    run_id,
    separating_runs,
)
from mixopt.errors import MixoptError
from mixopt.files import write_text
from mixopt.folder import Folder
from mixopt.progress import Progress

if TYPE_CHECKING:
    from proxies.launch import Job
    from proxies.shards import Shard
    from proxies.train import Recipe

FEW_SEQUENCES = 16  # a proxy pool below this many sequences says little about its domain
REPEATED = "uniform"  # the mixture trained again with other seeds: nearer to most optima than the natural one
RECIPE_VERSION = 1  # raise when proxies/ changes what a run comes to: old runs are then not reused


@dataclass(frozen=True)
class Plan:
    """Everything that the training of a study needs beside its shards."""

    runs: list[PlannedRun]
    jobs: list["Job"]  # in the order of runs
    recipe: "Recipe"
    natural: dict[str, float]
    full_pools: dict[str, float]  # domain -> unique tokens of the full run
    notes: list[str]


def make_plan(study: Study, shards: Mapping[str, "Shard"], study_path: Path) -> Plan:
    """The design of a study on its shards. Raises MixoptError when a pool is unknown or too small to train on."""
    assert study.full is not None
    pools = full_pools(study, shards, study_path)
    names = list(study.domains)
    prior = natural_mixture([pools[name] for name in names])
    recipe = make_recipe(study, vocab=next(iter(shards.values())).meta.vocab_size)
    available, notes = proxy_pools(study, shards, pools, recipe)
    towards = np.array([study.target_weights.get(name, 0.0) for name in names])
    rows = mixtures(prior, study.design.mixtures, seed=study.seed, towards=towards)
    rounded = [(role, {name: round(float(x), 8) for name, x in zip(names, w, strict=True)}) for role, w in rows]
    runs = [PlannedRun(role, weights, dict(available), study.seed) for role, weights in rounded]
    again = next(run for run in runs if run.role == REPEATED)
    runs += [PlannedRun(REPEAT, again.weights, again.pools, study.seed + 1 + i) for i in range(study.design.repeats)]
    runs += runs_of_repetition(study, runs, shards, recipe)
    jobs = [make_job(run, study, shards, recipe) for run in runs]
    return Plan(runs, jobs, recipe, dict(zip(names, prior.tolist(), strict=True)), pools, notes)


def runs_of_repetition(
    study: Study, runs: Sequence[PlannedRun], shards: Mapping[str, "Shard"], recipe: "Recipe"
) -> list[PlannedRun]:
    """Planned mixtures again: from other pools, to tell weight and repetition apart, and shorter, to tell what training
    tokens are worth. None where nothing is repeated, or where proxies don't repeat as the full run will."""
    if not study.design.repetition_matched or not study.design.repetition_runs:
        return []
    ordinary = [run for run in runs if run.role not in EXTRA]
    names = list(study.domains)
    W = np.array([[run.weights[name] for name in names] for run in ordinary])
    own = np.array([float(ordinary[0].pools[name] or 0) for name in names])
    there = np.array([float(shards[name].meta.train_tokens) for name in names])
    target = np.array([study.target_weights.get(name, 0.0) for name in names])
    found = separating_runs(
        W,
        own,
        tokens=recipe.tokens_seen,
        low=np.full(len(names), float(FEW_SEQUENCES * recipe.context)),
        high=there,
        relevance=1 / len(names) + target,
        count=study.design.repetition_runs,
    )
    again = []
    for row, pools in found:
        drawn = {name: int(pool) for name, pool in zip(names, pools, strict=True)}
        again.append(replace(ordinary[row], role=REPETITION, pools=drawn))
    # Shorter runs of the same mixtures, and first of the one whose noise is known.
    uniform = next(i for i, run in enumerate(ordinary) if run.role == REPEATED)
    rows = list(dict.fromkeys([uniform, *(row for row, _ in found)])) if found else []
    least = recipe.context + 1
    half = {name: max(round(pool * HALF), least) for name, pool in zip(names, own, strict=True)}
    shorter = rows[: study.design.shorter_runs]
    return again + [replace(ordinary[row], role=SHORTER, pools=half, length=HALF) for row in shorter]


def full_pools(study: Study, shards: Mapping[str, "Shard"], study_path: Path) -> dict[str, float]:
    """Unique tokens of every domain in the full run: as stated, or as read."""
    pools = {}
    for name, domain in study.domains.items():
        meta = shards[name].meta
        if domain.pool is None and meta.problems.get("capped"):
            raise MixoptError(
                f"{study_path}: domains.{name}.pool: is missing, and prepare.max_bytes kept part of the text out, so "
                f"its size is unknown: state the unique tokens that the full run can draw on"
            )
        pools[name] = float(domain.pool if domain.pool is not None else meta.tokens)
    return pools


def make_recipe(study: Study, *, vocab: int, params_scale: float = 1.0, tokens_scale: float = 1.0) -> "Recipe":
    """The study's proxy, or a larger one of the same kind; params_scale as in `scaled`."""
    proxy = study.proxy
    tokens = round(proxy.tokens * tokens_scale)
    return scaled(proxy, vocab=vocab, params_scale=params_scale, tokens=tokens, weight_decay=proxy.weight_decay)


def scaled(proxy: ProxyShape, *, vocab: int, params_scale: float, tokens: int, weight_decay: float) -> "Recipe":
    """How a model of so many times the proxy's parameters is trained: width grows, and the rate falls with it.

    params_scale: non-embedding parameters, in times the proxy's; met as nearly as whole heads allow.
    """
    from proxies.train import Recipe

    size = proxy.width // proxy.heads
    heads = max(1, round(proxy.heads * params_scale**0.5))
    return Recipe(
        vocab=vocab,
        layers=proxy.layers,
        width=heads * size,
        heads=heads,
        context=proxy.context,
        batch=proxy.batch,
        tokens=tokens,
        # Adam's best rate falls about as 1 / width (Yang 2022, arXiv:2203.03466).
        learning_rate=proxy.learning_rate * proxy.width / (heads * size),
        warmup=proxy.warmup,
        decay=proxy.decay,
        weight_decay=weight_decay,
    )


def proxy_pools(
    study: Study, shards: Mapping[str, "Shard"], pools: Mapping[str, float], recipe: "Recipe"
) -> tuple[dict[str, int], list[str]]:
    """Unique tokens that a proxy may read of each domain, and what to know about them.

    Matched: P d / D of a full pool P, with d proxy and D full tokens, so that w d / (P d / D) = w D / P: the
    proxy passes over its part as often as the full run over the whole (DESIGN section 3).
    """
    assert study.full is not None
    share = recipe.tokens_seen / study.full.tokens
    available, notes = {}, []
    for name in study.domains:
        there = shards[name].meta.train_tokens
        wanted = round(pools[name] * share) if study.design.repetition_matched else there
        if wanted <= recipe.context:
            raise MixoptError(
                f"domain {name!r}: its pool of {pools[name]:.3g} tokens shrinks to {wanted} for a proxy of "
                f"{recipe.tokens_seen:,} tokens, less than a sequence of {recipe.context + 1}: state its pool "
                "if the full run has more of it than was read, raise proxy.tokens, merge it with another domain, "
                "or set design.repetition_matched: false"
            )
        if wanted < FEW_SEQUENCES * recipe.context:
            notes.append(
                f"{name}: proxies see {wanted:,} unique tokens of it, few enough for chance to matter; "
                "more proxy.tokens would help"
            )
        if wanted > there:
            notes.append(
                f"{name}: repetition-matched proxies would need {wanted:,} unique tokens, {there:,} are there: proxies "
                f"repeat it {wanted / there:.1f} times as often as the full run will; more text would help"
            )
        available[name] = min(wanted, there)
    return available, notes


def make_job(
    run: PlannedRun,
    study: AnyStudy,
    shards: Mapping[str, "Shard"],
    recipe: "Recipe",
    *,
    starts: Mapping[str, int] | None = None,
) -> "Job":
    """A planned run under its id: the hash of all that decides what it comes to.

    recipe: of a run of length 1. starts: domain -> the token of its shard at which its pool begins; None: the first.
    """
    from proxies.launch import Job
    from proxies.train import pick_device

    own = replace(recipe, tokens=round(recipe.tokens * run.length))
    weights = {name: w for name, w in run.weights.items() if w > 0}
    pools = {name: int(run.pools[name] or shards[name].meta.train_tokens) for name in run.weights}
    decides = {
        "recipe": asdict(own),
        "version": RECIPE_VERSION,
        "weights": weights,
        "pools": {name: pools[name] for name in weights},
        "seed": run.seed,
        "texts": {name: shard.meta.content for name, shard in shards.items()},
        "validation_tokens": study.proxy.validation_tokens,
        "precision": "bfloat16" if pick_device(study.proxy.device).type == "cuda" else "float32",
        **({"starts": dict(starts)} if starts else {}),
    }
    job = Job(run_id(decides), run.role, dict(run.weights), pools, run.seed)
    return job if own == recipe else replace(job, recipe=own)


def write_design(plan: Plan, folder: Folder) -> None:
    """design.csv: one planned run a row."""
    names = list(plan.natural)
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["run_id", "role", "seed", "tokens", *(f"w/{n}" for n in names), *(f"pool/{n}" for n in names)])
    for run, job in zip(plan.runs, plan.jobs, strict=True):
        row: list[Any] = [job.run_id, run.role, run.seed, (job.recipe or plan.recipe).tokens_seen]
        table.writerow(row + [run.weights[n] for n in names] + [job.pools[n] for n in names])
    write_text(folder.design, out.getvalue())


def design(study: Study, shards: Mapping[str, "Shard"], study_path: Path, folder: Folder, progress: Progress) -> Plan:
    """Plans the runs and writes design.csv."""
    progress.stage("design")
    try:
        plan = make_plan(study, shards, study_path)
    except ValueError as error:
        raise MixoptError(f"{study_path}: {error}") from None
    write_design(plan, folder)
    for note in plan.notes:
        progress.note(note)
    different = len({tuple(np.round(list(run.weights.values()), 8)) for run in plan.runs})
    progress.finish(
        f"{len(plan.runs)} runs, {different} mixtures; proxies of {plan.recipe.shape.params:,} parameters, "
        f"{plan.recipe.tokens_seen:,} tokens"
    )
    return plan
