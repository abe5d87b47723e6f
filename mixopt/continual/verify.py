"""Really continuing the base with the recommended share, on fresh seeds, to see whether both promises are kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.continual.design import Fork, ForkPlan, Origin, fork_job
from mixopt.continual.runs import START, losses_of, points_before_end
from mixopt.errors import MixoptError
from mixopt.runs.objective import weighted
from mixopt.runs.table import read_run
from mixopt.serialization import digest, read_json, write_json
from mixopt.study.training import train_missing

if TYPE_CHECKING:
    from rich.console import Console

    from mixopt.continual.config import ContinualStudy
    from mixopt.study.kind import Session
    from proxies.record import RunRecord

SEEDS = 3
SEED_OFFSET = 1000  # fresh seeds: the recommendation was chosen on the design's own


def verify_forks(session: Session, plan: ForkPlan, shards: Any) -> dict[str, Any]:
    """Trains the recommended run with fresh seeds, writes verify.json and gives it back.

    Raises MixoptError where there is no recommendation, or it is for a size or length that the study has no base or
    schedule for.
    """
    study, folder = session.study, session.folder
    recommendation = read_json(folder.recommendation, made_by="run")
    run = recommendation["answer"]
    if run is None:
        raise MixoptError(f"{folder.recommendation}: no share keeps the tolerance, so there is nothing to verify")
    size = next((size for size, origin in plan.sizes.items() if same_size(origin, run)), None)
    if size is None:
        trained = ", ".join(f"{origin.recipe.shape.params:,}" for origin in plan.sizes.values())
        raise MixoptError(
            f"{session.path}: the answer has {run['params']:,.0f} parameters, and there are bases of {trained}: set "
            "full.params to one of them to verify"
        )
    step = study.proxy.batch * study.proxy.context
    tokens = max(1, round(run["tokens"] / step)) * step
    forks = [Fork(size, round(run["share"], 6), tokens, study.seed + SEED_OFFSET + n, "verify") for n in range(SEEDS)]
    jobs = [fork_job(fork, plan.sizes[size], study, shards, plan.general) for fork in forks]
    train_missing(jobs, plan.recipe, study, shards, folder, folder.root / "verify", session.progress, title="verify")
    records = [read_run(folder.root / "verify" / f"{job.run_id}.json") for job in jobs]
    verified = judged(records, recommendation, plan, study)
    write_json(folder.verification, verified)
    return verified


def same_size(origin: Origin, run: Mapping[str, Any]) -> bool:
    return abs(origin.recipe.shape.params / run["params"] - 1) < 0.01


def judged(
    records: Sequence[RunRecord], recommendation: Mapping[str, Any], plan: ForkPlan, study: ContinualStudy
) -> dict[str, Any]:
    """Both losses as trained, beside what was predicted; `kept` says whether the promises hold."""
    domain, general = losses_of(study, plan)
    run = recommendation["answer"]
    runs = []
    for record in records:
        if record.diverged:
            raise MixoptError(
                f"verify: run {record.run_id} (seed {record.seed}) diverged: {record.reason}: lower "
                "continuing.learning_rate, and the study's forks are trained anew with it"
            )
        ends = {f"loss/{name}": loss.nats_per_token for name, loss in record.losses.items()}
        first = next(point for point in points_before_end(record) if point["point"] == START)
        start, loss = weighted(first, general), weighted(ends, general)
        runs.append({
            "run_id": record.run_id,
            "seed": record.seed,
            "domain": weighted(ends, domain),
            "general": loss,
            "rise": loss / start - 1,
        })  # fmt: skip
    told: dict[str, Any] = {"runs": runs, "share": run["share"], "tolerance": recommendation["tolerance"]}
    for key in ("domain", "general", "rise"):
        values = np.array([one[key] for one in runs])
        low, high = (run["ends"][key][end] for end in ("low", "high"))
        error = spread(values)  # three runs' mean is not exact either: the promise holds where the two overlap
        told[key] = {
            "measured": float(values.mean()),
            "sd": float(values.std(ddof=1)),
            "predicted": run[key],
            "low": low,
            "high": high,
            "inside": low is not None and high is not None and bool(low - error <= values.mean() <= high + error),
        }
    told["kept"] = bool(told["domain"]["inside"] and told["general"]["inside"])
    told["stamp"] = digest([recommendation["stamp"], runs])
    return told


def spread(values: Any) -> float:
    """Standard error of a mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def show_verified(console: Console, verified: Mapping[str, Any]) -> None:
    """The promises and what came of them, a line each."""
    from mixopt.formatting import loss

    for key, word in (("domain", "domain loss"), ("general", "general loss")):
        row = verified[key]
        console.print(
            f"{word}: {loss(row['measured'])} ± {loss(row['sd'])} over {len(verified['runs'])} seeds; predicted "
            f"{loss(row['predicted'])} ({loss(row['low'])} to {loss(row['high'])})"
        )
    rise = verified["rise"]["measured"]
    console.print(f"general loss {rise:+.1%} of its start, {verified['tolerance']:+.1%} allowed")
