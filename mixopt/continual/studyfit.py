"""Stages fit and answer of a study of continued pretraining: both losses learned from its forks, its question asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt import __version__
from mixopt.continual.budget import CptQuestion
from mixopt.continual.fit import ContinualFit, evidence, fit_continual
from mixopt.continual.forkruns import END, Continuations
from mixopt.continual.forks import REPEAT
from mixopt.continual.runs import ContinualRuns
from mixopt.errors import MixoptError
from mixopt.folder import digest, read_json, stamp_of, write_json

if TYPE_CHECKING:
    from mixopt.continual.study import ContinualStudy
    from mixopt.pipeline import Session

STORED = 1  # of what fits/ holds; rises when older files no longer do
LEAST_SHARES = 3  # of one size and token count; fewer say nothing of a curve


def as_runs(measured: Continuations, study: ContinualStudy) -> ContinualRuns:
    """The ends of forks, and each size's start, as `mixopt plan cpt` reads them from a table.

    Raises MixoptError where too few shares have finished.
    """
    ends, starts = measured.ends, measured.starts
    shares = len(set(ends["share"].tolist()))
    if shares < LEAST_SHARES:
        raise MixoptError(f"{study.name}: {shares} shares have finished without divergence: train "
                          f"{LEAST_SHARES} or more")  # fmt: skip
    began = {
        float(size): (float(domain), float(general))
        for size, domain, general in zip(starts["params"], starts["domain_loss"], starts["general_loss"], strict=True)
    }
    return ContinualRuns(
        name=study.name,
        params=ends["params"].to_numpy(dtype=float),
        tokens=ends["tokens"].to_numpy(dtype=float),
        share=ends["share"].to_numpy(dtype=float),
        domain=ends["domain_loss"].to_numpy(dtype=float),
        general=ends["general_loss"].to_numpy(dtype=float),
        run=[str(run) for run in ends["run_id"]],  # every end is a run of its own
        starts=began,
        names=(", ".join(measured.domain_loss), ", ".join(measured.general_loss)),
    )


def fit_forks(session: Session, measured: Continuations) -> ContinualFit:
    """Both losses fitted to the forks, and fits/continual.json; as before where the runs are."""
    study, folder, progress = session.study, session.folder, session.progress
    runs = as_runs(measured, study)
    progress.stage("fit", total=2)
    path = folder.fits / "continual.json"
    stamp = digest([STORED, __version__, study.seed, measured.frame.to_csv(index=False)])
    if path.is_file():
        kept = read_json(path, made_by="fit")
        if kept.get("stamp") == stamp:
            progress.finish("as before")
            return loaded(kept, runs, study.seed)
    fit = fit_continual(runs, seed=study.seed, progress=progress)
    record = {
        "stamp": stamp,
        "mixopt": __version__,
        "study": study.name,
        "texts": {"domain": measured.domain_loss, "general": measured.general_loss},
        "losses": {of: evidence(fit, of) for of in ("domain", "general")},
        "noise": noise_of(measured),
        "left_out": measured.left_out,
        "domain": fit.domain.to_dict(),  # pyright: ignore[reportAttributeAccessIssue]
        "general": fit.general.to_dict(),  # pyright: ignore[reportAttributeAccessIssue]
    }
    write_json(path, record)
    progress.finish(f"both losses, {len(runs.share)} forks")
    return fit


def loaded(record: dict[str, Any], runs: ContinualRuns, seed: int) -> ContinualFit:
    """The fit that a record holds."""
    from regressors.continual import ContinualRegressor
    from regressors.continual_blend import ContinualBlend

    kinds = {kind.__name__: kind for kind in (ContinualRegressor, ContinualBlend)}
    domain, general = (kinds[record[of]["estimator"]].from_dict(record[of]) for of in ("domain", "general"))
    return ContinualFit(runs, domain, general, seed)


def noise_of(measured: Continuations) -> dict[str, Any] | None:
    """How much forks of one plan differ between seeds: standard deviation of each loss; None without repeats."""
    kept = measured.kept
    again = kept.loc[(kept["role"] == REPEAT) & (kept["point"] == END)]
    if not len(again):
        return None
    first = again.iloc[0]
    same = (kept["point"] == END) & (kept["share"] == first["share"]) & (kept["params"] == first["params"])
    rows = kept.loc[same & (kept["tokens"] == first["tokens"])]
    if len(rows) < 2:
        return None
    return {
        "runs": len(rows),
        "share": float(first["share"]),
        "params": float(first["params"]),
        "tokens": float(first["tokens"]),
        "domain": float(np.std(rows["domain_loss"], ddof=1)),
        "general": float(np.std(rows["general_loss"], ddof=1)),
    }


def question_of(study: ContinualStudy) -> CptQuestion:
    full = study.full
    return CptQuestion(
        tolerance=full.tolerance,
        params=full.params,
        tokens=full.tokens,
        compute=full.compute,
        domain_tokens=full.domain_tokens,
    )


def answer(session: Session, fit: ContinualFit) -> dict[str, Any]:
    """The study's question answered, and recommendation.json; as before where nothing changed.

    Where no share keeps the tolerance, the record says the least rise there is, and `answer` is None.
    """
    from mixopt.continual.plan import plan_cpt

    study, folder, progress = session.study, session.folder, session.progress
    progress.stage("answer")
    fitted = read_json(folder.fits / "continual.json", made_by="fit")
    stamp = digest([__version__, fitted["stamp"], study.full.model_dump(), study.name, study.new])
    if stamp_of(folder.recommendation) == stamp:
        progress.finish("as before")
        return read_json(folder.recommendation, made_by="run")
    plan = plan_cpt(fit, question_of(study))
    record = plan | {
        "kind": "continual",
        "mixopt": __version__,
        "study": study.name,
        "stamp": stamp,
        "new": study.new,
        "texts": fitted["texts"],
        "noise": fitted["noise"],
        "left_out": fitted["left_out"],
    }
    write_json(folder.recommendation, record)
    run = record["answer"]
    progress.finish(f"{run['general_share']:.0%} general text" if run else "no share keeps the tolerance")
    return record
