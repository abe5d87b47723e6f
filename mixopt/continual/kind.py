"""Studies of continued pretraining: the stages from base models to the share of general text to keep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.continual.config import ContinualStudy, continual_problems
from mixopt.errors import MixoptError
from mixopt.study.config import Problems
from mixopt.study.kind import Session, StudyKind

if TYPE_CHECKING:
    from mixopt.continual.design import ContinuationPlan
    from mixopt.continual.fit import ContinualFit
    from mixopt.continual.runs import ContinuationTable
    from mixopt.report.document import Document
    from mixopt.serialization import Json
    from proxies.launch import Job
    from proxies.shards import Shard
    from proxies.train import Recipe


class ContinualKind(StudyKind["ContinuationPlan", "ContinuationTable", "ContinualFit"]):
    """How much general text to keep while a model learns a new domain?"""

    name = "continual"
    record = ContinualStudy
    fit_file = "continual.json"
    portable = False  # continuations go on from bases, and their laws need losses on the way

    def problems(self, study: ContinualStudy) -> Problems:
        return continual_problems(study)

    def design(self, session: Session, shards: Mapping[str, Shard]) -> ContinuationPlan:
        from mixopt.continual.design import make_plan

        return make_plan(session.study, shards, session.path, session.folder)

    def launches(self, session: Session, plan: ContinuationPlan) -> list[tuple[Sequence[Job], Path]]:
        return [(plan.bases, plan.store), (plan.jobs, session.folder.runs)]

    def unplanned(self, session: Session, vocab: int, plan: ContinuationPlan | None) -> list[Recipe]:
        from mixopt.continual.design import recipes_of

        return [] if plan else recipes_of(session.study, vocab, session.path)

    def train(self, session: Session, plan: ContinuationPlan, shards: Mapping[str, Shard]) -> None:
        """Base models first, each once and for all studies that share the store; then their continuations."""
        from mixopt.study.layout import alone
        from mixopt.study.training import train_missing
        from proxies.checkpoint import load_checkpoint

        common = (plan.recipe, session.study, shards, session.folder)
        if plan.bases:
            with alone(plan.store, "set base.store to another folder"):
                for job in plan.bases:
                    path = Path(str(job.save_to))
                    if not path.is_file():  # its record alone is no base to go on from
                        (plan.store / f"{job.run_id}.json").unlink(missing_ok=True)
                        continue
                    try:
                        load_checkpoint(path, run_id=job.run_id)
                    except ValueError as error:
                        raise MixoptError(str(error)) from None
                train_missing(plan.bases, *common, plan.store, session.progress, title="bases")
        train_missing(plan.jobs, *common, session.folder.runs, session.progress)

    def collect(self, session: Session, plan: ContinuationPlan) -> ContinuationTable:
        from mixopt.continual.runs import collect_continuations

        return collect_continuations(plan, session.study, session.folder)

    def fit(self, session: Session, runs: ContinuationTable) -> ContinualFit:
        from mixopt.continual.fit import fit_study

        return fit_study(session, runs)

    def recommend(self, session: Session, runs: ContinuationTable) -> Json:
        from mixopt.continual.recommend import recommend

        return recommend(session, self.fit(session, runs))

    def fit_key(self, session: Session, runs: ContinuationTable) -> str:
        from mixopt.continual.fit import cache_key

        return cache_key(runs, session.study)

    def verify(self, session: Session) -> Json:
        """The recommended run really trained, on fresh seeds."""
        from mixopt.continual.verify import verify
        from mixopt.study.prepare import open_shards

        shards = open_shards(session.study, session.folder)
        plan = self.plan(session, shards)
        self.train(session, plan, shards)  # the bases, where they aren't there any more
        return verify(session, plan, shards)

    def report(self, session: Session) -> Document:
        from mixopt.continual.report import study_document

        return study_document(session.folder)

    def fit_document(self, fit: ContinualFit) -> Document:
        from mixopt.continual.fit import evidence
        from mixopt.continual.summary import fit_document

        return fit_document(evidence(fit))

    def document(self, recommendation: Json) -> Document:
        from mixopt.continual.report import plan_document
        from mixopt.continual.results import Recommendation

        return plan_document(Recommendation.from_json(recommendation))

    def verification_document(self, verified: Json) -> Document:
        from mixopt.continual.results import Verification
        from mixopt.continual.summary import verification_document

        return verification_document(Verification.from_json(verified))
