"""Documents: what is shown of an answer, built once and rendered to the terminal, HTML or Markdown."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import zip_longest
from typing import Any, Literal, TypeVar

from mixopt.formatting import UNKNOWN


@dataclass(frozen=True)
class Warning:
    """What limits an answer: a code that stays the same, and the sentence for this case."""

    code: str  # such as "outside-hull"
    text: str
    level: Literal["warning", "note"] = "warning"


def with_codes(texts: Iterable[str], codes: Iterable[str]) -> list[Warning]:
    """Stored warnings: their sentences and, in the same order, their codes; files of older versions have no codes."""
    return [Warning(code, text) for text, code in zip_longest(texts, codes, fillvalue="")]


@dataclass(frozen=True)
class Paragraph:
    text: str
    role: Literal["", "strong", "note"] = ""  # note: what it takes to read what stands above


@dataclass(frozen=True)
class Listing:
    """Sentences, one an item."""

    items: Sequence[str]


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Column:
    name: str
    numeric: bool = True
    wide: bool = False  # sentences: keep it from being squeezed
    strong: bool = False  # the column that the table is about


def columns(first: str, *others: str, strong: str = "", text: Sequence[str] = ()) -> list[Column]:
    """Names, then numbers, but for the columns in `text`. strong: the column that the table is about."""
    more = [Column(name, numeric=name not in text, strong=name == strong) for name in others]
    return [Column(first, numeric=False), *more]


@dataclass(frozen=True)
class Table:
    """Rows of formatted text; the first cell of a row is its heading. marked: the row to set off."""

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    marked: int | None = None
    note: str = ""

    def without_empty_columns(self) -> "Table":
        """The table without the columns in which nothing is known; the first one stays."""
        kept = [i for i in range(len(self.columns)) if i == 0 or any(row[i] not in ("", UNKNOWN) for row in self.rows)]
        rows = [[row[i] for i in kept] for row in self.rows]
        return replace(self, columns=[self.columns[i] for i in kept], rows=rows)


Row = TypeVar("Row")
Shown = TypeVar("Shown")
Cells = Mapping[str, Callable[[Row], str]]  # columns by name: what they say of a row


def table_of(title: str, rows: Sequence[Row], cells: Cells[Row], marked: int | None = None, note: str = "") -> Table:
    """A table by its columns, of which the first holds names and the others numbers."""
    return Table(title, columns(*cells), [[text(row) for text in cells.values()] for row in rows], marked, note)


@dataclass(frozen=True)
class Bar:
    """One line of a bar chart. value and the marks are on the chart's own scale; label is the value as text."""

    name: str
    value: float
    label: str
    second: float | None = None  # a thin bar under the first, such as the natural share
    mark: float | None = None  # an upright dashed line, such as the uniform share
    aside: str = ""  # after the label


@dataclass(frozen=True)
class Bars:
    """Horizontal bars that need no script. key: what the bar, the thin bar and the dashed line are, as far as shown."""

    bars: Sequence[Bar]
    caption: str
    key: Sequence[str] = ()
    shown: int = 30  # the others are folded away


@dataclass(frozen=True)
class Figure:
    """Plotly figures, {"data": [...], "layout": {...}}, one for each of the choices; one alone needs no choice."""

    key: str
    caption: str
    plots: Sequence[Mapping[str, Any]]
    choices: Sequence[str] = ()
    label: str = "Show"


@dataclass(frozen=True)
class Folded:
    """Blocks behind a summary, unfolded for printing."""

    summary: str
    blocks: Sequence["Block"]


Block = Paragraph | Listing | Code | Table | Bars | Figure | Folded


@dataclass(frozen=True)
class Section:
    """Blocks under a heading. key: its anchor.

    contents: its name in the list of contents, "" for none. brief: whether the terminal shows it too.
    """

    key: str
    title: str
    blocks: Sequence[Block]
    contents: str = ""
    brief: bool = False


@dataclass(frozen=True)
class Document:
    """An answer and its evidence. headline: the answer in a sentence. summary: how sure it is, a sentence each.

    scope: what the numbers are about; for pages only.
    """

    title: str
    headline: str
    summary: Sequence[str] = ()
    scope: str = ""
    warnings: Sequence[Warning] = ()
    sections: Sequence[Section] = ()

    def figures(self) -> dict[str, Sequence[Mapping[str, Any]]]:
        """Plots by their figure's key, in the document's order."""
        blocks = _flat([block for section in self.sections for block in section.blocks])
        return {block.key: block.plots for block in blocks if isinstance(block, Figure)}


NATS = "nats/token"


def in_unit(shown: Shown, unit: str) -> Shown:
    """A document, a part of one or a sentence, without the unit of losses where that isn't nats/token."""
    if unit == NATS:
        return shown
    whole: Any = shown
    if isinstance(whole, str):
        text = whole.replace(f"are {NATS}", "are as in the table")
        return re.sub(rf", {NATS},?| \({NATS}\)|(^| ){NATS}", "", text) or ("loss" if text else "")  # pyright: ignore[reportReturnType]
    if isinstance(whole, Mapping):
        whole = {key: in_unit(part, unit) for key, part in whole.items()}
    elif isinstance(whole, list | tuple):
        whole = [in_unit(part, unit) for part in whole]
    elif isinstance(whole, (Document, Section, Warning, Column, Bar, *Block.__args__)):
        whole = replace(whole, **{part.name: in_unit(getattr(whole, part.name), unit) for part in fields(whole)})
    return whole


def _flat(blocks: Sequence[Block]) -> Iterator[Block]:
    """All blocks, also those that are folded away."""
    for block in blocks:
        yield block
        if isinstance(block, Folded):
            yield from _flat(block.blocks)
