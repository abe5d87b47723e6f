"""Measured check of a recommendation: the base really continued with the recommended share, on fresh seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixopt.continual.config import ContinualStudy
from mixopt.continual.design import Continuation, ContinuationPlan, continuation_job
from mixopt.continual.results import Check, Interval, Recommendation, Verification, VerifiedRun
from mixopt.continual.runs import START, losses_of, points_before_end
from mixopt.errors import MixoptError
from mixopt.runs.objective import weighted
from mixopt.runs.table import read_run
from mixopt.serialization import Json, write_json
from mixopt.study.kind import Session
from mixopt.study.training import train_missing

if TYPE_CHECKING:
    from proxies.record import RunRecord
    from proxies.shards import Shard

SEEDS = 3
SEED_OFFSET = 1000  # fresh seeds: the recommendation was chosen on the design's own


def verify(session: Session, plan: ContinuationPlan, shards: Mapping[str, Shard]) -> Json:
    """Trains the recommended run with fresh seeds; the content of verify.json, which is written.

    Raises MixoptError where there is no recommendation, or it is for a size or length that the study has no base or
    schedule for.
    """
    study, folder = session.study, session.folder
    recommendation = Recommendation.read(folder.recommendation, made_by="run")
    run = recommendation.answer
    if run is None or run.params is None or run.tokens is None:
        raise MixoptError(f"{folder.recommendation}: no share stays within the tolerance: nothing to verify")
    bases = {size: origin.recipe.shape.params for size, origin in plan.sizes.items()}
    size = next((size for size, params in bases.items() if abs(params / run.params - 1) < 0.01), None)
    if size is None:
        trained = ", ".join(f"{params:,}" for params in bases.values())
        raise MixoptError(
            f"{session.path}: the answer has {run.params:,.0f} parameters, and there are bases of {trained}: set "
            "full.params to one of them to verify"
        )
    step = study.proxy.batch * study.proxy.context
    tokens = max(1, round(run.tokens / step)) * step
    seeds = [study.seed + SEED_OFFSET + n for n in range(SEEDS)]
    runs = [Continuation(size, round(run.share, 6), tokens, seed, "verify") for seed in seeds]
    jobs = [continuation_job(run, plan.sizes[size], study, shards, plan.general) for run in runs]
    train_missing(jobs, plan.recipe, study, shards, folder, folder.root / "verify", session.progress, title="verify")
    records = [read_run(folder.root / "verify" / f"{job.run_id}.json") for job in jobs]
    return write_json(folder.verification, judge(records, recommendation, plan, study).to_json())


def judge(
    records: Sequence[RunRecord], recommendation: Recommendation, plan: ContinuationPlan, study: ContinualStudy
) -> Verification:
    """Both losses of the recommended run as trained, against what was predicted."""
    answer = recommendation.answer
    assert answer is not None
    domain, general = losses_of(study, plan)
    runs: list[VerifiedRun] = []
    for record in records:
        if record.diverged:
            raise MixoptError(
                f"verify: run {record.run_id} (seed {record.seed}) diverged: {record.reason}: lower "
                "continuing.learning_rate, and the study's continuations are trained anew with it"
            )
        ends = {f"loss/{name}": loss.nats_per_token for name, loss in record.losses.items()}
        first = next(point for point in points_before_end(record) if point["point"] == START)
        start, loss = weighted(first, general), weighted(ends, general)
        runs.append(VerifiedRun(record.run_id, record.seed or 0, weighted(ends, domain), loss, rise=loss / start - 1))
    checks = {
        key: check([getattr(run, key) for run in runs], getattr(answer, key), getattr(answer.ends, key))
        for key in ("domain", "general", "rise")
    }
    return Verification(
        runs=runs,
        share=answer.share,
        tolerance=recommendation.tolerance,
        **checks,
        kept=checks["domain"].inside and checks["general"].inside,
        of=recommendation.stamp,
    )


def check(measured: Sequence[float], predicted: float, interval: Interval) -> Check:
    """Whether the mean is inside the interval, give or take its standard error: three runs' mean isn't exact either."""
    mean, sd = float(np.mean(measured)), float(np.std(measured, ddof=1))
    error = sd / np.sqrt(len(measured))
    low, high = interval.ends
    inside = low is not None and high is not None and low - error <= mean <= high + error
    return Check(mean, sd, predicted, low, high, inside=bool(inside))
