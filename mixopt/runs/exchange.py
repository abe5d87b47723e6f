"""Planned runs for other trainers: neutral configurations, and the table of their losses that is read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.errors import MixoptError
from mixopt.formatting import comma_list, counted, did_you_mean, is_empty
from mixopt.runs.source import Table, no_losses, read_table
from mixopt.serialization import Json, read_any_json, read_json, write_json, write_text
from mixopt.study.jobs import design_text
from proxies.files import CHECKSUM, is_changed
from proxies.record import Loss, RunRecord, read_record, write_record

if TYPE_CHECKING:
    from mixopt.study.kind import AnyPlan, Session
    from proxies.launch import Job
    from proxies.shards import Shard
    from proxies.train import Recipe

TABLE = "runs.csv"  # in the folder of configurations
SAME = 1e-6  # of weights, and relative of counts and losses: what a spreadsheet may round
AGAIN = "`mixopt design --export` writes the table to fill in"
SUBSET = (
    "documents of a domain in the order of a hash of their text; the run reads unique_tokens tokens of them, from "
    "token start on, and repeats these: a smaller subset is the beginning of a larger one"
)


def check_portable(session: Session) -> None:
    """Raises MixoptError for a kind of study whose runs can't be trained elsewhere."""
    if not session.kind.portable:
        raise MixoptError(
            f"{session.path}: runs of a study of kind {session.kind.name} go on from bases and are evaluated on the "
            "way, so they are trained here: `mixopt train`"
        )


def write_configurations(folder: Path, plan: AnyPlan, shards: Mapping[str, Shard]) -> None:
    """Every planned run as any trainer could train it, and the table to fill in."""
    for job in plan.jobs:
        recipe = job.recipe or plan.recipe
        pools = {
            name: {
                "unique_tokens": pool,
                "start": (job.starts or {}).get(name, 0),
                "of": shards[name].meta.train_tokens,
            }
            for name, pool in job.pools.items()
        }
        sizes = {"params": recipe.shape.params, **asdict(recipe), "tokens": recipe.tokens_seen, "steps": recipe.steps}
        facts = {"run_id": job.run_id, "role": job.role, "seed": job.seed, **sizes, "weights": job.weights}
        facts |= {"pools": pools, "subset": SUBSET, "validation_sets": list(job.texts)}
        write_json(folder / f"{job.run_id}.json", facts)
    rows = [_planned(job, job.recipe or plan.recipe) for job in plan.jobs]
    losses = {f"loss/{name}": "" for name in plan.jobs[0].texts}
    write_text(folder / TABLE, design_text([row | losses for row in rows]))


def _planned(job: Job, recipe: Recipe) -> Json:
    """What a row of the table says of a run."""
    shares = {f"w/{name}": weight for name, weight in job.weights.items()}
    return {
        "run_id": job.run_id,
        "params": recipe.shape.params,
        "tokens": recipe.tokens_seen,
        "seed": job.seed,
    } | shares


def is_configuration(path: Path) -> bool:
    """Whether a file is one of `write_configurations`, as it was written."""
    try:
        found = read_any_json(path)
    except (ValueError, OSError):
        return False
    return isinstance(found, dict) and found.get("subset") == SUBSET and CHECKSUM in found and not is_changed(found)


def is_unfilled(path: Path) -> bool:
    """Whether a file is a table to fill in that nobody has begun to fill in."""
    try:
        table = read_table(path)
    except MixoptError:
        return False
    losses = [name for name in table.columns if name.startswith("loss/")]
    return bool(losses) and "run_id" in table.columns and bool(table.frame[losses].isna().to_numpy().all())


@dataclass(frozen=True)
class Imported:
    """Runs of a filled table that are to be written. there: how many are on record already. empty: rows to fill in."""

    records: list[RunRecord]
    there: int
    empty: int
    notes: list[str]


def read_filled(path: Path, session: Session, plan: AnyPlan, *, force: bool = False) -> Imported:
    """A filled table's runs, checked against the plan and the runs on record.

    force: one on record may be replaced. Raises MixoptError, naming line and column, for a run that isn't planned,
    stands there twice, isn't as planned, lacks some of its losses or differs from the one on record.
    """
    table = read_table(path, interface="command")
    jobs = {job.run_id: job for job in plan.jobs}
    if "run_id" not in table.columns:
        raise MixoptError(f"{path}: no column 'run_id', it has {comma_list(table.columns)}: {AGAIN}")
    ids = [str(run_id or "") for run_id in table.texts("run_id")]
    for row, run_id in enumerate(ids):
        if run_id not in jobs:
            hint = did_you_mean(run_id, jobs, otherwise=f"leave the row out, or undo the edit of the study: {AGAIN}")
            raise MixoptError(
                f"{table.at(row, 'run_id')} is none of the {len(jobs)} planned runs of {session.path}: {hint}"
            )
        if run_id in ids[:row]:
            first = table.at(ids.index(run_id)).removeprefix(f"{path}, ")
            raise MixoptError(f"{table.at(row, 'run_id')} stands on {first} too: keep one of the two rows")
    known, texts = _planned(plan.jobs[0], plan.recipe), [f"loss/{name}" for name in plan.jobs[0].texts]
    for column in table.columns:
        if column.startswith("w/") and column not in known:
            raise MixoptError(f"{path}: column {column!r} is of no domain of {session.path}: {AGAIN}")
    columns = {column: _numbers(table, column) for column in known if column in table.columns and column != "run_id"}
    for row, run_id in enumerate(ids):
        planned = _planned(jobs[run_id], jobs[run_id].recipe or plan.recipe)
        for column, values in columns.items():
            if not math.isclose(values[row], planned[column], rel_tol=SAME, abs_tol=SAME):
                raise MixoptError(
                    f"{table.at(row, column)}, but {planned[column]} in the plan of run {run_id}: train the run as it "
                    "was planned, or correct the cell"
                )
    losses = _losses(table, texts)
    other = [name for name in table.columns if name not in (*known, *texts)]
    notes = [f"{path}: columns {comma_list(other)} are not of the table to fill in, and are left out"] if other else []
    records = []
    for row, run_id in enumerate(ids):
        if row in losses:
            record = _record(jobs[run_id], jobs[run_id].recipe or plan.recipe, losses[row], path.name)
            old, place = session.folder.runs / f"{run_id}.json", table.at(row, "run_id")
            record = _to_write(record, old, jobs[run_id], force=force, place=place)
            records += [record] if record else []
    return Imported(records, len(losses) - len(records), len(ids) - len(losses), notes)


def _numbers(table: Table, column: str) -> list[float]:
    values = table.numbers(column, percents=True) if column.startswith("w/") else table.counts(column)
    return [float(value) for value in values]


def _losses(table: Table, columns: list[str]) -> dict[int, dict[str, float]]:
    """Row -> loss by validation set; without the rows whose losses are all empty."""
    for column in columns:
        if column not in table.columns:
            raise MixoptError(
                f"{table.path}: no column {column!r}: a run needs its loss on each of {comma_list(columns)}: {AGAIN}"
            )
    values = {column: table.numbers(column) for column in columns}
    found = {}
    for row in range(len(table)):
        own = {column: float(values[column][row]) for column in columns}
        if all(is_empty(value) for value in own.values()):
            continue
        for column, value in own.items():
            if is_empty(value) or no_losses(values[column][row : row + 1]).any():
                what = "the run's loss is missing" if is_empty(value) else "is not a loss above 0, a finite number"
                raise MixoptError(
                    f"{table.at(row, column)}{':' if is_empty(value) else ''} {what}: write its final loss in "
                    "nats/token, or leave all losses of the row empty"
                )
        found[row] = {column.removeprefix("loss/"): value for column, value in own.items()}
    if not found:
        raise MixoptError(
            f"{table.path}: no row has losses: fill in {comma_list(columns)} of the runs that were trained"
        )
    return found


def _record(job: Job, recipe: Recipe, losses: Mapping[str, float], source: str) -> RunRecord:
    tokens, params = recipe.tokens_seen, recipe.shape.params
    return RunRecord(
        run_id=job.run_id, role=job.role, seed=job.seed, params=params, tokens=tokens, flops=recipe.flops,
        flops_6nd=6 * params * tokens, weights=job.weights, pools=dict(job.pools), starts=job.starts,
        losses={name: Loss(value) for name, value in losses.items()}, texts=job.texts, source=source,
    )  # fmt: skip


def _to_write(new: RunRecord, path: Path, job: Job, *, force: bool, place: str) -> RunRecord | None:
    """A run beside the one on record in path, if any: with what that lacks; None: it is there. place: for an error."""
    if not path.is_file():
        return new
    old = None
    with suppress(ValueError):  # damaged: not the same
        old = read_record(path).renamed(job.texts)
    lacking = [name for name in new.losses if old and (name not in old.losses or name in old.unevaluated(job.texts))]
    pairs = [(new.losses[name], old.losses[name]) for name in new.losses if old and name not in lacking]
    if old and all(math.isclose(one.nats_per_token, other.nats_per_token, rel_tol=SAME) for one, other in pairs):
        more = {name: new.losses[name] for name in lacking}
        return replace(old, losses=old.losses | more, texts=job.texts) if more else None
    if force:
        return new
    raise MixoptError(
        f"{place} is on record already with other losses ({path}): leave the row out, or replace the run with --force"
    )


def write_imported(imported: Imported, session: Session) -> str:
    """Records of the runs in runs/, and what was done in a sentence."""
    folder = session.folder
    folder.runs.mkdir(parents=True, exist_ok=True)
    if folder.plan.is_file():  # so that an edit that leaves them without use is asked about
        before = read_json(folder.plan, made_by="run")
        ids = {record.run_id for record in imported.records}
        write_json(folder.plan, before | {"runs": sorted(ids.union(before["runs"]))})
    for record in imported.records:
        if record.source:
            (folder.weights / f"{record.run_id}.npz").unlink(missing_ok=True)  # of the run that is replaced
        write_record(folder.runs / f"{record.run_id}.json", record)
    text = f"{counted(len(imported.records), 'run')} imported"
    text += f", {imported.there} {'was' if imported.there == 1 else 'were'} there" if imported.there else ""
    return text + (f", {counted(imported.empty, 'row')} without losses left out" if imported.empty else "")
