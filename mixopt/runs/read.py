"""Reader of run tables: a file of finished runs, or a pair of mixtures and losses, checked and recognised.

The pair (mixtures in one file, losses in the other, joined on a run's id) is how RegMix (arXiv:2407.01492)
and olmix (arXiv:2602.12237) publish theirs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import (
    as_number,
    comma_list,
    comma_separated,
    count_advice,
    counted,
    exact_count,
    is_empty,
    name_and_value,
    value_counts,
)
from mixopt.runs.columns import NEITHER, UNFINISHED, Choice, checked, loss_columns, plain_name, unit_of, weight_columns
from mixopt.runs.filters import Source, last_rows, open_runs
from mixopt.runs.mixtures import EXACT, SUM_TOLERANCE, read_shares
from mixopt.runs.source import Interface, Table, file_record, is_table, no_losses
from mixopt.runs.table import SAME_MIXTURE, RunTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.runs.filters import Files
    from mixopt.study.progress import Progress

    Floats = NDArray[np.float64]


MAX_STEP_RATIO = 1.1  # of a table's last steps: more is another length of training
DESCRIBED = ("params", "tokens", "seed", "step")  # columns of such names may hold words instead
MIN_MIXTURES = 5  # five folds need five


def read_runs(
    path: Files,
    *,
    weights: Choice = None,
    losses: Choice = None,
    on: str | None = None,
    where: str | Sequence[str] | None = None,
    params: str | float | None = None,
    tokens: str | float | None = None,
    seed: str | float | None = None,
    renormalise: bool = False,
    last_step: bool = False,
    checkpoints: bool = False,
    tolerance: float = SUM_TOLERANCE,
    min_mixtures: int = MIN_MIXTURES,
    interface: Interface = "study",
) -> RunTable:
    """The runs of a .csv, .tsv or .parquet file, of a data frame, or of two of them: mixtures and losses.

    weights, losses: a prefix, a list of columns or {name: column}; None: recognised (w/x, w_x, weight_x, train_x,
    x_weight ...; loss/x, loss_x, x_loss, valid_x ...). In a pair, if the mixtures' columns are named otherwise, all
    other numeric columns of the first file are weights when they sum to 1, and those of the second are losses.
    on: the id column (of both files). params, tokens, seed: a column, or one number for all runs.
    where: conditions on columns that a row must keep to be read, such as "model_size=122M" (see `parse_condition`).
    renormalise: divide each row's weights by their sum. last_step: of a run with several steps keep the last row that
    has losses, by `tokens` or else a step column; runs without ids are distinguished by weights, params and seed.
    checkpoints: a run may have several rows, and sizes and lengths that differ are what the table is for.
    tolerance: how far from 1 a row's weights may sum; within it they are used as written, and a note says so.
    min_mixtures: different mixtures below which a table is refused. interface: how messages write these settings.

    Raises MixoptError, naming file, line and column, for anything that can't be read as runs.
    """
    import pandas as pd

    source = open_runs(path, on=on, where=where, last_step=last_step, checkpoints=checkpoints, interface=interface)
    notes = list(source.notes)
    settings = {"params": params, "tokens": tokens, "seed": seed}
    facts, fact_columns = _facts(source, settings)
    spoken_for = {source.key or "", *fact_columns.values()}
    domains = _weight_columns(source, weights, spoken_for)
    targets = _loss_columns(source, losses, spoken_for if source.pair else {*spoken_for, *domains})
    if last_step:
        alike = np.column_stack([source.mixtures.numbers(column, percents=True) for column in domains])
        apart = np.column_stack([facts["params"], facts["seed"]])
        source = last_rows(source, alike, apart, targets, tokens if isinstance(tokens, str) else None, notes)
        facts, _ = _facts(source, settings)
    shares = read_shares(source.mixtures, domains, renormalise=renormalise, tolerance=tolerance, notes=notes)
    diverged = facts.get("diverged", np.zeros(len(shares), dtype=bool))
    notes += _what_can_be_learned(domains, shares[~diverged])
    for name in DESCRIBED:
        column = _find(source, name, None)[1] if settings.get(name) is None else None
        if column is not None and name not in fact_columns:
            notes.append(f"Column {column!r} holds text and is not read as {name}.")
    problems = _no_losses(source.metrics, targets, diverged)
    targets = {column: name for column, name in targets.items() if name not in problems}
    recognised_alone = losses is None or isinstance(losses, str)  # a run counts for its other losses
    if problems and not (targets and recognised_alone):
        raise MixoptError(next(iter(problems.values())))
    notes += [f"{problem}: not among the losses." for problem in problems.values()]
    measured = _losses(source.metrics, targets, diverged, notes)
    pools = _by_name(source.mixtures, "pool", domains.values())
    bits = _by_name(source.metrics, "bpb", targets.values())
    notes += _unused(source, {*spoken_for, *domains, *targets, *pools.values(), *bits.values()})
    _enough(source.mixtures, shares[~diverged], min_mixtures, notes)
    if not checkpoints:
        notes += _settings_that_differ(source, facts, fact_columns, shares, diverged)
    frame = pd.DataFrame(
        {
            "run_id": source.run_ids,
            **facts,
            **{f"w/{name}": shares[:, i] for i, name in enumerate(domains.values())},
            **{name: source.mixtures.counts(column) for name, column in pools.items()},
            **{f"loss/{name}": measured[:, i] for i, name in enumerate(targets.values())},
            **{name: source.metrics.numbers(column) for name, column in bits.items()},
        }
    )
    copies = frame.drop(columns="run_id").duplicated()
    if copies.any():
        which = comma_list([str(run_id) for run_id in frame["run_id"][copies]])
        rows = counted(int(copies.sum()), "row")
        notes.append(f"{rows} the same as an earlier one in all but the id and left out: {which}.")
        frame = frame.loc[~copies].reset_index(drop=True)
    other_units = frozenset(name for column, name in targets.items() if not unit_of(column))
    return RunTable(frame, tuple(domains.values()), tuple(targets.values()), tuple(notes), problems, other_units)


# Which columns


def _facts(
    source: Source, settings: Mapping[str, str | float | None]
) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """params, tokens, seed, and where a file has them step, role, diverged, reason; and the columns they are in."""
    facts: dict[str, NDArray[Any]] = {}
    columns: dict[str, str] = {}
    for name in ("role", "params", "tokens", "seed", "step", "diverged", "reason"):
        setting = settings.get(name)
        if setting is not None and not isinstance(setting, str):
            if name != "seed" and not 0 < setting < math.inf:
                raise MixoptError(f"{source.mixtures.setting(name)} {setting:g}: write a count above 0, such as 70M")
            facts[name] = np.full(len(source.mixtures), float(setting))
            continue
        table, column = _find(source, name, setting)
        if column is not None and setting is None and name in DESCRIBED and not _counts(table, column):
            column = None  # such as a seed "default" or a model size "OLMo2-190M"
        if column is not None:
            columns[name] = column
            if name == "diverged":
                facts[name] = _flags(table, column)
            elif name in ("role", "reason"):
                words = [None if is_empty(cell) else str(cell) for cell in table.cells(column)]
                facts[name] = np.array(words, dtype=object)
            elif name in ("params", "tokens"):
                facts[name] = table.counts(column)
            else:
                facts[name] = table.numbers(column)
        elif name in settings:
            facts[name] = np.full(len(source.mixtures), np.nan)
    return facts, columns


def _counts(table: Table, column: str) -> bool:
    return table.as_counts(column) is not None


def _find(source: Source, name: str, setting: str | None) -> tuple[Table, str | None]:
    tables = (source.mixtures, source.metrics)
    if setting is not None:
        both = list(dict.fromkeys(column for table in tables for column in table.columns))
        if setting not in both and (advice := count_advice(setting, "")):
            raise MixoptError(f"{source.mixtures.setting(name)} {setting!r} is no column and no count: {advice}")
        checked(both, setting, setting=source.mixtures.key(name), where=source.mixtures.path)
    found = ((table, setting or table.recognised(name)) for table in tables)
    return next(((table, column) for table, column in found if column in table.columns), (source.mixtures, None))


def _flags(table: Table, column: str) -> NDArray[np.bool_]:
    words = {"true": True, "1": True, "1.0": True, "yes": True, "false": False, "0": False, "0.0": False, "no": False}
    flags = [False if is_empty(cell) else words.get(str(cell).lower()) for cell in table.cells(column)]
    if None in flags:
        raise MixoptError(f"{table.at(flags.index(None), column)}: write true or false")
    return np.array(flags, dtype=bool)


def _weight_columns(source: Source, choice: Choice, spoken_for: set[str]) -> dict[str, str]:
    table = source.mixtures
    free = [column for column in table.columns if column not in spoken_for]
    found = weight_columns(free, choice, where=str(table.path), key=table.key("weights"))
    if not found and source.pair:
        others = _others(table, spoken_for)
        sums = np.sum([table.numbers(column) for column in others], axis=0)
        if others and (np.abs(sums - 1) <= SUM_TOLERANCE).all():
            found = {column: column for column in others}
    if not found:
        order = "the file with the mixtures comes first, the one with the losses second; else " if source.pair else ""
        raise MixoptError(
            f"{table.path}: no column looks like a weight (w_x, weight_x, train_x, x_weight): {order}say which are "
            f"with {table.setting('weights')}, a prefix, a list or a map; it has {comma_list(table.columns)}"
        )
    if len(found) < 2:
        raise MixoptError(
            f"{table.path}: {comma_list(list(found))} is the only weight column: a mixture needs the shares of two "
            "domains or more, so add a column for the rest, or say which are the weights "
            f"with {table.setting('weights')}"
        )
    return found


def _loss_columns(source: Source, choice: Choice, spoken_for: set[str]) -> dict[str, str]:
    table = source.metrics
    free = [column for column in table.columns if column not in spoken_for]
    found = loss_columns(free, choice, where=str(table.path), key=table.key("losses"))
    if not found and source.pair:
        found = {column: column for column in _others(table, spoken_for)}
    if not found:
        raise MixoptError(
            f"{table.path}: no column looks like a loss (loss_x, x_loss, valid_x): say which are with "
            f"{table.setting('losses')}, a prefix, a list or a map; it has {comma_list(table.columns)}"
        )
    return found


def _others(table: Table, spoken_for: set[str]) -> list[str]:
    """Numeric columns that aren't about the run."""
    free = [column for column in table.columns if column not in spoken_for and plain_name(column) not in NEITHER]
    return [column for column in free if table.is_numeric(column)]


def _by_name(table: Table, kind: str, names: Iterable[str]) -> dict[str, str]:
    """{kind/name: column} for columns kind/name or kind_name."""
    pairs = ((f"{kind}/{name}", column) for name in names for column in (f"{kind}_{name}", f"{kind}/{name}"))
    return {name: column for name, column in pairs if column in table.columns}


def _unused(source: Source, used: set[str]) -> list[str]:
    notes = []
    for table in (source.mixtures, source.metrics)[: 1 + source.pair]:
        left = [column for column in table.columns if column not in used and plain_name(column) not in NEITHER]
        if left:
            notes.append(f"{table.path.name} has columns that are not used: {comma_list(left)}.")
    return notes


# What they hold


def _what_can_be_learned(columns: Mapping[str, str], shares: Floats) -> list[str]:
    """Notes on domains that never vary, and on those that always vary together."""
    names = list(columns.values())
    if not len(shares):
        return []
    still = np.ptp(shares, axis=0) <= EXACT
    unused = [name for i, name in enumerate(names) if still[i] and shares[0, i] <= EXACT]
    fixed = [name for i, name in enumerate(names) if still[i] and name not in unused]
    notes = []
    if fixed:
        notes.append(f"{comma_list(fixed)}: the same weight in every run, so nothing can be learned about it.")
    if unused:
        notes.append(f"{comma_list(unused)}: no run has any of it, so nothing can be learned about it.")
    noted: set[str] = set()
    for i, name in enumerate(names):
        alike = np.flatnonzero(np.abs(shares - shares[:, [i]]).max(axis=0) <= EXACT)
        if len(alike) > 1 and not still[i] and name not in noted:
            noted |= {names[j] for j in alike}
            twins = comma_list([names[j] for j in alike])
            notes.append(f"{twins} have the same weights as each other: their effects can't be told apart.")
    return notes


def _no_losses(table: Table, columns: Mapping[str, str], diverged: NDArray[np.bool_]) -> dict[str, str]:
    """Names of columns with cells that are no losses, or without any, and what is wrong with the first."""
    problems = {}
    for column, name in columns.items():
        try:
            values = table.numbers(column)
        except MixoptError as error:
            problems[name] = f"{error}, or choose the columns with {table.setting('losses')}"
            continue
        wrong = np.flatnonzero(~diverged & no_losses(values))
        if len(values) > diverged.sum() and np.isnan(values[~diverged]).all():
            problems[name] = (
                f"{table.path}, column {column!r}: no run has a loss there: leave it out with {table.setting('losses')}"
            )
        elif len(wrong):
            problems[name] = (
                f"{table.at(int(wrong[0]), column)}: a loss is a finite number above 0: leave it empty if it is "
                f"missing, mark the run in a column `diverged`, or choose the columns with {table.setting('losses')}"
            )
    return problems


def _losses(table: Table, columns: Mapping[str, str], diverged: NDArray[np.bool_], notes: list[str]) -> Floats:
    """The losses, (n_rows, n_targets), NaN where missing."""
    losses = np.column_stack([table.numbers(column) for column in columns])
    losses[diverged[:, None] & ~np.isfinite(losses)] = np.nan
    counted = losses[~diverged]
    missing = np.isnan(counted)
    if missing.any():
        short = {name: int(n) for name, n in zip(columns.values(), missing.sum(axis=0), strict=True) if n}
        where = ", ".join(f"{name!r} in {n}" for name, n in list(short.items())[:8])
        more = f" and {len(short) - 8} more losses" if len(short) > 8 else ""
        notes.append(
            f"Losses are missing, of {len(counted)} runs: {where}{more}. Those runs count for their other losses."
        )
    flat = [name for name, values in zip(columns.values(), counted.T, strict=True)
            if len(values) > 1 and np.nanmin(values) == np.nanmax(values)]  # fmt: skip
    if flat:
        notes.append(f"{comma_list(flat)}: the same loss in every run, so there is nothing to predict.")
    return losses


def _enough(table: Table, shares: Floats, min_mixtures: int, notes: list[str]) -> None:
    mixtures = len(np.unique(np.round(shares, SAME_MIXTURE), axis=0)) if len(shares) else 0
    if mixtures < min_mixtures:
        raise MixoptError(
            f"{table.path}: {len(shares)} usable runs of {mixtures} different mixtures: at least {min_mixtures} "
            "mixtures are needed to fit a predictor and check it"
        )
    if mixtures <= shares.shape[1]:
        notes.append(f"{mixtures} different mixtures cannot tell the effects of {shares.shape[1]} domains apart.")


def _settings_that_differ(
    source: Source,
    facts: Mapping[str, NDArray[Any]],
    columns: Mapping[str, str],
    shares: Floats,
    diverged: NDArray[np.bool_],
) -> list[str]:
    """Notes on runs of several sizes or lengths, with how to keep those of one, and on unfinished ones."""
    table, notes = source.mixtures, []
    if (state := table.recognised("state")) is not None:
        words = [str(cell).lower() for cell in table.cells(state)]
        if broken := [word for word in words if word in UNFINISHED]:
            keep = table.setting("where", f"{state}!={','.join(sorted(set(broken)))}")
            notes.append(
                f"Not all runs are finished ({state}: {value_counts(broken)}): keep those that are with {keep}."
            )
    steps = facts.get("step", np.array([]))
    ends = steps[np.isfinite(steps)]
    if len(ends) and ends.max() > MAX_STEP_RATIO * max(ends.min(), 1):
        notes.append(
            f"The runs' last steps ({columns['step']}) are {ends.min():g} to {ends.max():g}: losses early in training "
            f"do not compare with later ones, so keep those of one length with {table.setting('where')}."
        )
    for name, what in (("params", "model sizes"), ("tokens", "training lengths")):
        known = ~diverged & np.isfinite(facts[name])
        values = np.unique(facts[name][known])
        if len(values) < 2:
            continue
        column = columns[name]
        # Rows that agree in all but this: one run's checkpoints, or a mixture trained for several lengths.
        mixtures = len(np.unique(np.round(shares[known], SAME_MIXTURE), axis=0))
        keep = f"those of one with {table.setting('where', f'{column}={exact_count(values[-1])}')}"
        if name == "tokens" and mixtures < known.sum():
            keep = f"each run's last row with {table.setting('last_step')}, or {keep}"
        notes.append(
            f"The runs have {len(values)} {what}, {column} {value_counts(facts[name][known].tolist())}, which a fit on "
            f"weights alone takes for noise: keep {keep}; `mixopt scale` learns from all of them."
        )
    return notes


@dataclass(frozen=True)
class Reading:
    """A run table's files (one, or mixtures and losses) and how to read them: options as they are typed."""

    files: Sequence[Path]
    weights: str | None = None
    losses: str | None = None
    on: str | None = None
    where: tuple[str, ...] = ()
    params: str | None = None
    tokens: str | None = None
    last_step: bool = False
    renormalise: bool = False

    @property
    def name(self) -> str:
        """The first file's, without its ending."""
        return self.files[0].stem

    @property
    def file_names(self) -> str:
        return " and ".join(path.name for path in self.files)

    def table(self, progress: Progress) -> RunTable:
        """The runs, with their notes shown. Raises MixoptError, naming options, for what can't be read as runs."""
        progress.stage("import")
        table = self.read()
        for note in table.notes:
            progress.note(note)
        progress.finish(
            f"{len(table.frame)} runs of {len(table.domains)} domains, {counted(len(table.targets), 'loss')}, "
            f"{self.file_names}"
        )
        return table

    def read(self, *, checkpoints: bool = False) -> RunTable:
        """The runs, or their checkpoints, without a word."""
        return read_runs(
            self.files,
            weights=choice(self.weights, "--weights"),
            losses=choice(self.losses, "--losses"),
            on=self.on,
            where=self.where,
            params=column_or_count(self.params),
            tokens=column_or_count(self.tokens),
            last_step=self.last_step,
            checkpoints=checkpoints,
            renormalise=self.renormalise,
            interface="command",
        )

    @property
    def of_tables(self) -> bool:
        """Whether all files are tables."""
        return all(is_table(path) for path in self.files)

    def options(self) -> dict[str, object]:
        """The options that were given, as JSON-able values."""
        every = {key: value for key, value in vars(self).items() if key != "files"} | {"where": list(self.where)}
        return {key: value for key, value in every.items() if value not in (None, [], False)}

    def record(self) -> dict[str, object]:
        """The files with their hashes, and the options that were given, as JSON-able values."""
        return {"files": [file_record(path) for path in self.files], "options": self.options()}


def choice(text: str | None, option: str) -> Choice:
    """Columns as an option names them: a prefix, a,b or name=column,name=column."""
    if text is None:
        return text
    pairs = [name_and_value(part) for part in comma_separated(text)]
    columns = [column for _, column in pairs]
    if all(name is None for name, _ in pairs):
        return columns if len(columns) > 1 or text.rstrip().endswith(",") else "".join(columns)
    if not all(name and column for name, column in pairs):
        raise MixoptError(f"{option} {text!r}: write name=column for every column, or for none")
    return {str(name): column for name, column in pairs}


def column_or_count(text: str | None) -> str | float | None:
    """70M and 1e9 as numbers, other text as a column's name."""
    number = None if text is None else as_number(text)
    return text if number is None else number
