"""Reader of runs of several model sizes or training lengths, checkpoints included."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import comma_list, exact_count
from mixopt.runs.read import Reading
from mixopt.runs.source import read_table
from mixopt.runs.table import RunTable

if TYPE_CHECKING:
    from mixopt.study.progress import Progress

COUNTS = {"params": "parameters", "tokens": "training tokens"}


def read_scales(given: Reading, progress: Progress) -> RunTable:
    """The runs, with their notes shown: rows of one id, mixture and size are checkpoints of one run.

    In a pair of files the second one may have several rows a run. Raises MixoptError for what can't be read as
    runs, for rows without parameters or tokens, and for a table in which neither varies.
    """
    progress.stage("import")
    table = given.read(checkpoints=True)
    _check_scales(table, given)
    for note in table.notes:
        progress.note(note)
    rows = table.kept
    progress.finish(
        f"{len(rows)} rows of {len(table.domains)} domains, {rows['params'].nunique()} sizes, "
        f"{rows['tokens'].nunique()} lengths, {given.file_names}"
    )
    return table


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
        params, tokens = (exact_count(table.numbers(name)[0]) for name in COUNTS)
        raise MixoptError(
            f"{path}: all rows have {params} parameters and {tokens} tokens, so larger scales can't be learned: "
            "`mixopt fit` fits mixtures of one scale, or name the columns that differ with `--params COLUMN` and "
            "`--tokens COLUMN`"
        )


def _columns(given: Reading) -> str:
    return comma_list(list(dict.fromkeys(name for path in given.files for name in read_table(path).columns)))
