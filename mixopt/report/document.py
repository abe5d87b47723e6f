"""How plans are said: tables that the terminal and the page share, and numbers as a reader says them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Board:
    """A table: the first column, headed `first`, is text, the others are numbers. note: what it takes to read it."""

    title: str
    first: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    marked: int | None = None
    note: str = ""
