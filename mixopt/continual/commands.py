"""What `mixopt plan cpt` does: reads runs, fits both losses, answers, shows it."""

from __future__ import annotations

import atexit
import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from mixopt.errors import MixoptError

COUNTS = ("params", "tokens", "compute", "domain_tokens")


def cpt(
    runs: Path | None,
    *,
    columns: Mapping[str, str | None],
    where: Sequence[str],
    asked: Mapping[str, str | None],
    general_start: float | None,
    passes: float | None,
    r_star: float | None,
    law: str,
    sampler: str,
    trials: int,
    seed: int,
    html: Path | None,
    as_json: bool,
) -> None:
    """Answers, shows it, writes what is asked for. asked: tolerance and counts, as they are typed."""
    from mixopt.continual.budget import TOLERANCE, CptQuestion
    from mixopt.continual.fit import fit_continual
    from mixopt.continual.plan import plan_cpt
    from mixopt.continual.runs import read_continual
    from mixopt.continual.said import refusal
    from mixopt.terminal import TerminalProgress, standard_console

    if runs is None:
        raise MixoptError("--runs is missing: a table of runs of continued pretraining, a checkpoint a row")
    counts = {key: count(key, asked[key]) for key in COUNTS}
    tolerance = TOLERANCE if asked["tolerance"] is None else share_of(asked["tolerance"])
    for name, value in (("general-start", general_start), ("passes", passes), ("r-star", r_star)):
        if value is not None and not 0 < value < float("inf"):
            raise MixoptError(f"--{name} {value:g}: give a number above 0")
    table = read_continual(
        runs,
        columns=columns,
        params=counts["params"],
        tokens=counts["tokens"],
        general_start=general_start,
        where=where,
    )
    question = CptQuestion(tolerance=tolerance, passes=passes, r_star=r_star, **counts)
    console = standard_console(error=as_json)
    progress = TerminalProgress(console)
    atexit.register(progress.close)  # however it ends, the terminal's cursor comes back
    progress.stage("fit", total=2)
    fitted = fit_continual(table, law=law, seed=seed, progress=progress)
    progress.finish(f"both losses, {len(table.share)} rows of {len(set(table.run))} runs, {runs.name}")
    plan = plan_cpt(fitted, question, sampler=sampler, trials=trials)
    if plan["answer"] is None:
        raise MixoptError(refusal(plan))
    tell(console, plan | made(runs), html, as_json)


def made(runs: Path) -> dict[str, Any]:
    """The command, the table's hash and the versions."""
    from mixopt.reading import Reading, versions

    command = shlex.join(["mixopt", *sys.argv[1:]])
    return {"made": {"command": command, "versions": versions(), "files": Reading([runs]).record()["files"]}}


def tell(console: Console, plan: Mapping[str, Any], html: Path | None, as_json: bool) -> None:
    """On the terminal or as JSON, and as a page."""
    from mixopt.terminal import show_paths

    if as_json:
        sys.stdout.write(json.dumps(plan, ensure_ascii=False, allow_nan=False, indent=1) + "\n")
    else:
        show(console, plan)
    if html is not None:
        from mixopt.report.cpt import render_cpt

        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(render_cpt(plan), encoding="utf-8")
        show_paths(console, [("page", html)])


def show(console: Console, plan: Mapping[str, Any]) -> None:
    """Sentences, the first of them the answer; tables; what limits all of it."""
    from mixopt.continual.boards import boards
    from mixopt.continual.said import said, warnings
    from mixopt.plan.boards import drawn

    console.print()
    for n, sentence in enumerate(said(plan)):
        console.print(escape(sentence), highlight=False, style=None if n else "bold")
    for board in boards(plan):
        console.print()
        console.print(drawn(board))
        if board.note:
            console.print(escape(board.note), highlight=False, style="dim")
    for sentence in warnings(plan):
        console.print(f"[yellow]![/] {escape(sentence)}", highlight=False)


def share_of(text: str) -> float:
    """3% or 0.03 as 0.03. Raises MixoptError for anything else, 3 among it."""
    plain = text.strip()
    percent = plain.endswith("%")
    try:
        value = float(plain.removesuffix("%")) / (100 if percent else 1)
    except ValueError:
        value = float("nan")
    if not abs(value) < 1:
        raise MixoptError(f"--tolerance {text}: write how much the general loss may rise as 3% or 0.03")
    return value


def count(name: str, text: str | None) -> float | None:
    """1.8B, 1e21 and the like as numbers. Raises MixoptError for what isn't a count above 0."""
    from mixopt.plan.asking import as_number

    if text is None:
        return None
    value = as_number(text)
    if value is None or not 0 < value < float("inf"):
        example = "1e21" if name == "compute" else "10B, 300M or 1e9"
        raise MixoptError(f"--{name.replace('_', '-')} {text}: write a count above 0, such as {example}")
    return value
