"""Design of a study of continued pretraining: a base model of each size, continued for every share and token count."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.continual.config import ContinualStudy
from mixopt.errors import MixoptError
from mixopt.serialization import Json
from mixopt.study.jobs import contents, design_row, identity, natural_mixture, run_id, scaled
from mixopt.study.layout import Folder
from mixopt.study.loading import resolve

if TYPE_CHECKING:
    from proxies.checkpoint import Checkpoint
    from proxies.launch import Job
    from proxies.shards import Shard
    from proxies.train import Recipe

CONTINUATION, REPEAT, BASE = "fork", "repeat", "base"  # roles, as files have them


@dataclass(frozen=True)
class Continuation:
    """One planned run: a base of so many times the proxy's parameters, continued with so much of the new domain."""

    size: float
    share: float  # of the new domain
    tokens: int
    seed: int
    role: str = CONTINUATION


@dataclass(frozen=True)
class ContinuationPlan:
    """Everything that the training of a study of continued pretraining needs, except its shards."""

    bases: list[Job]  # to be trained first; empty where a checkpoint is given
    store: Path  # where bases lie
    runs: list[Continuation]
    jobs: list[Job]  # in the order of runs, each with its own recipe
    sizes: dict[float, Origin]  # what continuations of a size start from
    general: dict[str, float]  # share of each general domain in what is kept
    notes: list[str]

    @property
    def recipe(self) -> Recipe:
        """Any of the jobs': they have one context and vocabulary."""
        return next(iter(self.sizes.values())).recipe

    @property
    def rows(self) -> list[Json]:
        """Of design.csv."""
        shares = [*([""] * len(self.bases)), *(run.share for run in self.runs)]
        rows = []
        for job, share in zip([*self.bases, *self.jobs], shares, strict=True):
            assert job.recipe is not None
            size = {"params": job.recipe.shape.params, "tokens": job.recipe.tokens_seen}
            base = Path(job.init_from).stem if job.init_from else ""
            rows.append(design_row(job, self.jobs[0].weights, **size, share=share, base=base))
        return rows

    @property
    def summary(self) -> str:
        repeats = sum(run.role == REPEAT for run in self.runs)
        bases = f"{len(self.bases)} bases" if self.bases else "a base that is there"
        sizes, shares, tokens = (len({getattr(run, key) for run in self.runs}) for key in ("size", "share", "tokens"))
        return (
            f"{bases}, {len(self.runs) - repeats} continuations and {repeats} repeats; {sizes} sizes, {shares} shares, "
            f"{tokens} token counts"
        )


@dataclass(frozen=True)
class Origin:
    """A base: how it is trained, where it lies, and the id of the run that left it there, whatever its file's name."""

    recipe: Recipe
    path: Path
    run_id: str


def make_plan(study: ContinualStudy, shards: Mapping[str, Shard], study_path: Path, folder: Folder) -> ContinuationPlan:
    """The plan on a study's shards. Raises MixoptError for a checkpoint that isn't there or is of another kind."""
    general = general_of(study, shards)
    store = resolve(study_path, study.base.store) if study.base.store else folder.root / "bases"
    if study.base.checkpoint is not None:
        path = resolve(study_path, study.base.checkpoint)
        sizes = {1.0: origin_of_checkpoint(path, study, shards, study_path)}
        bases = []
    else:
        recipes = base_recipes(study, next(iter(shards.values())).meta.vocab_size)
        bases = [base_job(recipe, study, shards, general, store) for recipe in recipes.values()]
        origins = [
            Origin(recipe, Path(str(job.save_to)), job.run_id)
            for recipe, job in zip(recipes.values(), bases, strict=True)
        ]
        sizes = dict(zip(recipes, origins, strict=True))
    runs = list(continuations(study, list(sizes)))
    jobs = [continuation_job(run, sizes[run.size], study, shards, general) for run in runs]
    return ContinuationPlan(bases, store, runs, jobs, sizes, general, design_notes(runs, study, shards))


def general_of(study: ContinualStudy, shards: Mapping[str, Shard]) -> dict[str, float]:
    """Share of each general domain in the general text: as stated, or as much of each as there is."""
    if study.general is not None:
        return {name: study.general.get(name, 0.0) for name in study.kept}
    there = [float(study.domains[name].pool or shards[name].meta.tokens) for name in study.kept]
    return {name: round(float(w), 8) for name, w in zip(study.kept, natural_mixture(there), strict=True)}


def continuations(study: ContinualStudy, sizes: Sequence[float]) -> Iterator[Continuation]:
    """Every continuation in whole steps, smallest first, then the repeats.

    Their seed is not the base's, so that what they replay is not what the base read first, in that order.
    """
    seed = study.seed + 1
    design, step = study.design, study.proxy.batch * study.proxy.context
    counts = sorted({max(1, round(tokens / step)) * step for tokens in design.tokens})
    shares = sorted(design.shares)
    for size, tokens, share in product(sizes, counts, shares):
        yield Continuation(size, share, tokens, seed)
    for n in range(design.repeats):
        yield Continuation(sizes[0], shares[len(shares) // 2], counts[-1], seed + 1 + n, REPEAT)


def base_recipes(study: ContinualStudy, vocab: int) -> dict[float, Recipe]:
    return {size: base_recipe(study, vocab, size) for size in sorted(study.base.sizes)}


def base_recipe(study: ContinualStudy, vocab: int, size: float) -> Recipe:
    base = study.base
    return scaled(study.proxy, vocab=vocab, params_scale=size, tokens=base.tokens, weight_decay=base.weight_decay)


def recipes_of(study: ContinualStudy, vocab: int, study_path: Path) -> list[Recipe]:
    """Of bases and continuations, one a run, by the study file alone. Raises MixoptError as `opened` does."""
    if study.base.checkpoint is not None:
        bases = {1.0: checkpoint_recipe(opened(resolve(study_path, study.base.checkpoint), study_path), study, vocab)}
    else:
        bases = base_recipes(study, vocab)
    trained = [] if study.base.checkpoint is not None else list(bases.values())
    runs = continuations(study, list(bases))
    return trained + [continuation_recipe(run, bases[run.size], study) for run in runs]


def origin_of_checkpoint(path: Path, study: ContinualStudy, shards: Mapping[str, Shard], study_path: Path) -> Origin:
    """A checkpoint as a base. Raises MixoptError where it can't be continued on this text."""
    checkpoint = opened(path, study_path)
    meta = next(iter(shards.values())).meta
    if checkpoint.about.get("tokenizer") != meta.tokenizer:
        raise MixoptError(
            f"{study_path}: base.checkpoint: {path} reads the tokens of another tokenizer: set tokenizer.path "
            "to the tokenizer.json in the shards/ of the study that trained it"
        )
    recipe = checkpoint_recipe(checkpoint, study, meta.vocab_size)
    return Origin(recipe, path, str(checkpoint.about.get("run_id", path.stem)))


def opened(path: Path, study_path: Path) -> Checkpoint:
    """The checkpoint that a study names as its base. Raises MixoptError where it isn't there or of another kind."""
    from proxies.checkpoint import load_checkpoint

    where, other = f"{study_path}: base.checkpoint", "name a base (.npz) that mixopt trained, or take the key out"
    if not path.is_file():
        raise MixoptError(f"{where}: {path} isn't there: {other}")
    try:
        return load_checkpoint(path)
    except ValueError as error:
        raise MixoptError(f"{where}: {error}: {other}") from None


def checkpoint_recipe(checkpoint: Checkpoint, study: ContinualStudy, vocab: int) -> Recipe:
    """How a base of the checkpoint's shape is trained."""
    shape = checkpoint.shape
    same = {key: getattr(shape, key) for key in ("layers", "width", "heads", "context")}
    rate = study.proxy.learning_rate * study.proxy.width / shape.width
    return replace(base_recipe(study, vocab, 1.0), **same, learning_rate=rate)


def base_job(
    recipe: Recipe, study: ContinualStudy, shards: Mapping[str, Shard], general: Mapping[str, float], store: Path
) -> Job:
    """A base under its id: the hash of all that decides its weights, and nothing of what it is evaluated on."""
    from proxies.launch import Job

    weights = {name: w for name, w in general.items() if w > 0}
    pools = {name: shards[name].meta.train_tokens for name in weights}
    name = "b" + run_id(identity(recipe, weights, pools, study.seed, study, shards))[1:]
    return Job(name, BASE, weights, pools, study.seed, recipe=recipe, save_to=str(store / f"{name}.npz"))


def continuation_job(
    run: Continuation, origin: Origin, study: ContinualStudy, shards: Mapping[str, Shard], general: Mapping[str, float]
) -> Job:
    """A continuation under its id: the hash of its base, and of all else that decides what it comes to."""
    from proxies.launch import Job

    recipe = continuation_recipe(run, origin.recipe, study)
    weights = {study.new: run.share} | {name: round((1 - run.share) * w, 10) for name, w in general.items()}
    weights = {name: weights[name] for name in study.domains}
    pools = {name: shards[name].meta.train_tokens for name in study.domains}
    texts = contents(shards)
    decides = identity(recipe, weights, pools, run.seed, study, shards) | {
        "base": origin.run_id,
        "evaluated": sorted(texts.values()),
        "validation_tokens": study.proxy.validation_tokens,
        "looks": study.design.looks,
    }
    init_from, n_evals = str(origin.path.resolve()), study.design.looks
    return Job(
        run_id(decides), run.role, weights, pools, run.seed, recipe, init_from=init_from, n_evals=n_evals, texts=texts
    )


def continuation_recipe(run: Continuation, base: Recipe, study: ContinualStudy) -> Recipe:
    # as the base's rate, it falls as the width grows
    rate = study.continuing.learning_rate * base.learning_rate / study.proxy.learning_rate
    return replace(base, tokens=run.tokens, **study.continuing.model_dump() | {"learning_rate": rate})


def design_notes(runs: Sequence[Continuation], study: ContinualStudy, shards: Mapping[str, Shard]) -> list[str]:
    found = []
    unique = shards[study.new].meta.train_tokens
    most = max(run.share * run.tokens for run in runs)
    if most > unique:
        found.append(
            f"{study.new}: continuations read up to {most:,.0f} tokens of it, {unique:,} are there: that is "
            f"{most / unique:.1f} epochs, and the laws take them for fresh text; more text would help"
        )
    if 0.0 not in study.design.shares:
        found.append("no continuation has a share of 0: what general text alone would do is extrapolated by the laws")
    return found
