"""Studies of continued pretraining: the stages from base models to the share of general text to keep."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.continual.config import ContinualStudy, continual_problems
from mixopt.study.config import Problems
from mixopt.study.kind import Session, StudyKind

if TYPE_CHECKING:
    from mixopt.continual.design import ForkPlan
    from mixopt.continual.fit import ContinualFit
    from mixopt.continual.runs import Continuations


class ContinualKind(StudyKind["ForkPlan", "Continuations", "ContinualFit"]):
    """How much general text to keep while a model learns a new domain?"""

    name = "continual"
    record = ContinualStudy

    def problems(self, study: ContinualStudy) -> Problems:
        return continual_problems(study)

    def plan(self, session: Session, shards: Any) -> ForkPlan:
        from mixopt.continual.design import design_forks

        return design_forks(session.study, shards, session.path, session.folder, session.progress)

    def train(self, session: Session, plan: ForkPlan, shards: Any) -> None:
        """Base models first, each once and for all studies that share the store; then their continuations."""
        from mixopt.study.training import train_missing

        for job in plan.bases:
            if not Path(str(job.save_to)).is_file():  # its record alone is no base to go on from
                (plan.store / f"{job.run_id}.json").unlink(missing_ok=True)
        common = (plan.recipe, session.study, shards, session.folder)
        if plan.bases:
            train_missing(plan.bases, *common, plan.store, session.progress, title="bases")
        train_missing(plan.jobs, *common, session.folder.runs, session.progress)

    def collect(self, session: Session, plan: ForkPlan) -> Continuations:
        from mixopt.continual.runs import collect_forks

        return collect_forks(plan, session.study, session.folder)

    def fit(self, session: Session, runs: Continuations) -> ContinualFit:
        from mixopt.continual.fit import fit_forks

        return fit_forks(session, runs)

    def recommend(self, session: Session, runs: Continuations) -> dict[str, Any]:
        from mixopt.continual.recommend import answer

        return answer(session, self.fit(session, runs))

    def verify(self, session: Session) -> dict[str, Any]:
        """The recommended run really trained, on fresh seeds."""
        from mixopt.continual.verify import verify_forks
        from mixopt.study.prepare import open_shards

        shards = open_shards(session.study, session.folder)
        plan = self.plan(session, shards)
        self.train(session, plan, shards)  # the bases, where they aren't there any more
        return verify_forks(session, plan, shards)

    def report(self, session: Session) -> Any:
        from mixopt.continual.report import read_page

        return read_page(session.folder)

    def fit_document(self, fit: ContinualFit) -> Any:
        from mixopt.continual.summary import show_fit

        return lambda console: show_fit(console, fit)

    def document(self, recommendation: dict[str, Any]) -> Any:
        from mixopt.continual.summary import show_plan

        return lambda console: show_plan(console, recommendation)

    def verification_document(self, verified: dict[str, Any]) -> Any:
        from mixopt.continual.verify import show_verified

        return lambda console: show_verified(console, verified)
