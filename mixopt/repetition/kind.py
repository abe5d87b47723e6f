"""Studies of repetition: the stages from the ladder of runs to the recommended number of epochs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixopt.repetition.config import RepetitionStudy, repetition_problems
from mixopt.study.config import Problems
from mixopt.study.kind import Session, StudyKind

if TYPE_CHECKING:
    from mixopt.repetition.design import LadderPlan
    from mixopt.repetition.fit import RepetitionFit
    from mixopt.repetition.runs import LadderRuns
    from mixopt.report.document import Document
    from mixopt.serialization import Json
    from proxies.train import Recipe


class RepetitionKind(StudyKind["LadderPlan", "LadderRuns", "RepetitionFit"]):
    """How often to repeat text, and the marginal value of one more epoch."""

    name = "repetition"
    record = RepetitionStudy
    fit_file = "repetition.json"

    def problems(self, study: RepetitionStudy) -> Problems:
        return repetition_problems(study)

    def design(self, session: Session, shards: Any) -> LadderPlan:
        from mixopt.repetition.design import make_ladder

        return make_ladder(session.study, shards, session.path)

    def unplanned(self, session: Session, vocab: int, plan: LadderPlan | None) -> list[Recipe]:
        from mixopt.repetition.design import ladder_runs, recipe_of_run

        runs = [] if plan else ladder_runs(session.study, vocab=vocab)
        return [recipe_of_run(run, session.study, vocab) for run in runs]

    def collect(self, session: Session, plan: LadderPlan) -> LadderRuns:
        from mixopt.repetition.runs import collect_ladder

        return collect_ladder(plan, session.study, session.folder)

    def fit(self, session: Session, runs: LadderRuns) -> RepetitionFit:
        from mixopt.repetition.fit import fit_ladders

        return fit_ladders(runs, session.study, session.folder, session.progress)

    def recommend(self, session: Session, runs: LadderRuns) -> Json:
        from mixopt.repetition.recommend import recommend_epochs

        return recommend_epochs(session, self.fit(session, runs))

    def fit_key(self, session: Session, runs: LadderRuns) -> str:
        from mixopt.repetition.fit import cache_key

        return cache_key(runs, session.study)

    def fit_document(self, fit: RepetitionFit) -> Document:
        from mixopt.repetition.summary import fit_document

        return fit_document(fit)

    def document(self, recommendation: Json) -> Document:
        from mixopt.repetition.recommend import Recommendation
        from mixopt.repetition.summary import document

        return document(Recommendation.from_json(recommendation))

    def report(self, session: Session) -> Document:
        from mixopt.repetition.report import read_report

        return read_report(session.folder)
