"""The whole path: a study file in, a recommendation, a report and exports out; what is done is not done again."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.errors import MixoptError
from mixopt.serialization import write_text
from mixopt.study.kind import KINDS
from mixopt.study.layout import Folder
from mixopt.study.loading import load_study, read_text
from mixopt.study.prepare import open_shards, prepare
from mixopt.study.progress import Progress
from mixopt.study.training import train_missing

if TYPE_CHECKING:
    from mixopt.runs.table import RunTable


@dataclass(frozen=True)
class Session:
    """One study being worked on."""

    study: Any  # the record of its kind: see `mixopt.kinds`
    path: Path  # of the study file
    folder: Folder
    progress: Progress

    @property
    def stages(self) -> Any:
        """The module with the stages of the study's kind."""
        return KINDS[self.study.kind].load()


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
    if hasattr(session.stages, "export"):
        export(session)
    return recommendation


def recommend_for(study: Path | str, *, out: Path | str | None = None) -> dict[str, Any]:
    """Everything that `mixopt run` does, from Python. Gives recommendation.json's content.

    study: a study file; out: the study folder, default studies/<name>. Raises MixoptError for what a user can mend.
    """
    return run(open_session(study, out))


def runs_of(session: Session) -> "RunTable":
    """The study's run table: imported, or trained as far as runs are missing."""
    if session.study.brings_runs:
        return session.stages.import_runs(session)
    shards = prepare(session.study, session.path, session.folder, session.progress)
    plan = session.stages.plan(session, shards)
    train(session, plan, shards)
    return collect(session, plan)


def planned(session: Session) -> tuple[Any, Any]:
    """The plan on shards that are there already, and the shards."""
    shards = open_shards(session.study, session.folder)
    return session.stages.plan(session, shards), shards


def train(session: Session, plan: Any, shards: Any) -> None:
    if hasattr(session.stages, "train"):  # a kind whose runs depend on each other sees to their order itself
        session.stages.train(session, plan, shards)
        return
    train_missing(plan.jobs, plan.recipe, session.study, shards, session.folder, session.folder.runs, session.progress)


def collect(session: Session, plan: Any) -> "RunTable":
    """The plan's finished runs as a table, and runs.parquet and runs.csv with it."""
    return session.stages.collect(session, plan)


def table_of(session: Session) -> "RunTable":
    """The study's run table without training anything."""
    if session.study.brings_runs:
        return session.stages.import_runs(session)
    return collect(session, planned(session)[0])


def fitted(session: Session, table: "RunTable") -> Any:
    """What the kind's own fit gives."""
    return session.stages.fitted(session, table)


def recommend(session: Session, table: "RunTable") -> dict[str, Any]:
    """Fit, search and recommendation.json."""
    return session.stages.recommend(session, table)


def report(session: Session) -> Path:
    session.progress.stage("report")
    path = session.stages.write_report(session)
    session.progress.finish(str(path))
    return path


def export(session: Session) -> list[Path]:
    """Trainer configs of the recommendation, in export/. Raises MixoptError where the kind recommends no mixture."""
    if not hasattr(session.stages, "export"):
        raise MixoptError(f"{session.path}: a study of kind {session.study.kind} recommends no mixture to export")
    return session.stages.export(session)
