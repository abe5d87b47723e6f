"""The stages of a study of mixtures, from its plan to its exports."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.mixture.design import Plan, design
from mixopt.mixture.fit import Fitted, check_target, fit
from mixopt.serialization import read_json
from mixopt.study.loading import resolve

if TYPE_CHECKING:
    from rich.console import Console

    from mixopt.runs.table import RunTable
    from mixopt.study.pipeline import Session


def plan(session: "Session", shards: Any) -> Plan:
    """The planned runs, and design.csv."""
    return design(session.study, shards, session.path, session.folder, session.progress)


def collect(session: "Session", plan: Plan) -> "RunTable":
    """The plan's finished runs as a table, and runs.parquet and runs.csv with it."""
    from mixopt.runs.table import collect as collect_runs

    return collect_runs(session.folder.runs, only={job.run_id for job in plan.jobs})


def import_runs(session: "Session") -> "RunTable":
    """The table of runs that the study file names. Its notes are told; nothing in it is repaired silently."""
    from mixopt.runs.read import read_runs
    from mixopt.runs.table import write_table

    file = session.study.runs_file
    assert file is not None
    session.progress.stage("import")
    paths = [resolve(session.path, p) for p in (file.path, file.metrics) if p]
    table = read_runs(
        paths if len(paths) > 1 else paths[0],
        weights=file.weights,
        losses=file.losses,
        on=file.on,
        where=file.where,
        params=file.params,
        tokens=file.tokens,
        seed=file.seed,
        renormalise=file.renormalise,
        last_step=file.last_step,
    )
    check_target(table, session.study, str(session.path))
    write_table(table.frame, session.folder.root)
    for note in table.notes:
        session.progress.note(note)
    session.progress.finish(
        f"{len(table.frame)} runs of {len(table.domains)} domains, {len(table.targets)} losses from {paths[0].name}"
    )
    return table


def fitted(session: "Session", table: "RunTable") -> Fitted:
    from mixopt.mixture.recommend import known_pools
    from mixopt.runs.pools import full_unique

    full = session.study.full
    unique = full_unique(table.domains, known_pools(session, table), full.tokens) if full else None
    return fit(table, session.study, session.folder, session.progress, unique=unique)


def recommend(session: "Session", table: "RunTable") -> dict[str, Any]:
    """Fit, search and recommendation.json."""
    from mixopt.mixture.recommend import advise

    return advise(session, fitted(session, table), table)


def write_report(session: "Session") -> Path:
    from mixopt.mixture.report.page import write

    return write(session.folder.root)


def export(session: "Session") -> list[Path]:
    """Trainer configs of the recommendation, in export/."""
    from mixopt.mixture.export import write_exports

    folder = session.folder
    recommendation = read_json(folder.recommendation, made_by="run")
    lengths = None
    if session.study.runs is None:
        texts = read_json(folder.corpora, made_by="prepare")["texts"]
        lengths = {
            name: (texts[name]["train_tokens"] + texts[name]["val_tokens"]) / texts[name]["documents"]
            for name in session.study.domains
        }
    return write_exports(recommendation, folder.export, tokens_per_document=lengths)


def verify(session: "Session") -> dict[str, Any]:
    """The recommendation, the natural and the uniform mixture really trained, at two sizes."""
    from mixopt.mixture.verify import verify as do

    return do(session.study, session.path, session.folder, session.progress)


def show_verified(console: "Console", verified: dict[str, Any]) -> None:
    from mixopt.mixture.summary import show_verification

    show_verification(console, verified)


def show_fit(console: "Console", found: Fitted) -> None:
    from mixopt.mixture.summary import show_scores

    show_scores(console, found.selection)


def show(console: "Console", recommendation: dict[str, Any]) -> None:
    from mixopt.mixture.summary import show_recommendation

    show_recommendation(console, recommendation)


def outputs(session: "Session") -> list[tuple[str, Path]]:
    """What a finished study is read in, with its names."""
    folder = session.folder
    return [
        ("report", folder.report),
        ("recommendation", folder.recommendation),
        ("trainer configs", folder.export),
        ("runs", folder.root / "runs.csv"),
    ]
