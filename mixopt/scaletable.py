"""Runs of several sizes or lengths, and checkpoints along them, read as a run table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixopt.columns import listed
from mixopt.errors import MixoptError
from mixopt.importing import FEWEST_MIXTURES, SUM_TOLERANCE, read_runs, read_shares
from mixopt.importing import _enough as enough
from mixopt.importing import _facts as facts_of
from mixopt.importing import _loss_columns as columns_of_losses
from mixopt.importing import _losses as read_losses
from mixopt.importing import _unused as unused
from mixopt.importing import _weight_columns as columns_of_weights
from mixopt.importing import _what_can_be_learned as what_can_be_learned
from mixopt.reading import Reading, choice, column_or_count
from mixopt.rows import Source, keeping, short
from mixopt.rows import _check_ids as check_ids
from mixopt.rows import _id_column as id_column
from mixopt.runtable import RunTable
from mixopt.tables import read_table

if TYPE_CHECKING:
    from mixopt.progress import Progress

COUNTS = {"params": "parameters", "tokens": "training tokens"}
FIT_ON_WEIGHTS = "which a fit on weights alone takes for noise"  # a note that is wrong here


def read_scales(given: Reading, progress: Progress) -> RunTable:
    """The runs, with their notes told: rows of one id, mixture and size are checkpoints of one run.

    In a pair of files the second one may have several rows a run. Raises MixoptError for what can't be read as
    runs, for rows without parameters or tokens, and for a table in which neither varies.
    """
    progress.stage("import")
    table = _last_rows(given) if given.last_step else _all_rows(given)
    _check_scales(table, given)
    for note in table.notes:
        progress.note(note)
    rows = table.kept
    told = ", ".join(f"{rows[name].nunique()} {what}" for name, what in (("params", "sizes"), ("tokens", "lengths")))
    names = " and ".join(path.name for path in given.files)
    progress.finish(f"{len(rows)} rows of {len(table.domains)} domains, {told}, {names}")
    return table


def _last_rows(given: Reading) -> RunTable:
    table = read_runs(
        list(given.files),
        weights=choice(given.weights),
        losses=choice(given.losses),
        on=given.on,
        where=given.where,
        params=column_or_count(given.params),
        tokens=column_or_count(given.tokens),
        last_step=True,
        renormalise=given.renormalise,
        door="command",
    )
    notes = tuple(note for note in table.notes if FIT_ON_WEIGHTS not in note)
    return RunTable(table.frame, domains=table.domains, targets=table.targets, notes=notes)


def _all_rows(given: Reading) -> RunTable:
    """As `read_runs`, but ids may repeat, and sizes and lengths that differ are what the table is for."""
    import pandas as pd

    source = _opened(given)
    notes = list(source.notes)
    settings = {"params": column_or_count(given.params), "tokens": column_or_count(given.tokens)}
    facts, columns = facts_of(source, settings)
    spoken_for = {source.key or "", *columns.values()}
    domains = columns_of_weights(source, choice(given.weights), spoken_for)
    targets = columns_of_losses(source, choice(given.losses), spoken_for if source.pair else {*spoken_for, *domains})
    shares = read_shares(source.mixtures, domains, renormalise=given.renormalise, tolerance=SUM_TOLERANCE, notes=notes)
    diverged = facts.get("diverged", np.zeros(len(shares), dtype=bool))
    notes += what_can_be_learned(domains, shares[~diverged])
    measured = read_losses(source.metrics, targets, diverged, notes)
    notes += unused(source, {*spoken_for, *domains, *targets})
    enough(source.mixtures, shares[~diverged], FEWEST_MIXTURES, notes)
    frame = pd.DataFrame(
        {
            "run_id": source.run_ids,
            **facts,
            **{f"w/{name}": shares[:, i] for i, name in enumerate(domains.values())},
            **{f"loss/{name}": measured[:, i] for i, name in enumerate(targets.values())},
        }
    )
    return RunTable(frame, domains=tuple(domains.values()), targets=tuple(targets.values()), notes=tuple(notes))


def _opened(given: Reading) -> Source:
    """One table, whose ids may repeat; or two, every row of the second beside its run's row of the first."""
    if len(given.files) > 2:
        raise MixoptError(f"runs come from one file or from two (mixtures, losses), not from {len(given.files)}")
    if len(set(given.files)) < len(given.files):
        raise MixoptError(f"{given.files[0]} is given twice: give one file, or mixtures and then losses")
    tables = keeping([read_table(path, door="command") for path in given.files], given.where)
    key = id_column(tables, given.on)
    if len(tables) == 1 or key is None:
        return Source(tables[0], tables[0], key)
    first, second = tables
    check_ids(first, key)
    place = {str(run): row for row, run in enumerate(first.cells(key))}
    pairs = [(place[str(run)], row) for row, run in enumerate(second.cells(key)) if str(run) in place]
    if not pairs:
        raise MixoptError(
            f"{first.path} and {second.path} share no value of {key!r}: name the id column with {first.setting('on')}"
        )
    lost = len(second) - len(pairs)
    notes = (f"{lost} of {len(second)} rows of {second.path.name} have no partner by {key!r} and are out.",)
    kept, beside = zip(*pairs, strict=True)
    return Source(first.rows(kept), second.rows(beside), key, notes if lost else ())


def _check_scales(table: RunTable, given: Reading) -> None:
    path = given.files[0]
    varying = []
    for name, what in COUNTS.items():
        counts = table.numbers(name)
        wrong = ~(np.isfinite(counts) & (counts > 0))
        if np.isnan(counts).all():
            raise MixoptError(
                f"{path}: no column of {what}: name it with `--{name} COLUMN`, or give `--{name} "
                f"{'70M' if name == 'params' else '20B'}` if all rows have as many; it has {_columns(given)}"
            )
        if wrong.any():
            first = table.run_ids[int(wrong.argmax())]
            raise MixoptError(
                f"{path}: {int(wrong.sum())} of {len(counts)} rows have no {what} above 0 (the first is {first}): fill "
                f"them in, leave them out with `--where`, or name another column with `--{name}`"
            )
        varying.append(len(np.unique(counts)) > 1)
    if not any(varying):
        params, tokens = (short(table.numbers(name)[0]) for name in COUNTS)
        raise MixoptError(
            f"{path}: all rows have {params} parameters and {tokens} tokens, so nothing can be learned of larger scales: `mixopt fit` fits mixtures of one scale, or name the "
            "columns that differ with `--params COLUMN` and `--tokens COLUMN`"
        )


def _columns(given: Reading) -> str:
    return listed(list(dict.fromkeys(name for path in given.files for name in read_table(path).columns)))
