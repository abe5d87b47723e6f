"""Studies of repetition: the stages from the ladder of runs to the answer about one more epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixopt.repetition.config import RepetitionStudy, repetition_problems
from mixopt.study.config import Problems
from mixopt.study.kind import Session, StudyKind

if TYPE_CHECKING:
    from mixopt.repetition.design import LadderPlan
    from mixopt.repetition.fit import RepetitionFit
    from mixopt.repetition.runs import Measured


class RepetitionKind(StudyKind["LadderPlan", "Measured", "RepetitionFit"]):
    """What is one more epoch worth?"""

    name = "repetition"
    record = RepetitionStudy

    def problems(self, study: RepetitionStudy) -> Problems:
        return repetition_problems(study)

    def plan(self, session: Session, shards: Any) -> LadderPlan:
        from mixopt.repetition.design import design_ladder

        return design_ladder(session.study, shards, session.path, session.folder, session.progress)

    def collect(self, session: Session, plan: LadderPlan) -> Measured:
        from mixopt.repetition.runs import collect_cells

        return collect_cells(plan, session.study, session.folder)

    def fit(self, session: Session, runs: Measured) -> RepetitionFit:
        from mixopt.repetition.fit import fit_cells

        return fit_cells(runs, session.study, session.folder, session.progress)

    def recommend(self, session: Session, runs: Measured) -> dict[str, Any]:
        from mixopt.repetition.recommend import advise_repetition

        return advise_repetition(session, self.fit(session, runs))

    def report(self, session: Session) -> Any:
        from mixopt.repetition.report import read_page

        return read_page(session.folder)

    def fit_document(self, fit: RepetitionFit) -> Any:
        from mixopt.repetition.summary import show_fit

        return lambda console: show_fit(console, fit)

    def document(self, recommendation: dict[str, Any]) -> Any:
        from mixopt.repetition.summary import show

        return lambda console: show(console, recommendation)
