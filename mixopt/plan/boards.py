"""Plans as the terminal shows them, drawn by Rich: what to do in words, then small tables."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mixopt.plan.said import Board, said, tables, warnings


def show(console: Console, plan: Mapping[str, Any]) -> None:
    """A plan of any kind: sentences, the first of them the answer; tables; what limits all of it."""
    console.print()
    for n, sentence in enumerate(said(plan)):
        console.print(escape(sentence), highlight=False, style=None if n else "bold")
    for board in tables(plan):
        console.print()
        console.print(drawn(board))
        if board.note:
            console.print(escape(board.note), highlight=False, style="dim")
    for sentence in warnings(plan):
        console.print(f"[yellow]![/] {escape(sentence)}", highlight=False)


def drawn(board: Board) -> Table:
    """A table of the terminal, wide enough for its title where the terminal is."""
    table = Table(title=escape(board.title), title_justify="left", min_width=min(len(board.title), 76))
    table.add_column(board.first, overflow="fold")
    for heading in board.headings:
        table.add_column(heading, justify="right")
    for n, row in enumerate(board.rows):
        table.add_row(*map(escape, row), style="bold" if n == board.marked else None)
    return table
