"""Plans as the terminal shows them, drawn by Rich: what to do in words, then small tables."""

from rich.markup import escape
from rich.table import Table

from mixopt.report.document import Board


def drawn(board: Board) -> Table:
    """A table of the terminal, wide enough for its title where the terminal is."""
    table = Table(title=escape(board.title), title_justify="left", min_width=min(len(board.title), 76))
    table.add_column(board.first, overflow="fold")
    for heading in board.headings:
        table.add_column(heading, justify="right")
    for n, row in enumerate(board.rows):
        table.add_row(*map(escape, row), style="bold" if n == board.marked else None)
    return table
