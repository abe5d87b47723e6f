"""Planned runs as training jobs, each under a hash of all that decides its result."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import listed
from mixopt.serialization import Json, digest
from mixopt.study.config import AnyStudy, ProxyShape, heads_and_width

if TYPE_CHECKING:
    from proxies.launch import Job
    from proxies.record import RunRecord
    from proxies.shards import Shard
    from proxies.train import Recipe


# Roles of runs that train a mixture once more: with another seed; from other pools, so that weight and repetition can
# be separated; with fewer tokens at the same epochs, for the marginal value of tokens; at a larger size.
REPEAT, REPETITION, SHORTER, LARGER = "repeat", "repetition", "shorter", "larger"
EXTRA = (REPEAT, REPETITION, SHORTER, LARGER)

MIN_POOL_SEQUENCES = 16  # a smaller proxy pool says little about its domain
RECIPE_VERSION = 2  # raise when proxies/ changes a run's losses: old runs are then not reused


@dataclass(frozen=True)
class PlannedRun:
    """One row of design.csv. weights: domain -> token share; pools: domain -> unique proxy tokens, None: all."""

    role: str  # natural, uniform, leave-out, dirichlet or near-best; or one of EXTRA
    weights: dict[str, float]
    pools: dict[str, int | None]
    seed: int
    length: float = 1.0  # training tokens, in times the others'


def natural_mixture(pools: Sequence[float]) -> np.ndarray:
    """Shares proportional to the pools' unique tokens, (n_domains,)."""
    sizes = np.asarray(pools, dtype=float)
    return sizes / sizes.sum()


def run_id(inputs: Mapping[str, object]) -> str:
    """r + a hash of everything that decides a run's result; key order does not matter."""
    return "r" + digest(inputs)[:16]


def scaled(proxy: ProxyShape, *, vocab: int, params_scale: float, tokens: int, weight_decay: float) -> "Recipe":
    """How a model of so many times the proxy's parameters is trained: width grows, and the rate falls with it.

    params_scale: non-embedding parameters, in times the proxy's; met as nearly as whole heads allow.
    """
    from proxies.train import Recipe

    heads, width = heads_and_width(proxy, params_scale)
    return Recipe(
        vocab=vocab,
        layers=proxy.layers,
        width=width,
        heads=heads,
        context=proxy.context,
        batch=proxy.batch,
        tokens=tokens,
        # Adam's best rate falls about as 1 / width (Yang 2022, arXiv:2203.03466).
        learning_rate=proxy.learning_rate * proxy.width / width,
        warmup=proxy.warmup,
        decay=proxy.decay,
        weight_decay=weight_decay,
    )


def make_job(
    run: PlannedRun,
    study: AnyStudy,
    shards: Mapping[str, "Shard"],
    recipe: "Recipe",
    *,
    starts: Mapping[str, int] | None = None,
) -> "Job":
    """A planned run under its id: the hash of all that decides its weights and on how many tokens it is evaluated.

    recipe: of a run of length 1. starts: domain -> the token of its shard at which its pool begins; None: the first.
    """
    from proxies.launch import Job

    own = replace(recipe, tokens=round(recipe.tokens * run.length))
    pools = {name: int(run.pools[name] or shards[name].meta.train_tokens) for name in run.weights}
    decides = identity(own, run.weights, pools, run.seed, study, shards, starts) | {
        "validation_tokens": study.proxy.validation_tokens
    }
    job = Job(run_id(decides), run.role, dict(run.weights), pools, run.seed, texts=contents(shards))
    return job if own == recipe else replace(job, recipe=own)


def identity(
    recipe: "Recipe",
    weights: Mapping[str, float],
    pools: Mapping[str, int],
    seed: int,
    study: AnyStudy,
    shards: Mapping[str, "Shard"],
    starts: Mapping[str, int] | None = None,
) -> Json:
    """All that decides the weights a run ends with. A domain goes by its text: its name and place decide nothing."""
    from proxies.train import pick_device

    begin = starts or {}
    read = [name for name, weight in weights.items() if weight > 0]
    return {
        "recipe": asdict(recipe),
        "version": RECIPE_VERSION,
        "texts": sorted([shards[name].meta.content, weights[name], pools[name], begin.get(name, 0)] for name in read),
        "seed": seed,
        "precision": "bfloat16" if pick_device(study.proxy.device).type == "cuda" else "float32",
    }


def contents(shards: Mapping[str, "Shard"]) -> dict[str, str]:
    """The hash of every text's tokens."""
    return {name: shard.meta.content for name, shard in shards.items()}


def by_text(names: Iterable[str], shards: Mapping[str, "Shard"]) -> list[str]:
    """Domains in an order that neither their names nor their places in the study file decide."""
    return sorted(names, key=lambda name: (shards[name].meta.content, name))


def finished_run(path: Path, job: "Job", recipe: "Recipe") -> "RunRecord":
    """A planned run's record, with the plan's role, unread pools and names of texts: its id doesn't depend on them.
    What files of older versions lack is the plan's too.

    recipe: of a job that has none of its own. Raises MixoptError, naming the key, for a file that isn't whole, is of
    another run than was planned, or lacks the loss on a text.
    """
    from proxies.record import REMEDY, read_record

    try:
        record = read_record(path)
    except ValueError as error:
        raise MixoptError(str(error)) from None
    record = record.renamed(job.texts)
    own = job.recipe or recipe
    read = [name for name, weight in job.weights.items() if weight > 0]
    planned: Json = {"run_id": job.run_id, "tokens": own.tokens_seen, "params": own.shape.params, "seed": job.seed}
    planned |= {f"weights.{name}": weight for name, weight in job.weights.items()}
    planned |= {f"pools.{name}": job.pools[name] for name in read}
    planned |= {f"starts.{name}": start for name, start in (job.starts or {}).items() if name in read}
    planned |= {f"recipe.{key}": value for key, value in asdict(own).items()}
    for key, value in planned.items():
        field, _, name = key.partition(".")
        found = getattr(record, field)
        found = found.get(name) if isinstance(found, Mapping) else found
        if found not in (None, {}, value):  # files of older versions may lack what isn't required
            raise MixoptError(f"{path}: {key} is {found}, but {value} in the plan of run {job.run_id}: {REMEDY}")
    if lacking := record.unevaluated(job.texts):
        raise MixoptError(f"{path}: has no loss on {listed(lacking)} as it is now: `mixopt train` evaluates the run")
    losses = {name: record.losses[name] for name in job.texts} if record.texts else record.losses
    known = {"params": own.shape.params, "tokens": own.tokens_seen, "seed": job.seed, "role": job.role}
    return replace(record, **known, weights=dict(job.weights), pools=dict(job.pools), losses=losses)


def design_row(job: "Job", domains: Iterable[str], **columns: object) -> Json:
    """A job in design.csv. columns: those of its kind of study, before its share of each domain."""
    shares = {f"w/{name}": job.weights.get(name, 0.0) for name in domains}
    return {"run_id": job.run_id, "role": job.role, "seed": job.seed, **columns, **shares}


def pool_columns(job: "Job") -> Json:
    """A job's unique tokens of each domain, as columns of design.csv."""
    return {f"pool/{name}": pool for name, pool in job.pools.items()}


def design_text(rows: Sequence[Json]) -> str:
    """design.csv's content: one planned run a row, the same columns in each."""
    out = io.StringIO()
    table = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return out.getvalue()
