"""Studies of mixtures: the stages from plan to exports."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.formatting import counted
from mixopt.mixture.config import Study, feasible_mixtures, problems
from mixopt.serialization import Json, read_json, remake, restoring
from mixopt.study.config import Problems
from mixopt.study.jobs import LARGER
from mixopt.study.kind import Session, StudyKind
from mixopt.study.loading import resolve
from mixopt.study.progress import Progress

if TYPE_CHECKING:
    from mixopt.mixture.design import Plan
    from mixopt.mixture.fit import Fitted
    from mixopt.report.document import Document
    from mixopt.runs.table import RunTable
    from proxies.train import Recipe


class MixtureKind(StudyKind["Plan", "RunTable", "Fitted"]):
    """Which mixture, and how many epochs of each domain?"""

    name = "mixture"
    record = Study
    fit_file = "selection.json"
    exports = True

    def problems(self, study: Study) -> Problems:
        return problems(study)

    def design(self, session: Session, shards: Any) -> Plan:
        from mixopt.mixture.design import make_plan
        from mixopt.mixture.ladder import with_larger_rungs

        _check_storage(session)
        plan = make_plan(session.study, shards, session.path)
        return with_larger_rungs(plan, session.study, shards, session.path, session.folder)

    def unplanned(self, session: Session, vocab: int, plan: Plan | None) -> list[Recipe]:
        from mixopt.mixture.ladder import recipes_of, recipes_of_larger

        smallest = [] if plan else recipes_of(session.study, vocab)
        planned = plan and any(job.role == LARGER for job in plan.jobs)
        return smallest if planned else smallest + recipes_of_larger(session.study, vocab)

    def extended(self, session: Session, plan: Plan, shards: Any) -> Plan | None:
        """The larger rungs of a ladder, planned once the smallest is trained."""
        if not session.study.ladder or any(job.role == LARGER for job in plan.jobs):
            return None
        return self.plan(session, shards)

    def collect(self, session: Session, plan: Plan) -> RunTable:
        """The plan's finished runs as a table, and runs.parquet and runs.csv with it."""
        from mixopt.runs.table import collect as collect_runs

        return collect_runs(session.folder.runs, plan=plan)

    def import_runs(self, session: Session) -> RunTable:
        """The table of runs that the study file names. Its notes are shown; nothing in it is repaired silently."""
        from mixopt.mixture.fit import check_target
        from mixopt.mixture.recommend import known_pools
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
        _check_storage(session)
        pools = known_pools(session, table)
        feasible_mixtures(session.study, table.domains, pools, place=f"{session.path}: search: ")
        write_table(table.frame, session.folder.root)
        for note in table.notes:
            session.progress.note(note)
        session.progress.finish(
            f"{len(table.frame)} runs of {len(table.domains)} domains, {counted(len(table.targets), 'loss')} from "
            f"{paths[0].name}"
        )
        return table

    def fit(self, session: Session, runs: RunTable) -> Fitted:
        """All predictors judged on held-out mixtures, the best one fitted."""
        from mixopt.mixture.fit import fit

        return fit(runs, session.study, session.folder, session.progress, unique=self._unique(session, runs))

    def _unique(self, session: Session, runs: RunTable) -> Any:
        """Unique tokens of the full run over its tokens, (n_domains,); None where no full run is planned."""
        from mixopt.mixture.recommend import known_pools
        from mixopt.runs.pools import full_unique

        full = session.study.full
        return full_unique(runs.domains, known_pools(session, runs), full.tokens) if full else None

    def recommend(self, session: Session, runs: RunTable) -> Json:
        """Fit, search and recommendation.json."""
        from mixopt.mixture.recommend import advise

        return advise(session, self.fit(session, runs), runs)

    def fit_key(self, session: Session, runs: RunTable) -> str:
        from mixopt.mixture.fit import cache_key

        return cache_key(runs, session.study, self._unique(session, runs))

    def report(self, session: Session) -> Document:
        from mixopt.mixture.report import read_report

        return read_report(session.folder.root)

    def export(self, session: Session) -> list[Path]:
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
        with restoring(folder.recommendation, remake("run")):
            return write_exports(recommendation, folder.export, tokens_per_document=lengths, write=folder.write)

    def verify(self, session: Session) -> Json:
        """The recommendation, the natural and the uniform mixture really trained, at two sizes."""
        from mixopt.mixture.verify import verify

        study, ladder = session.study, None
        if study.ladder:
            from mixopt.mixture.full_scale import fit_ladder
            from mixopt.runs.objective import target_of
            from mixopt.study.pipeline import finished_runs

            quiet = replace(session, progress=Progress())
            runs = finished_runs(quiet)
            fitted = self.fit(quiet, runs)
            ladder = fit_ladder(fitted, runs, target_of(study.target_weights, fitted.table), seed=study.seed)
        return verify(study, session.path, session.folder, session.progress, ladder=ladder).to_json()

    def verification_document(self, verified: Json) -> Document:
        from mixopt.mixture.results import Verification
        from mixopt.mixture.summary import verification_document

        return verification_document(Verification.from_json(verified))

    def fit_document(self, fit: Fitted) -> Document:
        from mixopt.mixture.summary import fit_document
        from mixopt.report.document import NATS, in_unit

        return in_unit(fit_document(fit.selection), "" if fit.table.other_units else NATS)

    def document(self, recommendation: Json) -> Document:
        from mixopt.mixture.results import Recommendation
        from mixopt.mixture.summary import recommendation_document

        return recommendation_document(Recommendation.from_json(recommendation))

    def outputs(self, session: Session) -> list[tuple[str, Path]]:
        """What a finished study is read in, with its names."""
        folder = session.folder
        return [
            ("report", folder.report),
            ("recommendation", folder.recommendation),
            ("trainer configs", folder.export),
            ("runs", folder.root / "runs.csv"),
        ]


def _check_storage(session: Session) -> None:
    """Raises MixoptError, before anything is trained or fitted, where the search can't be kept where the study says."""
    if session.study.search.storage:
        from mixopt.search.storage import check_storage

        check_storage(session.study.search.storage)
