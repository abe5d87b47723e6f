"""How plans are said: tables that the terminal and the page share, and numbers as a reader says them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mixopt.report.words import UNKNOWN, known, passes

FOREVER = 1000.0  # epochs; more are told as so many


@dataclass(frozen=True)
class Board:
    """A table: the first column, headed `first`, is text, the others are numbers. note: what it takes to read it."""

    title: str
    first: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: int | None = None
    note: str = ""


def times(value: float | None) -> str:
    """Epochs; very many are told as such."""
    return "never" if value is None else f">{FOREVER:.0f}" if value > FOREVER else passes(value)


def flops(value: Any) -> str:
    return f"{value:.2e}".replace("e+", "e") if known(value) else UNKNOWN


def span(ends: Sequence[float] | None, told: Callable[[Any], str]) -> str:
    """An interval, or nothing where none is known."""
    return "" if ends is None else f"{told(ends[0])} to {told(ends[1])}"


def named(row: Mapping[str, Any], leads: bool) -> str:
    """A form's name in a table: whether its answer is the one above, and whether it knows of repetition."""
    return row["form"] + (" *" if row["sees_repetition"] is False else "") + (" (used)" if leads else "")
