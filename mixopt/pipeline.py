"""The whole path: a study file in, a recommendation, a report and exports out; what is done is not done again."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.config import Study
from mixopt.files import write_text
from mixopt.fitting import Fitted, check_target, fit
from mixopt.folder import Folder, read_json
from mixopt.planning import Plan, design
from mixopt.prepare import open_shards, prepare
from mixopt.progress import Progress
from mixopt.studyfile import load_study, read_text, resolve
from mixopt.training import train_missing

if TYPE_CHECKING:
    from mixopt.runtable import RunTable


@dataclass(frozen=True)
class Session:
    """One study being worked on."""

    study: Study
    path: Path  # of the study file
    folder: Folder
    progress: Progress


def open_session(path: Path | str, out: Path | str | None = None, progress: Progress | None = None) -> Session:
    """Reads a study file and keeps a copy of it in the study folder (out; default: studies/<name>).

    Raises MixoptError for a study file that isn't valid.
    """
    path = Path(path)
    study = load_study(path)
    folder = Folder(Path(out) if out else Path("studies") / study.name)
    text = read_text(path)
    if folder.study.resolve() != path.resolve() and not (folder.study.exists() and read_text(folder.study) == text):
        write_text(folder.study, text)
    return Session(study, path, folder, progress or Progress())


def run(session: Session) -> dict[str, Any]:
    """Every stage from corpora (or finished runs) to report and exports. Gives recommendation.json's content."""
    table = runs_of(session)
    recommendation = recommend(session, table)
    report(session)
    export(session)
    return recommendation


def recommend_for(study: Path | str, *, out: Path | str | None = None) -> dict[str, Any]:
    """Everything that `mixopt run` does, from Python. Gives recommendation.json's content.

    study: a study file; out: the study folder, default studies/<name>. Raises MixoptError for what a user can mend.
    """
    return run(open_session(study, out))


def runs_of(session: Session) -> "RunTable":
    """The study's run table: imported, or trained as far as runs are missing."""
    if session.study.runs is not None:
        return import_runs(session)
    shards = prepare(session.study, session.path, session.folder, session.progress)
    plan = design(session.study, shards, session.path, session.folder, session.progress)
    train(session, plan, shards)
    return collect(session, plan)


def planned(session: Session) -> tuple[Plan, Any]:
    """The plan on shards that are there already, and the shards."""
    shards = open_shards(session.study, session.folder)
    return design(session.study, shards, session.path, session.folder, session.progress), shards


def train(session: Session, plan: Plan, shards: Any) -> None:
    train_missing(plan.jobs, plan.recipe, session.study, shards, session.folder, session.folder.runs, session.progress)


def collect(session: Session, plan: Plan) -> "RunTable":
    """The plan's finished runs as a table, and runs.parquet and runs.csv with it."""
    from mixopt.runtable import collect as collect_runs

    return collect_runs(session.folder.runs, only={job.run_id for job in plan.jobs})


def table_of(session: Session) -> "RunTable":
    """The study's run table without training anything."""
    if session.study.runs is not None:
        return import_runs(session)
    return collect(session, planned(session)[0])


def import_runs(session: Session) -> "RunTable":
    """The table of runs that the study file names. Its notes are told; nothing in it is repaired silently."""
    from mixopt.importing import read_runs
    from mixopt.runtable import write_table

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


def fitted(session: Session, table: "RunTable") -> Fitted:
    return fit(table, session.study, session.folder, session.progress)


def recommend(session: Session, table: "RunTable") -> dict[str, Any]:
    """Fit, search and recommendation.json."""
    from mixopt.advice import advise

    return advise(session, fitted(session, table))


def report(session: Session) -> Path:
    from mixopt.report import write

    session.progress.stage("report")
    path = write(session.folder.root)
    session.progress.finish(str(path))
    return path


def export(session: Session) -> list[Path]:
    """Trainer configs of the recommendation, in export/."""
    from mixopt.export import write_exports

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
