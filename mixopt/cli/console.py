"""Terminal output of commands: progress bars, JSON, and where results were written."""

import atexit
import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from mixopt.report.document import Document
from mixopt.report.terminal import show
from mixopt.serialization import Json
from mixopt.study.progress import Progress
from mixopt.version import __version__

QUIET_SECONDS = 20  # between lines where there is no terminal to redraw, a log file for instance


class TerminalProgress(Progress):
    """A bar a stage: name, work done, where it is, time left. In a log file a line now and then instead."""

    def __init__(self, console: Console):
        self.console = console
        self.live = console.is_terminal
        self.bar: RichProgress | None = None
        self.task: TaskID | None = None
        self.title = ""
        self.total: float | None = None
        self.started = 0.0
        self.last_line = 0.0

    def stage(self, title: str, *, total: float | None = None) -> None:
        self.close()
        self.title, self.total, self.started = title, total, time.monotonic()
        self.last_line = self.started
        if self.live:
            self.bar = RichProgress(
                TextColumn("[bold]{task.description:<9}"),
                BarColumn(bar_width=24),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[where]}"),
                TimeRemainingColumn(compact=True, elapsed_when_finished=True),
                console=self.console,
                transient=True,
            )
            self.bar.start()
            self.task = self.bar.add_task(title, total=total, where="")

    def update(self, done: float, text: str = "") -> None:
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done, where=escape(text))
        elif time.monotonic() - self.last_line > QUIET_SECONDS:
            self.last_line = time.monotonic()
            share = f" {done / self.total:4.0%}" if self.total else ""
            self.console.print(f"{self.title:<9}{share} {escape(text)}", highlight=False)

    def finish(self, text: str = "") -> None:
        seconds = time.monotonic() - self.started
        self.close()
        self.console.print(f"[bold]{self.title:<9}[/] {escape(text)} [dim]({seconds:.1f} s)[/]", highlight=False)

    def answer(self, document: Document) -> None:
        show(self.console, document)

    def note(self, message: str) -> None:
        self.console.print(f"[yellow]note[/]      {escape(message)}", highlight=False)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()
        self.bar = None


def standard_console(*, error: bool = False) -> Console:
    """For results and progress: standard output (or error), wide enough for a table when it is a file."""
    terminal = (sys.stderr if error else sys.stdout).isatty()
    return Console(width=None if terminal else 110, stderr=error)


def open_console(as_json: bool = False) -> tuple[Console, TerminalProgress]:
    """Where a command talks: standard output, or standard error when it prints JSON."""
    console = standard_console(error=as_json)
    progress = TerminalProgress(console)
    atexit.register(progress.close)  # however it ends, the terminal's cursor comes back
    return console, progress


def print_json(value: Json) -> None:
    sys.stdout.write(json.dumps({"mixopt": __version__} | value, ensure_ascii=False, allow_nan=False, indent=1) + "\n")


def command_line() -> str:
    """The command as it was typed, for records of how they were made."""
    return shlex.join(["mixopt", *sys.argv[1:]])


def show_paths(console: Console, paths: Sequence[tuple[str, Path]]) -> None:
    if paths:
        console.print()
    for what, path in paths:
        # A path is printed whole on its line, so that it can be copied or clicked.
        console.print(f"{what:<15} {escape(str(path))}", highlight=False, soft_wrap=True)
