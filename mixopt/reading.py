"""The options of commands on a table of runs, turned into what the library takes, and recorded."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt import __version__
from mixopt.columns import Choice
from mixopt.config import SUM_TOLERANCE, TRIED, parse_count
from mixopt.errors import MixoptError
from mixopt.rows import nearest_names
from mixopt.tables import is_table

if TYPE_CHECKING:
    from mixopt.progress import Progress
    from mixopt.runtable import RunTable

EVERY = "all"  # stands for every loss, or every predictor, of that name there is none


@dataclass(frozen=True)
class Reading:
    """How a table of runs is read: options as they are typed. files: one table, or mixtures and losses."""

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

    def table(self, progress: Progress) -> RunTable:
        """The runs, with their notes told. Raises MixoptError, naming options, for what can't be read as runs."""
        from mixopt.importing import read_runs

        progress.stage("import")
        table = read_runs(
            self.files if len(self.files) > 1 else self.files[0],
            weights=choice(self.weights),
            losses=choice(self.losses),
            on=self.on,
            where=self.where,
            params=column_or_count(self.params),
            tokens=column_or_count(self.tokens),
            last_step=self.last_step,
            renormalise=self.renormalise,
            door="command",
        )
        for note in table.notes:
            progress.note(note)
        names = " and ".join(path.name for path in self.files)
        progress.finish(
            f"{len(table.frame)} runs of {len(table.domains)} domains, {len(table.targets)} losses, {names}"
        )
        return table

    @property
    def of_tables(self) -> bool:
        """Whether all files are tables."""
        return all(is_table(path) for path in self.files)

    def options(self) -> dict[str, Any]:
        """The options that were given, as JSON-able values."""
        given = {key: value for key, value in vars(self).items() if key != "files" and value not in (None, (), False)}
        return given | ({"where": list(self.where)} if self.where else {})

    def record(self) -> dict[str, Any]:
        """The files with their hashes, and the options that were given, as JSON-able values."""
        return {"files": [_file(path) for path in self.files], "options": self.options()}


def _file(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"name": path.name, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def choice(text: str | None) -> Choice:
    """Columns as an option names them: a prefix, a,b or name=column,name=column."""
    if text is None or not any(mark in text for mark in "=,"):
        return text
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not any("=" in part for part in parts):
        return parts
    pairs = [part.partition("=") for part in parts]
    if not all(name.strip() and column.strip() for name, _, column in pairs):
        raise MixoptError(f"{text!r}: write name=column for every column, or for none")
    return {name.strip(): column.strip() for name, _, column in pairs}


def column_or_count(text: str | None) -> str | float | None:
    """70M and 1e9 as numbers, other text as a column's name."""
    try:
        return text if text is None else float(text)
    except ValueError:
        pass
    try:
        return parse_count(text)
    except ValueError:
        return text


def target_weights(text: str | None, texts: Sequence[str]) -> dict[str, float]:
    """A target as an option gives it: a loss, several (a,b: equal weights), a=0.7,b=0.3, or all of them.

    texts: the losses that the runs have. Raises MixoptError for others, and for weights that don't sum to 1.
    """
    if text is None:
        if len(texts) == 1:
            return {texts[0]: 1.0}
        raise MixoptError(
            f"--target is missing: name the loss to minimise, a=0.7,b=0.3 or {EVERY} (equal weights); "
            + nearest_names("", texts)
        )
    if text in texts:
        return {text: 1.0}
    if text == EVERY:
        return {name: 1 / len(texts) for name in texts}
    parts = [part.strip() for part in text.split(",") if part.strip()]
    weighted = [_weighted(part, texts) for part in parts]
    names = [name for name, _ in weighted]
    for name in names:
        if name not in texts:
            raise MixoptError(f"--target: the runs have no loss {name!r}: {nearest_names(name, texts)}")
    if len(set(names)) < len(names) or not names:
        raise MixoptError(f"--target {text!r}: name each loss once")
    shares = [share for _, share in weighted]
    if all(share is None for share in shares):
        return {name: 1 / len(names) for name in names}
    given = [share for share in shares if share is not None]
    total = math.fsum(given)
    if len(given) < len(shares) or min(given) < 0 or not abs(total - 1) <= SUM_TOLERANCE:
        raise MixoptError(
            f"--target {text!r}: give every loss a weight of 0 or more, and all of them a sum of 1, not {total:g}"
        )
    return {name: share for name, share in zip(names, given, strict=True) if share > 0}


def _weighted(part: str, texts: Sequence[str]) -> tuple[str, float | None]:
    """name=weight, or a name alone; names may hold = themselves."""
    name, equals, weight = part.rpartition("=")
    if part in texts or not equals:
        return part, None
    try:
        return name.strip(), float(weight)
    except ValueError:
        raise MixoptError(f"--target: {weight!r} in {part!r} is not a number: write name=0.7") from None


def extra_texts(text: str | None, target: Mapping[str, float], texts: Sequence[str]) -> list[str]:
    """The losses to fit: those of the target, and those that --also names, in the table's order."""
    names = [] if text is None else [part.strip() for part in text.split(",") if part.strip()]
    if names == [EVERY] and EVERY not in texts:
        return list(texts)
    for name in names:
        if name not in texts:
            raise MixoptError(f"--also: the runs have no loss {name!r}: {nearest_names(name, texts)}")
    return [name for name in texts if name in target or name in names]


def predictor_names(text: str | None, default: Sequence[str] = TRIED) -> list[str]:
    """The predictors to judge: a,b,c, all, or by default those that studies try."""
    from regressors import PREDICTORS

    if text is None:
        return list(default)
    if text == EVERY:
        return list(PREDICTORS)
    names = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    for name in names:
        if name not in PREDICTORS:
            near = nearest_names(name, list(PREDICTORS))
            told = near if near.startswith("did") else f"choose from {', '.join(PREDICTORS)}"
            raise MixoptError(f"--predictors: there is no {name!r}: {told}")
    if not names:
        raise MixoptError(f"--predictors: name one or more of {', '.join(PREDICTORS)}, or {EVERY}")
    return names


def versions() -> dict[str, str]:
    """Of everything that decides a fit's numbers."""
    found = {"mixopt": __version__}
    for name in ("numpy", "scipy", "scikit-learn", "lightgbm"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
