"""Verification: recommended, natural and uniform mixture trained at the proxy's size and at a larger one."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import listed, mean
from mixopt.mixture.config import Study
from mixopt.mixture.design import full_pools, make_recipe, proxy_pools
from mixopt.mixture.full_scale import Ladder, predicted_at
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
SMALLEST = "smallest_rung"  # what the smallest rung alone recommends, beside the others where there is a ladder
SEED_OFFSET = 1000  # fresh seeds: the recommendation was chosen on the design's own


def verify(
    study: Study, study_path: Path, folder: Folder, progress: Progress, *, ladder: Ladder | None = None
) -> Verification:
    """Trains every group with every seed at both sizes, writes verify.json and gives it back.

    ladder: the law of all rungs; then the second size is one above the largest of them, and what the law predicts there
    is held against what was measured.
    The groups of one seed share initialisation and data order, so gains are differences between paired runs.
    Raises MixoptError when there is no recommendation yet, or the study has no corpora to train on.
    """
    if study.runs is not None:
        raise MixoptError("verify trains on the study's corpora, and this study took its runs from a file: it has none")
    recommendation = Recommendation.read(folder.recommendation, made_by="run")
    shards = open_shards(study, folder)
    above = (study.verify.params_scale, study.verify.tokens_scale)
    if ladder and study.ladder:
        above = (above[0] * study.ladder[-1].params, above[1] * study.ladder[-1].tokens)
    scales = dict.fromkeys([(1.0, 1.0), above])
    sizes = [one_size(study, study_path, folder, shards, recommendation, *scale, progress, ladder) for scale in scales]
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
    ladder: Ladder | None = None,
) -> VerifiedSize:
    vocab = next(iter(shards.values())).meta.vocab_size
    recipe = make_recipe(study, vocab=vocab, params_scale=params_scale, tokens_scale=tokens_scale)
    pools, notes = proxy_pools(study, shards, full_pools(study, shards, study_path), recipe)
    for note in notes:
        progress.note(note)
    jobs: dict[str, list[Job]] = {}
    mixtures: dict[str, dict[str, float]] = {}
    different: dict[tuple[float, ...], dict[str, float]] = {}
    for group in (*GROUPS, SMALLEST) if ladder else GROUPS:
        weights = {row.domain: float(getattr(row, group)) for row in recommendation.domains}
        mixtures[group] = weights
        weights = different.setdefault(tuple(np.round(list(weights.values()), 8)), weights)
        jobs[group] = [
            make_job(PlannedRun(group, weights, dict(pools), study.seed + SEED_OFFSET + i), study, shards, recipe)
            for i in range(study.verify.seeds)
        ]
    out = folder.root / "verify"
    flat = list({job.run_id: job for pair in zip(*jobs.values(), strict=True) for job in pair}.values())
    train_missing(flat, recipe, study, shards, folder, out, progress, title=f"verify {params_scale:g}x")
    losses = {group: [target_loss(out / f"{job.run_id}.json", study) for job in jobs[group]] for group in jobs}
    predicted = None
    if ladder and recipe.shape.params >= ladder.law.top_[0]:
        at = ladder.law.at(
            recipe.shape.params, recipe.tokens_seen, [pools[n] / recipe.tokens_seen for n in ladder.domains]
        )
        shares = {group: np.array([mixtures[group][name] for name in ladder.domains]) for group in mixtures}
        predicted = predicted_at(ladder, at, shares)
    return VerifiedSize(
        params=recipe.shape.params,
        tokens=recipe.tokens_seen,
        params_scale=recipe.shape.params / make_recipe(study, vocab=vocab).shape.params,
        arms={group: [x for x in losses[group] if x is not None] for group in jobs},
        gains={group: gain(losses["recommended"], losses[group]) for group in jobs if group != "recommended"},
        predicted=predicted,
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
    """A size in words: does the recommendation win by more than the noise, and as predicted where it was?"""
    parts = []
    for group, won in size.gains.items():
        name = "the smallest rung's best" if group == SMALLEST else group
        if won is None:
            parts.append(f"can't be compared with {name} (too few runs finished)")
            continue
        clear = abs(won.mean) > 2 * won.standard_error
        verb = "can't be told from" if not clear else "beats" if won.mean > 0 else "loses to"
        parts.append(f"{verb} {name} ({won.mean:+.3f} ± {won.standard_error:.3f} nats/token)")
    text = f"At {size.params:,} parameters and {size.tokens:,} tokens the recommendation {listed(parts)}."
    return text + (f" {held_text(size)}" if size.predicted else "")


def held_text(size: VerifiedSize) -> str:
    """Whether losses lay in their predicted ranges, and the mixtures came in the predicted order."""
    assert size.predicted and size.predicted.predicted
    means = {group: average for group, losses in size.arms.items() if (average := mean(losses)) is not None}
    rows = {group: getattr(size.predicted.predicted, group) for group in means}
    inside = [group for group, row in rows.items() if row.low <= means[group] <= row.high]
    off = float(np.mean([abs(row.loss / means[group] - 1) for group, row in rows.items()])) if rows else 0.0
    kind = "80% intervals" if all(row.checked for row in rows.values()) else "ranges (not checked at this distance)"
    clear = {group: won.mean for group, won in size.gains.items() if won and abs(won.mean) > 2 * won.standard_error}
    expected = size.predicted.gains
    held = all((won > 0) == ((expected[group].loss or 0.0) > 0) for group, won in clear.items())
    order = "the clear differences came as predicted" if held else "a clear difference came the other way round"
    return (
        f"The ladder had predicted these losses with a mean error of {off:.1%}; {len(inside)} of {len(rows)} mixtures "
        f"lay in their {kind}" + (f", and {order}." if clear else ".")
    )
