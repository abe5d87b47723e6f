"""Kinds of studies: the stages that each has, and where each lives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar

from mixopt.errors import MixoptError
from mixopt.formatting import did_you_mean
from mixopt.serialization import Json, cached, digest
from mixopt.study.config import AnyStudy, Problems
from mixopt.study.progress import Progress
from mixopt.version import __version__

if TYPE_CHECKING:
    from mixopt.report.document import Document
    from mixopt.study.layout import Folder
    from proxies.launch import Job
    from proxies.train import Recipe


class AnyPlan(Protocol):
    """The planned runs: jobs in the order of design.csv, and the recipe by which they are trained.

    rows: of design.csv. notes: what the user should know of them. summary: the plan in a sentence.
    """

    @property
    def jobs(self) -> list[Job]: ...
    @property
    def recipe(self) -> Recipe: ...
    @property
    def rows(self) -> list[Json]: ...
    @property
    def notes(self) -> list[str]: ...
    @property
    def summary(self) -> str: ...


ANSWERS = 4  # version of recommendation.json; rises when older files say less
# Parts of a study file that decide where and how things are computed, but no answer.
OPERATIONAL = {"verify": True, "proxy": {"device", "workers", "stack", "keep_weights"}, "search": {"storage"}}
Plan = TypeVar("Plan", bound=AnyPlan)
Runs = TypeVar("Runs")  # the finished runs, as a table
Fit = TypeVar("Fit")


@dataclass(frozen=True)
class Session:
    """One study being worked on."""

    study: Any  # the record of its kind
    path: Path  # of the study file
    folder: Folder
    progress: Progress
    kind: StudyKind[Any, Any, Any]
    may_retrain: Callable[[str], bool] = lambda why: False  # whether runs may be trained in place of others

    @property
    def decisive(self) -> Json:
        """All in the study file that decides its answer."""
        return self.study.model_dump(mode="json", exclude=OPERATIONAL, exclude_defaults=True)

    @property
    def question(self) -> str:
        """The digest of `decisive`, stored with the answer that it decides."""
        return digest(self.decisive)

    def answer_key(self, fit_key: str) -> str:
        """The cache key of recommendation.json: of everything that an answer by this fit depends on."""
        return digest([__version__, ANSWERS, self.question, fit_key])

    def answer(self, fit_key: str, compute: Callable[[], Json], *, needs: Sequence[Path] = ()) -> Json:
        """recommendation.json's content, as `cached`: shown as soon as it is known, before anything is written."""
        return cached(
            self.folder.recommendation,
            self.answer_key(fit_key),
            lambda: compute() | {"question": self.question},
            needs=lambda _: needs,
            on_hit=lambda: self.progress.finish("as before"),
            show=lambda answer: self.progress.answer(self.kind.document(answer)),
        )


class StudyKind(ABC, Generic[Plan, Runs, Fit]):
    """What every kind of study can do. A stage reads files and writes files, so that it can be resumed alone.

    record: what the kind's study files hold. fit_file: in fits/, under `fit_key`. exports: whether it recommends a
    mixture, so that `run` exports it. portable: whether its runs may be trained elsewhere and brought as a table.
    Modules that a stage needs are imported when it is used.
    """

    name: ClassVar[str]
    record: ClassVar[type[AnyStudy]]
    fit_file: ClassVar[str]
    exports: ClassVar[bool] = False
    portable: ClassVar[bool] = True

    @abstractmethod
    def problems(self, study: Any) -> Problems:
        """What the parts of a study file say against each other; empty when all is well."""

    @abstractmethod
    def design(self, session: Session, shards: Any) -> Plan:
        """The planned runs. Raises MixoptError or ValueError for what can't be trained."""

    def plan(self, session: Session, shards: Any) -> Plan:
        """The planned runs, and design.csv."""
        from mixopt.study.jobs import design_text

        session.progress.stage("design")
        try:
            plan = self.design(session, shards)
        except ValueError as error:
            raise MixoptError(f"{session.path}: {error}") from None
        session.folder.write(session.folder.design, design_text(plan.rows))
        for note in plan.notes:
            session.progress.note(note)
        session.progress.finish(plan.summary)
        return plan

    def train(self, session: Session, plan: Plan, shards: Any) -> None:
        """The planned runs that aren't trained yet."""
        from mixopt.study.training import train_missing

        folder = session.folder
        train_missing(plan.jobs, plan.recipe, session.study, shards, folder, folder.runs, session.progress)

    def launches(self, session: Session, plan: Plan) -> list[tuple[Sequence[Job], Path]]:
        """The plan's jobs in the order in which `train` takes them, and where their runs are written."""
        return [(plan.jobs, session.folder.runs)]

    @abstractmethod
    def unplanned(self, session: Session, vocab: int, plan: Plan | None) -> list[Recipe]:
        """Recipes, one a run, of the study's runs that the plan doesn't hold yet; None: of all, by the study file."""

    def extended(self, session: Session, plan: Plan, shards: Any) -> Plan | None:
        """A plan of more runs, where they depend on how those of this plan ended; None: there are no more."""
        return None

    @abstractmethod
    def collect(self, session: Session, plan: Plan) -> Runs:
        """The plan's finished runs as a table, and runs.parquet and runs.csv with it."""

    def import_runs(self, session: Session) -> Runs:
        """The runs that the study file names, for a kind whose studies may bring them."""
        raise NotImplementedError(f"studies of kind {self.name} bring no runs")

    @abstractmethod
    def fit(self, session: Session, runs: Runs) -> Fit:
        """The predictors, fitted and judged on held-out runs; kept in fits/."""

    @abstractmethod
    def recommend(self, session: Session, runs: Runs) -> Json:
        """Fit, the answer to the study's question, and recommendation.json, of which this is the content.

        It is kept with the session's `question`, under its `answer_key`.
        """

    @abstractmethod
    def fit_key(self, session: Session, runs: Runs) -> str:
        """The cache key of what is kept in fits/: of everything that it depends on."""

    def export(self, session: Session) -> list[Path]:
        """Trainer configs of the recommendation. Raises MixoptError where the kind recommends no mixture."""
        raise MixoptError(f"{session.path}: a study of kind {self.name} recommends no mixture to export")

    def verify(self, session: Session) -> Json:
        """What is recommended really trained: the content of verify.json. Raises MixoptError where nothing can be."""
        raise MixoptError(f"{session.path}: a study of kind {self.name} recommends nothing that verify could train")

    @abstractmethod
    def fit_document(self, fit: Fit) -> Document:
        """Held-out scores of every predictor."""

    @abstractmethod
    def document(self, recommendation: Json) -> Document:
        """The answer as the terminal shows it."""

    def verification_document(self, verified: Json) -> Document:
        """What the trained recommendation measured, and what was predicted."""
        raise NotImplementedError(f"studies of kind {self.name} aren't verified")

    @abstractmethod
    def report(self, session: Session) -> Document:
        """The answer and all its evidence, from what is in the study folder: report.html's content.

        Raises MixoptError when a file that it needs is missing or can't be read.
        """

    def outputs(self, session: Session) -> list[tuple[str, Path]]:
        """The files in which a finished study is read, with what each is."""
        folder = session.folder
        return [("report", folder.report), ("answer", folder.recommendation), ("runs", folder.root / "runs.csv")]


KINDS = {  # where each kind's class lives: imported when a study of the kind is read
    "mixture": "mixopt.mixture.kind:MixtureKind",
    "repetition": "mixopt.repetition.kind:RepetitionKind",
    "continual": "mixopt.continual.kind:ContinualKind",
}
DEFAULT = "mixture"  # of a study file that names no kind


def kind_named(name: object) -> StudyKind[Any, Any, Any]:
    """The kind of this name. Raises MixoptError for a name that no kind has."""
    if isinstance(name, str) and name in KINDS:
        module, _, cls = KINDS[name].partition(":")
        return getattr(import_module(module), cls)()
    hint = did_you_mean(str(name), KINDS, otherwise=f"choose from {', '.join(KINDS)}")
    raise MixoptError(f"no kind of study is called {name!r}: {hint}")
