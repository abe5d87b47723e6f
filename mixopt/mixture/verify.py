"""Verification: recommended, natural and uniform mixture trained at the proxy's size and at a larger one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixopt.errors import MixoptError
from mixopt.mixture.config import Study
from mixopt.mixture.design import full_pools, make_recipe, proxy_pools
from mixopt.mixture.results import Number, PairedGain, Recommendation, Verification, VerifiedSize
from mixopt.runs.table import read_run
from mixopt.serialization import write_json
from mixopt.study.jobs import PlannedRun, make_job
from mixopt.study.layout import Folder
from mixopt.study.prepare import open_shards
from mixopt.study.progress import Progress
from mixopt.study.training import train_missing

if TYPE_CHECKING:
    from proxies.launch import Job
    from proxies.shards import Shard

GROUPS = ("recommended", "natural", "uniform")
SEED_OFFSET = 1000  # fresh seeds: the recommendation was chosen on the design's own


def verify(study: Study, study_path: Path, folder: Folder, progress: Progress) -> Verification:
    """Trains every group with every seed at both sizes, writes verify.json and gives it back.

    The groups of one seed share initialisation and data order, so gains are differences between paired runs.
    Raises MixoptError when there is no recommendation yet, or the study has no corpora to train on.
    """
    if study.runs is not None:
        raise MixoptError("verify trains on the study's corpora, and this study took its runs from a file: it has none")
    recommendation = Recommendation.read(folder.recommendation, made_by="run")
    shards = open_shards(study, folder)
    scales = dict.fromkeys([(1.0, 1.0), (study.verify.params_scale, study.verify.tokens_scale)])
    sizes = [one_size(study, study_path, folder, shards, recommendation, *scale, progress) for scale in scales]
    conclusions = [conclude(size) for size in sizes]
    verified = Verification(study.target_weights, sizes, conclusions, of=recommendation.stamp)
    write_json(folder.verification, verified.to_json())
    return verified


def one_size(
    study: Study,
    study_path: Path,
    folder: Folder,
    shards: Mapping[str, "Shard"],
    recommendation: Recommendation,
    params_scale: float,
    tokens_scale: float,
    progress: Progress,
) -> VerifiedSize:
    vocab = next(iter(shards.values())).meta.vocab_size
    recipe = make_recipe(study, vocab=vocab, params_scale=params_scale, tokens_scale=tokens_scale)
    pools, notes = proxy_pools(study, shards, full_pools(study, shards, study_path), recipe)
    for note in notes:
        progress.note(note)
    jobs: dict[str, list[Job]] = {}
    different: dict[tuple[float, ...], dict[str, float]] = {}
    for group in GROUPS:
        weights = {row.domain: float(getattr(row, group)) for row in recommendation.domains}
        weights = different.setdefault(tuple(np.round(list(weights.values()), 8)), weights)
        jobs[group] = [
            make_job(PlannedRun(group, weights, dict(pools), study.seed + SEED_OFFSET + i), study, shards, recipe)
            for i in range(study.verify.seeds)
        ]
    out = folder.root / "verify"
    flat = [job for pair in zip(*jobs.values(), strict=True) for job in pair]
    train_missing(flat, recipe, study, shards, folder, out, progress, title=f"verify {params_scale:g}x")
    losses = {group: [target_loss(out / f"{job.run_id}.json", study) for job in jobs[group]] for group in GROUPS}
    return VerifiedSize(
        params=recipe.shape.params,
        tokens=recipe.tokens_seen,
        params_scale=recipe.shape.params / make_recipe(study, vocab=vocab).shape.params,
        arms={group: [x for x in losses[group] if x is not None] for group in GROUPS},
        gains={group: gain(losses["recommended"], losses[group]) for group in GROUPS if group != "recommended"},
    )


def target_loss(path: Path, study: Study) -> float | None:
    """The study's target in one finished run, nats/token; None when it diverged."""
    run = read_run(path)
    if run.diverged:
        return None
    return sum(weight * run.losses[name].nats_per_token for name, weight in study.target_weights.items())


def gain(ours: Sequence[Number], theirs: Sequence[Number]) -> PairedGain | None:
    """How much lower our loss is than theirs, over pairs of one seed: mean and its standard error, nats/token."""
    pairs = [b - a for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
    if len(pairs) < 2:
        return None
    return PairedGain(float(np.mean(pairs)), float(np.std(pairs, ddof=1) / len(pairs) ** 0.5))


def conclude(size: VerifiedSize) -> str:
    """One sentence a size: does the recommendation win by more than the noise?"""
    parts = []
    for group, won in size.gains.items():
        if won is None:
            parts.append(f"can't be compared with {group} (too few runs finished)")
            continue
        clear = abs(won.mean) > 2 * won.standard_error
        verb = "can't be told from" if not clear else "beats" if won.mean > 0 else "loses to"
        parts.append(f"{verb} {group} ({won.mean:+.3f} ± {won.standard_error:.3f} nats/token)")
    return f"At {size.params:,} parameters and {size.tokens:,} tokens the recommendation {' and '.join(parts)}."
