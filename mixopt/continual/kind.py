"""The stages of a study of continued pretraining, from its bases and forks to the share of general text to keep."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.continual.design import ForkPlan, design_forks
from mixopt.continual.runs import Continuations, collect_forks
from mixopt.study.training import train_missing

if TYPE_CHECKING:
    from rich.console import Console

    from mixopt.continual.fit import ContinualFit
    from mixopt.study.pipeline import Session


def plan(session: "Session", shards: Any) -> ForkPlan:
    """The planned bases and forks, and design.csv."""
    return design_forks(session.study, shards, session.path, session.folder, session.progress)


def train(session: "Session", plan: ForkPlan, shards: Any) -> None:
    """Bases first, each once and for all studies that share the store; then their forks."""
    for job in plan.bases:
        if not Path(str(job.keep)).is_file():  # its record alone is no base to go on from
            (plan.store / f"{job.run_id}.json").unlink(missing_ok=True)
    common = (plan.recipe, session.study, shards, session.folder)
    if plan.bases:
        train_missing(plan.bases, *common, plan.store, session.progress, title="bases")
    train_missing(plan.jobs, *common, session.folder.runs, session.progress)


def collect(session: "Session", plan: ForkPlan) -> Continuations:
    """The plan's finished forks as a table, and runs.parquet and runs.csv with it."""
    return collect_forks(plan, session.study, session.folder)


def fitted(session: "Session", measured: Continuations) -> "ContinualFit":
    from mixopt.continual.fit import fit_forks

    return fit_forks(session, measured)


def recommend(session: "Session", measured: Continuations) -> dict[str, Any]:
    """Fit, the answer to the study's question, and recommendation.json."""
    from mixopt.continual.recommend import answer

    return answer(session, fitted(session, measured))


def write_report(session: "Session") -> Path:
    from mixopt.continual.report import write_continual

    return write_continual(session.folder)


def verify(session: "Session") -> dict[str, Any]:
    """The recommended run really trained, on fresh seeds."""
    from mixopt.continual.verify import verify_forks
    from mixopt.study.pipeline import planned

    return verify_forks(session, *planned(session))


def show_verified(console: "Console", verified: dict[str, Any]) -> None:
    from mixopt.continual.verify import show_verified as show_it

    show_it(console, verified)


def show_fit(console: "Console", found: "ContinualFit") -> None:
    from mixopt.continual.fit import LOSSES, evidence
    from mixopt.continual.summary import predictors
    from mixopt.report.terminal import drawn

    board = predictors({"losses": {of: evidence(found, of) for of in LOSSES}})
    if board is not None:
        console.print(drawn(board))


def show(console: "Console", recommendation: dict[str, Any]) -> None:
    """The answer in sentences, its tables, and what to be careful about."""
    from mixopt.continual.summary import show_plan

    show_plan(console, recommendation)


def outputs(session: "Session") -> list[tuple[str, Path]]:
    """What a finished study is read in, with its names."""
    folder = session.folder
    return [("report", folder.report), ("answer", folder.recommendation), ("runs", folder.root / "runs.csv")]
