"""Runs as training would have left them, without training: losses follow the shares."""

from proxies.record import Loss, RunRecord, write_record


def write_finished(out, plan, jobs, *, seconds=1.0, **facts) -> None:
    """A record for each of the plan's jobs in out. seconds: of training."""
    out.mkdir(parents=True, exist_ok=True)
    for job in jobs:
        recipe = job.recipe or plan.recipe
        losses = {name: Loss(4.0 - job.weights.get(name, 0.5) + 1000 / recipe.tokens, 2.0) for name in job.texts}
        known = {"params": recipe.shape.params, "tokens": recipe.tokens_seen, "flops": recipe.flops, "device": "cpu"}
        record = RunRecord(
            run_id=job.run_id, role=job.role, seed=job.seed, seconds=seconds, stacked=1, weights=job.weights,
            pools=dict(job.pools), starts=job.starts, losses=losses, texts=job.texts, **known | facts,
        )  # fmt: skip
        write_record(out / f"{job.run_id}.json", record)
