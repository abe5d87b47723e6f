"""The stages of a study of repetition, from its ladder of cells to the answer about one more epoch."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.repetition.design import LadderPlan, design_ladder
from mixopt.repetition.runs import Measured, collect_cells

if TYPE_CHECKING:
    from rich.console import Console

    from mixopt.repetition.fit import RepetitionFit
    from mixopt.study.pipeline import Session


def plan(session: "Session", shards: Any) -> LadderPlan:
    """The planned cells, and design.csv."""
    return design_ladder(session.study, shards, session.path, session.folder, session.progress)


def collect(session: "Session", plan: LadderPlan) -> Measured:
    """The ladder's finished cells as a table, and runs.parquet and runs.csv with it."""
    return collect_cells(plan, session.study, session.folder)


def fitted(session: "Session", measured: Measured) -> "RepetitionFit":
    from mixopt.repetition.fit import fit_cells

    return fit_cells(measured, session.study, session.folder, session.progress)


def recommend(session: "Session", measured: Measured) -> dict[str, Any]:
    """Fit, the answer to the study's question, and recommendation.json."""
    from mixopt.repetition.recommend import advise_repetition

    return advise_repetition(session, fitted(session, measured))


def write_report(session: "Session") -> Path:
    from mixopt.repetition.report import write_repetition

    return write_repetition(session.folder)


def show_fit(console: "Console", found: "RepetitionFit") -> None:
    from mixopt.repetition.summary import score_board
    from mixopt.report.terminal import drawn

    for arm in found.record["arms"]:
        console.print(drawn(score_board(found.record, arm)))


def show(console: "Console", recommendation: dict[str, Any]) -> None:
    """The answer, what was measured, the best epochs at the trained sizes, and what to be careful about."""
    from rich.markup import escape

    from mixopt.repetition.summary import best_board, sentences
    from mixopt.report.terminal import drawn

    console.print()
    for n, sentence in enumerate(sentences(recommendation)):
        console.print(escape(sentence), highlight=False, style=None if n else "bold")
    board = best_board(recommendation)
    console.print()
    console.print(drawn(board))
    console.print(escape(board.note), highlight=False, style="dim")
    for warning in recommendation["warnings"]:
        console.print(f"[yellow]![/] {escape(warning)}", highlight=False)


def outputs(session: "Session") -> list[tuple[str, Path]]:
    """What a finished study is read in, with its names."""
    folder = session.folder
    return [("report", folder.report), ("answer", folder.recommendation), ("runs", folder.root / "runs.csv")]
