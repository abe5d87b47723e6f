"""The whole path: a study file in, a recommendation, a report and exports out; what is done is not done again."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from mixopt.errors import MixoptError
from mixopt.report.document import Document
from mixopt.report.html import render
from mixopt.serialization import CACHE_KEY, Json, read_json, remake, restoring
from mixopt.study.cost import cost_document, cost_of
from mixopt.study.kind import Session, kind_named
from mixopt.study.layout import Folder, alone
from mixopt.study.loading import files_read, load_study
from mixopt.study.prepare import open_shards, prepare
from mixopt.study.progress import Progress
from mixopt.study.stale import settle_plan
from mixopt.threads import on_one_thread


def open_session(path: Path | str, out: Path | str | None = None, progress: Progress | None = None) -> Session:
    """Reads a study file and keeps a copy of it in the study folder (out; default: studies/<name>).

    Raises MixoptError for a study file that isn't valid, and a folder that holds anything but this study.
    """
    study = load_study(path)
    return _session(study, Path(path), _folder(study, out), progress)


@contextmanager
def held_session(
    path: Path | str, out: Path | str | None = None, progress: Progress | None = None
) -> Iterator[Session]:
    """`open_session`, and no other process in the folder until the end. Raises MixoptError where one is at work."""
    study = load_study(path)
    folder = _folder(study, out)
    with alone(folder.root):
        try:
            yield _session(study, Path(path), folder, progress)
        except BaseException:
            folder.withdraw()
            raise


def _folder(study: Any, out: Path | str | None) -> Folder:
    return Folder(Path(out) if out else Path("studies") / study.name)


def _session(study: Any, path: Path, folder: Folder, progress: Progress | None) -> Session:
    folder.claim(study.name, path, files_read(study, path))
    return Session(study, path, folder, progress or Progress(), kind_named(study.kind))


def run(session: Session) -> Json:
    """Every stage from corpora (or finished runs) to report and exports. Gives recommendation.json's content."""
    recommendation = session.kind.recommend(session, runs_of(session))
    _write_report(session)
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
    return trained(session, plan, shards)


def trained(session: Session, plan: Any, shards: Any, *, extend: bool = True) -> Any:
    """The run table of a plan whose missing runs are trained now, and of what is planned once they are there.

    extend: False: the latter is left to be trained later, or elsewhere. Raises MixoptError as `settle_plan` does.
    """
    more: Any = plan
    while more is not None:
        plan = more
        settle_plan(session, plan, shards)
        session.progress.stage("cost")
        session.progress.finish(cost_of(session, plan).sentence)
        session.kind.train(session, plan, shards)
        more = session.kind.extended(session, plan, shards) if extend else None
    return session.kind.collect(session, plan)


@on_one_thread
def run_study(study: Path | str, *, out: Path | str | None = None, retrain: bool = False) -> Json:
    """Everything that `mixopt run` does, from Python. Gives recommendation.json's content.

    study: a study file; out: the study folder, default studies/<name>. retrain: train again where an edit of the study
    leaves finished runs without use. Raises MixoptError for what a user can mend.
    """
    with held_session(study, out) as session:
        return run(replace(session, may_retrain=lambda why: retrain))


@on_one_thread
def recommend_for(study: Path | str, *, out: Path | str | None = None) -> Json:
    """What `mixopt recommend` does, from Python: the answer from finished runs, as recommendation.json holds it.

    Nothing is trained. Arguments as in `run_study`. Raises MixoptError where no run has finished.
    """
    with held_session(study, out) as session:
        return session.kind.recommend(session, finished_runs(session))


def planned(session: Session) -> tuple[Any, Any]:
    """The plan on shards that are there already, and the shards."""
    shards = open_shards(session.study, session.folder)
    return session.kind.plan(session, shards), shards


def cost(session: Session) -> Document:
    """What `run` would take. Nothing is trained; where no text is prepared yet, nothing is written either.

    Raises MixoptError as `planned` does.
    """
    plan = shards = None
    with suppress(MixoptError):  # not prepared, or not as it was
        shards = None if session.study.brings_runs else open_shards(session.study, session.folder)
    if shards is not None:
        plan = session.kind.plan(session, shards)
    session.folder.withdraw()
    if session.study.brings_runs:
        return Document("Cost", "The study brings its runs: nothing is trained.")
    return cost_document(cost_of(session, plan, timed=True))


def finished_runs(session: Session) -> Any:
    """The study's run table without training anything."""
    if session.study.brings_runs:
        return session.kind.import_runs(session)
    return session.kind.collect(session, planned(session)[0])


def answered(session: Session) -> None:
    """Raises MixoptError where recommendation.json isn't the answer to the study file, by the runs that are there.

    A report, an export or a check made of it would otherwise belong to another question.
    """
    path, again = session.folder.recommendation, "`mixopt run` brings it up to date"
    found = read_json(path, made_by="run")
    if found.get("question") != session.question:
        raise MixoptError(f"{path} answers another state of {session.path}, which was edited since: {again}")
    quiet = replace(session, progress=Progress())
    fit_key = session.kind.fit_key(quiet, finished_runs(quiet))
    fit = read_json(session.folder.fits / session.kind.fit_file, made_by="run")
    if (fit.get(CACHE_KEY), found.get(CACHE_KEY)) != (fit_key, session.answer_key(fit_key)):
        raise MixoptError(f"{path} was not made from the runs and texts that are there now: {again}")


def export(session: Session) -> list[Path]:
    """Trainer configs of the recommendation. Raises MixoptError where it answers another question."""
    answered(session)
    return session.kind.export(session)


def verify(session: Session, show: Callable[[Json], None] = lambda verified: None) -> Json:
    """What is recommended really trained, and the report with it. Raises MixoptError as `export` does.

    show: called with what was measured, before the report is written.
    """
    answered(session)
    verified = session.kind.verify(session)
    show(verified)
    _write_report(session)
    return verified


def write_report(session: Session) -> Document:
    """report.html from what is in the study folder. Raises MixoptError as `export` does."""
    answered(session)
    return _write_report(session)


def _write_report(session: Session) -> Document:
    session.progress.stage("report")
    path = session.folder.report
    with restoring(session.folder.recommendation, remake("run")):
        document = session.kind.report(session)
    session.folder.write(path, render(document))
    session.progress.finish(str(path))
    return document
