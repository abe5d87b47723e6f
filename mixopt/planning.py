"""Stage design: the planned runs of a study, with the unique tokens that each proxy may draw on."""

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.config import Study
from mixopt.design import PlannedRun, mixtures, natural_mixture, run_id
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
    runs += [PlannedRun("repeat", again.weights, again.pools, study.seed + 1 + i) for i in range(study.design.repeats)]
    jobs = [make_job(run, study, shards, recipe) for run in runs]
    return Plan(runs, jobs, recipe, dict(zip(names, prior.tolist(), strict=True)), pools, notes)


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
    """The study's proxy, or a larger one of the same kind: width grows, and the rate falls with it.

    params_scale: non-embedding parameters, in times the proxy's; met as nearly as whole heads allow.
    """
    from proxies.train import Recipe

    proxy = study.proxy
    size = proxy.width // proxy.heads
    heads = max(1, round(proxy.heads * params_scale**0.5))
    return Recipe(
        vocab=vocab,
        layers=proxy.layers,
        width=heads * size,
        heads=heads,
        context=proxy.context,
        batch=proxy.batch,
        tokens=round(proxy.tokens * tokens_scale),
        # Adam's best rate falls about as 1 / width (Yang 2022, arXiv:2203.03466).
        learning_rate=proxy.learning_rate * proxy.width / (heads * size),
        warmup=proxy.warmup,
        decay=proxy.decay,
        weight_decay=proxy.weight_decay,
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


def make_job(run: PlannedRun, study: Study, shards: Mapping[str, "Shard"], recipe: "Recipe") -> "Job":
    """A planned run under its id: the hash of all that decides what it comes to."""
    from proxies.launch import Job
    from proxies.train import pick_device

    weights = {name: w for name, w in run.weights.items() if w > 0}
    pools = {name: int(run.pools[name] or shards[name].meta.train_tokens) for name in run.weights}
    decides = {
        "recipe": asdict(recipe),
        "version": RECIPE_VERSION,
        "weights": weights,
        "pools": {name: pools[name] for name in weights},
        "seed": run.seed,
        "texts": {name: shard.meta.content for name, shard in shards.items()},
        "validation_tokens": study.proxy.validation_tokens,
        "precision": "bfloat16" if pick_device(study.proxy.device).type == "cuda" else "float32",
    }
    return Job(run_id(decides), run.role, dict(run.weights), pools, run.seed)


def write_design(plan: Plan, folder: Folder) -> None:
    """design.csv: one planned run a row."""
    names = list(plan.natural)
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["run_id", "role", "seed", *(f"w/{n}" for n in names), *(f"pool/{n}" for n in names)])
    for run, job in zip(plan.runs, plan.jobs, strict=True):
        row: list[Any] = [job.run_id, run.role, run.seed]
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
