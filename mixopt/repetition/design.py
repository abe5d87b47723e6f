"""Stage design of a study of repetition: a ladder of sizes, unique tokens, epochs and weight decays."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import floor
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.errors import MixoptError
from mixopt.repetition.config import RepetitionStudy
from mixopt.serialization import write_text
from mixopt.study.jobs import FEW_SEQUENCES, PlannedRun, make_job, natural_mixture, scaled
from mixopt.study.layout import Folder
from mixopt.study.progress import Progress

if TYPE_CHECKING:
    from proxies.launch import Job
    from proxies.shards import Shard
    from proxies.train import Recipe

CELL, REPEAT = "cell", "repeat"


@dataclass(frozen=True)
class Cell:
    """One planned run: a model of so many times the proxy's parameters, epochs x unique tokens long."""

    size: float
    unique: int  # tokens that are predicted, all domains together
    tokens: int
    weight_decay: float
    seed: int
    role: str = CELL

    @property
    def epochs(self) -> float:
        return self.tokens / self.unique


@dataclass(frozen=True)
class LadderPlan:
    """Everything that the training of a study of repetition needs beside its shards."""

    cells: list[Cell]
    jobs: list["Job"]  # in the order of cells, each with its own recipe
    recipe: "Recipe"  # any of theirs: they have one context and vocabulary
    weights: dict[str, float]  # share of training tokens by domain
    notes: list[str]


def cells_of(study: RepetitionStudy, *, vocab: int) -> list[Cell]:
    """Every cell of the ladder, and the repeats, smallest first.

    Unique tokens come in whole steps, so that every cell passes over its text a whole number of times where the epochs
    are whole; matched tokens and compute come in whole steps too, and their unique tokens in whole sequences.
    """
    design, proxy = study.design, study.proxy
    step = proxy.batch * proxy.context
    key, levels = design.levels
    cells = []
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
                        cells.append(Cell(size, unique, tokens, decay, study.seed))
    return cells + list(repeats_of(cells, study))


def repeats_of(cells: Sequence[Cell], study: RepetitionStudy) -> Iterator[Cell]:
    """The longest cell of every amount of unique text again: of the middle size, and the weakest weight decay."""
    sizes = sorted({cell.size for cell in cells})
    middle, weakest = sizes[(len(sizes) - 1) // 2], min(cell.weight_decay for cell in cells)
    longest: dict[int, Cell] = {}
    for cell in cells:
        if cell.size == middle and cell.weight_decay == weakest:
            longest[cell.unique] = max(longest.get(cell.unique, cell), cell, key=lambda c: c.tokens)
    for cell in longest.values():
        for n in range(study.design.repeats):
            yield replace(cell, seed=study.seed + 1 + n, role=REPEAT)


def make_ladder(study: RepetitionStudy, shards: Mapping[str, "Shard"], study_path: Path) -> LadderPlan:
    """The ladder on a study's shards. Raises MixoptError when a cell needs more text than there is."""
    vocab = next(iter(shards.values())).meta.vocab_size
    weights = shares_of(study, shards)
    cells = cells_of(study, vocab=vocab)
    if not cells:
        raise MixoptError(f"{study_path}: design.max_tokens: leaves no cell: raise it, or lower the ladder")
    if len(set(cells)) < len(cells):
        step = study.proxy.batch * study.proxy.context
        raise MixoptError(
            f"{study_path}: design: some cells are the same in whole steps of {step:,} tokens: set them further apart"
        )
    enough(cells, weights, study, shards, study_path)
    widest = pools_of(max(cell.unique for cell in cells), weights, study.proxy.context)
    jobs = [job_of(cell, study, shards, weights, vocab=vocab, widest=widest) for cell in cells]
    recipe = jobs[0].recipe
    assert recipe is not None
    return LadderPlan(cells, jobs, recipe, weights, notes_on(cells, jobs, study))


def shares_of(study: RepetitionStudy, shards: Mapping[str, "Shard"]) -> dict[str, float]:
    """Share of training tokens by domain: as stated, or as much of each as there is."""
    if study.weights is not None:
        return dict(study.weights)
    there = [float(domain.pool or shards[name].meta.tokens) for name, domain in study.domains.items()]
    return {name: round(float(w), 8) for name, w in zip(study.domains, natural_mixture(there), strict=True)}


def pools_of(unique: int, weights: Mapping[str, float], context: int) -> dict[str, int]:
    """Tokens of each shard that hold so many unique ones to predict: one more, since the first is only given."""
    return {name: max(1, round(unique * w / context)) * context + 1 for name, w in weights.items()}


def enough(
    cells: Sequence[Cell],
    weights: Mapping[str, float],
    study: RepetitionStudy,
    shards: Mapping[str, "Shard"],
    study_path: Path,
) -> None:
    """Raises MixoptError when the cells with the most unique tokens need more text than a domain has."""
    most = max(cell.unique for cell in cells)
    for name, pool in pools_of(most, weights, study.proxy.context).items():
        there = shards[name].meta.train_tokens
        if pool > there:
            raise MixoptError(
                f"{study_path}: design.{study.design.levels[0]}: cells of {most:,} unique tokens need {pool:,} of "
                f"{name!r}, which has {there:,} to train on: give more text, raise prepare.max_bytes if it kept some "
                f"out, or leave out the most unique cells (up to {floor(there * most / pool):,} would do)"
            )


def job_of(
    cell: Cell,
    study: RepetitionStudy,
    shards: Mapping[str, "Shard"],
    weights: Mapping[str, float],
    *,
    vocab: int,
    widest: Mapping[str, int],
) -> "Job":
    """A cell under its id. Repeats read other text, where there is enough: which text is chance as well."""
    recipe = scaled(
        study.proxy, vocab=vocab, params_scale=cell.size, tokens=cell.tokens, weight_decay=cell.weight_decay
    )
    pools = pools_of(cell.unique, weights, study.proxy.context)
    starts = {}
    if cell.role == REPEAT:
        ahead = cell.seed - study.seed
        starts = {name: start_of(ahead, pools[name], widest[name], shards[name].meta.train_tokens) for name in pools}
    run = PlannedRun(cell.role, dict(weights), dict(pools), cell.seed)
    job = make_job(run, study, shards, recipe, starts=starts or None)
    return replace(job, recipe=recipe, starts=starts or None)


def start_of(ahead: int, pool: int, widest: int, there: int) -> int:
    """Where the text of a repeat begins: behind that of all cells and of earlier repeats; at 0, if there is none."""
    after = widest + (ahead - 1) * pool
    return after if after + pool <= there else 0


def notes_on(cells: Sequence[Cell], jobs: Sequence["Job"], study: RepetitionStudy) -> list[str]:
    notes = []
    few = min(cell.unique for cell in cells)
    if few < FEW_SEQUENCES * study.proxy.context:
        notes.append(f"cells of {few:,} unique tokens see {few // study.proxy.context} sequences: chance matters there")
    if not any(cell.epochs < 1.01 for cell in cells):
        notes.append("no cell passes over its text once: what fresh tokens are worth is then told by the laws alone")
    same = [
        job
        for cell, job in zip(cells, jobs, strict=True)
        if cell.role == REPEAT and not all((job.starts or {}).values())
    ]
    if same:
        notes.append(
            f"{len(same)} repeats read the same text as the cells, since there is no other: noise is understated; "
            "more text would help"
        )
    return notes


def write_ladder(plan: LadderPlan, folder: Folder) -> None:
    """design.csv: one planned run a row."""
    names = list(plan.weights)
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    columns = ["run_id", "role", "seed", "params", "tokens", "unique", "epochs", "weight_decay"]
    table.writerow([*columns, *(f"w/{n}" for n in names), *(f"pool/{n}" for n in names)])
    for cell, job in zip(plan.cells, plan.jobs, strict=True):
        assert job.recipe is not None
        row = [job.run_id, cell.role, cell.seed, job.recipe.shape.params, cell.tokens, cell.unique]
        row += [f"{cell.epochs:.6g}", f"{cell.weight_decay:g}"]
        table.writerow(row + [plan.weights[n] for n in names] + [job.pools[n] for n in names])
    write_text(folder.design, out.getvalue())


def design_ladder(
    study: RepetitionStudy, shards: Mapping[str, "Shard"], study_path: Path, folder: Folder, progress: Progress
) -> LadderPlan:
    """Plans the cells and writes design.csv."""
    progress.stage("design")
    try:
        plan = make_ladder(study, shards, study_path)
    except ValueError as error:
        raise MixoptError(f"{study_path}: {error}") from None
    write_ladder(plan, folder)
    for note in plan.notes:
        progress.note(note)
    repeats = sum(cell.role == REPEAT for cell in plan.cells)
    total = sum(cell.tokens for cell in plan.cells)
    progress.finish(
        f"{len(plan.cells) - repeats} cells and {repeats} repeats; {len({c.size for c in plan.cells})} sizes, "
        f"{len({c.unique for c in plan.cells})} amounts of unique text, up to "
        f"{max(c.epochs for c in plan.cells):g} epochs; {total / 1e6:.1f}M tokens to train on"
    )
    return plan
