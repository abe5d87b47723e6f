"""Stage design of a study of continued pretraining: one base a size, forked for every share and token count."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.continual.config import ContinualStudy
from mixopt.errors import MixoptError
from mixopt.serialization import write_text
from mixopt.study.jobs import RECIPE_VERSION, natural_mixture, run_id, scaled
from mixopt.study.layout import Folder
from mixopt.study.loading import resolve
from mixopt.study.progress import Progress

if TYPE_CHECKING:
    from proxies.launch import Job
    from proxies.shards import Shard
    from proxies.train import Recipe

FORK, REPEAT, BASE = "fork", "repeat", "base"


@dataclass(frozen=True)
class Fork:
    """One planned run: a base of so many times the proxy's parameters, continued with so much of the new domain."""

    size: float
    share: float  # of the new domain
    tokens: int
    seed: int
    role: str = FORK


@dataclass(frozen=True)
class ForkPlan:
    """Everything that the training of a study of continued pretraining needs beside its shards."""

    bases: list["Job"]  # to be trained first; empty where a checkpoint is given
    store: Path  # where bases lie
    forks: list[Fork]
    jobs: list["Job"]  # in the order of forks, each with its own recipe
    sizes: dict[float, "Origin"]  # what forks of a size go on from
    general: dict[str, float]  # share of each general domain in what is kept
    notes: list[str]

    @property
    def recipe(self) -> "Recipe":
        """Any of the jobs': they have one context and vocabulary."""
        return next(iter(self.sizes.values())).recipe


@dataclass(frozen=True)
class Origin:
    """A base: how it is trained, and where it lies."""

    recipe: "Recipe"
    path: Path


def make_forks(study: ContinualStudy, shards: Mapping[str, "Shard"], study_path: Path, folder: Folder) -> ForkPlan:
    """The plan on a study's shards. Raises MixoptError for a checkpoint that isn't there or is of another kind."""
    general = general_of(study, shards)
    store = resolve(study_path, study.base.store) if study.base.store else folder.root / "bases"
    if study.base.checkpoint is not None:
        path = resolve(study_path, study.base.checkpoint)
        sizes = {1.0: Origin(recipe_of_checkpoint(path, study, shards, study_path), path)}
        bases = []
    else:
        recipes = {size: base_recipe(study, shards, size) for size in sorted(study.base.sizes)}
        bases = [base_job(recipe, study, shards, general, store) for recipe in recipes.values()]
        sizes = {size: Origin(recipes[size], Path(str(job.save_to))) for size, job in zip(recipes, bases, strict=True)}
    forks = list(forks_of(study, list(sizes)))
    jobs = [fork_job(fork, sizes[fork.size], study, shards, general) for fork in forks]
    return ForkPlan(bases, store, forks, jobs, sizes, general, notes_on(forks, study, shards))


def general_of(study: ContinualStudy, shards: Mapping[str, "Shard"]) -> dict[str, float]:
    """Share of each general domain in the general text: as stated, or as much of each as there is."""
    if study.general is not None:
        return {name: study.general.get(name, 0.0) for name in study.kept}
    there = [float(study.domains[name].pool or shards[name].meta.tokens) for name in study.kept]
    return {name: round(float(w), 8) for name, w in zip(study.kept, natural_mixture(there), strict=True)}


def forks_of(study: ContinualStudy, sizes: Sequence[float]) -> Iterator[Fork]:
    """Every fork in whole steps, smallest first, then the repeats.

    Their seed is not the base's, so that what they replay is not what the base read first, in that order.
    """
    seed = study.seed + 1
    design, step = study.design, study.proxy.batch * study.proxy.context
    counts = sorted({max(1, round(tokens / step)) * step for tokens in design.tokens})
    shares = sorted(design.shares)
    for size in sizes:
        for tokens in counts:
            for share in shares:
                yield Fork(size, share, tokens, seed)
    for n in range(design.repeats):
        middle = shares[len(shares) // 2]
        yield Fork(sizes[0], middle, counts[-1], seed + 1 + n, REPEAT)


def base_recipe(study: ContinualStudy, shards: Mapping[str, "Shard"], size: float) -> "Recipe":
    vocab = next(iter(shards.values())).meta.vocab_size
    base = study.base
    return scaled(study.proxy, vocab=vocab, params_scale=size, tokens=base.tokens, weight_decay=base.weight_decay)


def recipe_of_checkpoint(
    path: Path, study: ContinualStudy, shards: Mapping[str, "Shard"], study_path: Path
) -> "Recipe":
    """As `base_recipe`, in the shape of a checkpoint. Raises MixoptError where it can't be continued on this text."""
    from proxies.checkpoint import load_checkpoint

    where = f"{study_path}: base.checkpoint"
    if not path.is_file():
        raise MixoptError(f"{where}: {path} isn't there: name a base (.npz) that mixopt trained, or take the key out")
    try:
        checkpoint = load_checkpoint(path)
    except ValueError as error:
        raise MixoptError(f"{where}: {error}") from None
    meta = next(iter(shards.values())).meta
    if checkpoint.about.get("tokenizer") != meta.tokenizer:
        raise MixoptError(
            f"{where}: {path} reads the tokens of another tokenizer: set tokenizer.path to the tokenizer.json in the "
            "shards/ of the study that trained it"
        )
    shape = checkpoint.shape
    base = base_recipe(study, shards, 1.0)
    return replace(
        base,
        layers=shape.layers,
        width=shape.width,
        heads=shape.heads,
        context=shape.context,
        learning_rate=study.proxy.learning_rate * study.proxy.width / shape.width,
    )


def base_job(
    recipe: "Recipe", study: ContinualStudy, shards: Mapping[str, "Shard"], general: Mapping[str, float], store: Path
) -> "Job":
    """A base under its id: the hash of all that decides its weights, and nothing of what it is evaluated on."""
    from proxies.launch import Job

    weights = {name: w for name, w in general.items() if w > 0}
    pools = {name: shards[name].meta.train_tokens for name in weights}
    decides = decided(recipe, weights, pools, study.seed, shards) | precision(study)
    name = "b" + run_id(decides)[1:]
    return Job(name, BASE, weights, pools, study.seed, recipe=recipe, save_to=str(store / f"{name}.npz"))


def fork_job(
    fork: Fork,
    origin: Origin,
    study: ContinualStudy,
    shards: Mapping[str, "Shard"],
    general: Mapping[str, float],
) -> "Job":
    """A fork under its id: the hash of its base, and of all else that decides what it comes to."""
    from proxies.launch import Job

    going_on = study.continuing
    recipe = replace(
        origin.recipe,
        tokens=fork.tokens,
        # as the base's rate, it falls as the width grows
        learning_rate=going_on.learning_rate * origin.recipe.learning_rate / study.proxy.learning_rate,
        warmup=going_on.warmup,
        decay=going_on.decay,
        weight_decay=going_on.weight_decay,
    )
    weights = {study.new: fork.share} | {name: round((1 - fork.share) * w, 10) for name, w in general.items()}
    weights = {name: weights[name] for name in study.domains}
    trained = {name: w for name, w in weights.items() if w > 0}
    pools = {name: shards[name].meta.train_tokens for name in study.domains}
    decides = decided(recipe, trained, {name: pools[name] for name in trained}, fork.seed, shards) | precision(study)
    decides |= {
        "base": origin.path.stem,
        "evaluated": {name: shard.meta.content for name, shard in shards.items()},
        "validation_tokens": study.proxy.validation_tokens,
        "looks": study.design.looks,
    }
    init_from, n_evals = str(origin.path.resolve()), study.design.looks
    return Job(run_id(decides), fork.role, weights, pools, fork.seed, recipe, init_from=init_from, n_evals=n_evals)


def decided(
    recipe: "Recipe",
    weights: Mapping[str, float],
    pools: Mapping[str, int],
    seed: int,
    shards: Mapping[str, "Shard"],
) -> dict[str, Any]:
    """What decides a run's weights."""
    return {
        "recipe": asdict(recipe),
        "version": RECIPE_VERSION,
        "weights": dict(weights),
        "pools": dict(pools),
        "seed": seed,
        "texts": {name: shards[name].meta.content for name in weights},
    }


def precision(study: ContinualStudy) -> dict[str, str]:
    from proxies.train import pick_device

    return {"precision": "bfloat16" if pick_device(study.proxy.device).type == "cuda" else "float32"}


def notes_on(forks: Sequence[Fork], study: ContinualStudy, shards: Mapping[str, "Shard"]) -> list[str]:
    notes = []
    there = shards[study.new].meta.train_tokens
    most = max(fork.share * fork.tokens for fork in forks)
    if most > there:
        notes.append(
            f"{study.new}: forks read up to {most:,.0f} tokens of it, {there:,} are there: they repeat it "
            f"{most / there:.1f} times, and the laws take that for fresh text; more text would help"
        )
    if 0.0 not in study.design.shares:
        notes.append("no fork has a share of 0: what general text alone would do is then told by the laws")
    return notes


def write_forks(plan: ForkPlan, folder: Folder) -> None:
    """design.csv: one planned run a row."""
    names = list(plan.jobs[0].weights)
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(["run_id", "role", "seed", "params", "tokens", "share", "base", *(f"w/{n}" for n in names)])
    for job in plan.bases:
        assert job.recipe is not None
        row = [job.run_id, job.role, job.seed, job.recipe.shape.params, job.recipe.tokens_seen, "", ""]
        table.writerow(row + [job.weights.get(n, 0.0) for n in names])
    for fork, job in zip(plan.forks, plan.jobs, strict=True):
        assert job.recipe is not None and job.init_from is not None
        row = [
            job.run_id,
            job.role,
            job.seed,
            job.recipe.shape.params,
            fork.tokens,
            fork.share,
            Path(job.init_from).stem,
        ]
        table.writerow(row + [job.weights[n] for n in names])
    write_text(folder.design, out.getvalue())


def design_forks(
    study: ContinualStudy, shards: Mapping[str, "Shard"], study_path: Path, folder: Folder, progress: Progress
) -> ForkPlan:
    """Plans bases and forks and writes design.csv."""
    progress.stage("design")
    try:
        plan = make_forks(study, shards, study_path, folder)
    except ValueError as error:
        raise MixoptError(f"{study_path}: {error}") from None
    write_forks(plan, folder)
    for note in plan.notes:
        progress.note(note)
    sizes = len({fork.size for fork in plan.forks})
    repeats = sum(fork.role == REPEAT for fork in plan.forks)
    bases = f"{len(plan.bases)} bases" if plan.bases else "a base that is there"
    progress.finish(
        f"{bases}, {len(plan.forks) - repeats} forks and {repeats} repeats; {sizes} sizes, "
        f"{len(study.design.shares)} shares, {len(study.design.tokens)} token counts"
    )
    return plan
