"""What `mixopt plan` does: answers from published laws, or from laws fitted to the user's own runs."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixopt import __version__
from mixopt.errors import MixoptError


@dataclass(frozen=True)
class Source:
    """Where a plan's laws come from: a table of runs with options as they are typed, or nothing."""

    path: Path | None
    columns: str | None
    where: tuple[str, ...]
    seed: int

    def options(self, progress: Any) -> dict[str, Any]:
        """What the plan takes of it: the runs, read. Raises MixoptError for options without a table."""
        if self.path is None:
            if self.columns or self.where:
                raise MixoptError("--columns and --where are about a table of runs: name it with --runs")
            return {}
        from mixopt.plan.runs import read_plan_runs

        runs = read_plan_runs(self.path, columns=named_columns(self.columns), where=self.where)
        for note in runs.notes:
            progress.note(note)
        return {"runs": runs, "seed": self.seed, "progress": progress}


def named_columns(text: str | None) -> dict[str, str]:
    """params=size,loss=val as a map. Raises MixoptError for anything else."""
    if text is None:
        return {}
    from mixopt.plan.runs import NAMES

    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    found = {name.strip(): column.strip() for name, _, column in pairs}
    if not all(name in NAMES and column for name, column in found.items()):
        raise MixoptError(f"--columns {text}: write name=column, where name is one of {', '.join(NAMES)}")
    return found


def epochs(given: Mapping[str, Any], source: Source, *, html: Path | None, as_json: bool) -> None:
    """`mixopt plan epochs`: given are the options of `plan_epochs` as they are typed."""
    from mixopt.plan.asking import plan_epochs

    if given["unique"] is None:
        raise MixoptError("--unique is missing: how many tokens of different text there are, such as --unique 25B")
    answer(plan_epochs, given, source, html, as_json)


def scale(given: Mapping[str, Any], source: Source, *, html: Path | None, as_json: bool) -> None:
    """`mixopt plan scale`: given are the options of `plan_scale` as they are typed."""
    from mixopt.plan.asking import plan_scale

    answer(plan_scale, given, source, html, as_json)


def answer(
    plan: Callable[..., dict[str, Any]], given: Mapping[str, Any], source: Source, html: Path | None, as_json: bool
) -> None:
    """Answers; tells it on the terminal or as JSON, and as a page."""
    from mixopt.plan.boards import show
    from mixopt.terminal import TerminalProgress, show_paths, standard_console

    console = standard_console(error=as_json)
    progress = TerminalProgress(console)
    read = source.options(progress)
    told = plan(**given, **read) | {"made": made(read.get("runs"))}
    if as_json:
        sys.stdout.write(json.dumps(told, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    else:
        show(console, told)
    if html is not None:
        from mixopt.report.plan import render_plan

        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(render_plan(told), encoding="utf-8")
        show_paths(console, [("page", html)])


def made(runs: Any) -> dict[str, Any]:
    """The command, the version, and the files with their hashes."""
    record: dict[str, Any] = {"command": shlex.join(["mixopt", *sys.argv[1:]]), "versions": {"mixopt": __version__}}
    return record | ({} if runs is None else {"files": list(runs.files)})
