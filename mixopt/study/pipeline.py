"""The whole path: a study file in, a recommendation, a report and exports out; what is done is not done again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mixopt.report.document import Document
from mixopt.report.html import render
from mixopt.serialization import Json
from mixopt.study.kind import Session, kind_named
from mixopt.study.layout import Folder, alone
from mixopt.study.loading import files_read, load_study
from mixopt.study.prepare import open_shards, prepare
from mixopt.study.progress import Progress


def open_session(path: Path | str, out: Path | str | None = None, progress: Progress | None = None) -> Session:
    """Reads a study file and keeps a copy of it in the study folder (out; default: studies/<name>).

    Raises MixoptError for a study file that isn't valid, and a folder that holds anything but this study.
    """
    path = Path(path)
    study = load_study(path)
    folder = _folder(study, out)
    folder.claim(study.name, path, files_read(study, path))
    return Session(study, path, folder, progress or Progress(), kind_named(study.kind))


@contextmanager
def held_session(
    path: Path | str, out: Path | str | None = None, progress: Progress | None = None
) -> Iterator[Session]:
    """`open_session`, and no other process in the folder until the end. Raises MixoptError where one is at work."""
    with alone(_folder(load_study(path), out).root):
        yield open_session(path, out, progress)


def _folder(study: Any, out: Path | str | None) -> Folder:
    return Folder(Path(out) if out else Path("studies") / study.name)


def run(session: Session) -> Json:
    """Every stage from corpora (or finished runs) to report and exports. Gives recommendation.json's content."""
    recommendation = session.kind.recommend(session, runs_of(session))
    write_report(session)
    if session.kind.exports:
        session.kind.export(session)
    return recommendation


def runs_of(session: Session) -> Any:
    """The study's run table: imported, or trained as far as runs are missing."""
    kind = session.kind
    if session.study.brings_runs:
        return kind.import_runs(session)
    shards = prepare(session.study, session.path, session.folder, session.progress)
    plan = kind.plan(session, shards)
    kind.train(session, plan, shards)
    return kind.collect(session, plan)


def recommend_for(study: Path | str, *, out: Path | str | None = None) -> Json:
    """Everything that `mixopt run` does, from Python. Gives recommendation.json's content.

    study: a study file; out: the study folder, default studies/<name>. Raises MixoptError for what a user can mend.
    """
    with held_session(study, out) as session:
        return run(session)


def planned(session: Session) -> tuple[Any, Any]:
    """The plan on shards that are there already, and the shards."""
    shards = open_shards(session.study, session.folder)
    return session.kind.plan(session, shards), shards


def finished_runs(session: Session) -> Any:
    """The study's run table without training anything."""
    if session.study.brings_runs:
        return session.kind.import_runs(session)
    return session.kind.collect(session, planned(session)[0])


def write_report(session: Session) -> Document:
    """report.html from what is in the study folder."""
    session.progress.stage("report")
    path = session.folder.report
    document = session.kind.report(session)
    session.folder.write(path, render(document))
    session.progress.finish(str(path))
    return document
