"""Larger rungs of a ladder: which mixtures are trained on them, chosen from what the smallest rung's losses say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mixopt.mixture.config import Rung, Study, feasible_mixtures
from mixopt.mixture.design import HALF, REPEATED, Plan, make_recipe, of_other_pools, proxy_pools
from mixopt.mixture.pool_ablation import runs_of, task_of
from mixopt.runs.objective import target_of
from mixopt.runs.pools import full_unique
from mixopt.runs.table import collect
from mixopt.search.optimize import objective_of, search
from mixopt.serialization import cached, digest, remake, restoring
from mixopt.study.jobs import EXTRA, LARGER, REPETITION, PlannedRun, by_text, make_job
from mixopt.study.layout import Folder
from mixopt.study.training import to_do
from regressors import DEFAULT, EPOCH_AWARE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from proxies.shards import Shard
    from proxies.train import Recipe

    Floats = NDArray[np.float64]

VERSION = 1  # of ladder.json; rises when mixtures are chosen otherwise
NEAR_BEST = "near-best"  # role of runs of the mixture predicted best, and of the one halfway to uniform
DECIMALS = 3  # of a chosen mixture's shares: a last digit that moves must not make another mixture of it
PRIOR_PRECISION = 0.1  # of the greedy design's information matrix: less than one run


def with_larger_rungs(plan: Plan, study: Study, shards: Mapping[str, Shard], study_path: Path, folder: Folder) -> Plan:
    """The plan of the smallest rung, and that of the larger ones once all of its runs are there.

    Notes say that they are to come where it isn't so yet. Raises MixoptError for pools too small to train on.
    """
    if not study.ladder:
        return plan
    if any(to_do(job, folder.runs, folder.weights) for job in plan.jobs):
        count = sum(map(runs_of_rung, study.ladder))
        note = f"the ladder's larger rungs, about {count} runs, are planned once these are trained"
        return replace(plan, notes=[*plan.notes, note])
    names = by_text(study.domains, shards)
    chosen = cached(folder.ladder, _key(plan, study), lambda: {"mixtures": _choose(plan, study, names, folder)})
    with restoring(folder.ladder, remake("run")):
        mixtures = [{name: float(one[name]) for name in study.domains} for one in chosen["mixtures"]]
    smallest = [run for run in plan.runs if run.role not in EXTRA]
    known = [tuple(run.weights.values()) for run in smallest]
    runs = [
        replace(smallest[0], role=NEAR_BEST, weights=weights)
        for weights in mixtures
        if tuple(weights.values()) not in known
    ]
    jobs = [make_job(run, study, shards, plan.recipe) for run in runs]
    notes = list(plan.notes)
    for rung in study.ladder:
        recipe = make_recipe(study, vocab=plan.recipe.vocab, params_scale=rung.params, tokens_scale=rung.tokens)
        pools, more = proxy_pools(study, shards, plan.full_pools, recipe)
        place = f"at {recipe.shape.params:,} parameters: "
        notes += [place + note for note in more]
        ours = [PlannedRun(LARGER, weights, dict(pools), study.seed) for weights in mixtures[: rung.mixtures]]
        others = of_other_pools(study, ours, shards, recipe, count=rung.repetition_runs)
        again = [replace(ours[row], pools=other) for row, other in others]
        # Noise depends on the mixture: repeats of two of them, uniform and the one predicted best.
        again += [replace(run, seed=study.seed + 1 + i) for i in range(rung.repeats) for run in ours[:2]]
        half = {name: max(round(pool * HALF), recipe.context + 1) for name, pool in pools.items()}
        again += [replace(run, pools=half, length=HALF) for run in ours[: rung.shorter_runs]]
        runs += [*ours, *again]
        made = [make_job(run, study, shards, recipe) for run in [*ours, *again]]
        jobs += [replace(job, recipe=job.recipe or recipe) for job in made]
    return replace(plan, runs=[*plan.runs, *runs], jobs=[*plan.jobs, *jobs], notes=notes)


def _key(plan: Plan, study: Study) -> str:
    """Of all that decides the choice: the runs, what is aimed at, and within which limits."""
    search = study.search.model_dump(mode="json", include={"min_weight", "max_weight", "fixed", "max_epochs"})
    rungs = max(rung.mixtures for rung in study.ladder)
    full = study.full.tokens if study.full else None
    runs = sorted(job.run_id for job in plan.jobs)
    return digest([VERSION, runs, study.target_weights, search, rungs, full, plan.full_pools, study.seed])


def _choose(plan: Plan, study: Study, names: Sequence[str], folder: Folder) -> list[dict[str, float]]:
    """As many mixtures as the largest number of a rung, the most telling first; a rung trains the first of them.

    Uniform, the mixture that the smallest rung's law predicts to be best, natural, the one halfway between the first
    two; then one by one the trained mixture that adds most to what a linear model of shares knows (D-optimal design,
    Fedorov 1972), mixtures near the best counting more: there the decision is made.
    """
    table = collect(folder.runs, plan=plan, write=False)
    ordinary, auxiliary = runs_of(table), runs_of(table, role=REPETITION)
    order = [table.domains.index(name) for name in names]
    objective = target_of(study.target_weights, ordinary)
    unique = full_unique(table.domains, plan.full_pools, study.full.tokens) if study.full else None
    name = EPOCH_AWARE if len(auxiliary.kept) else DEFAULT
    task = task_of(name, ordinary, seed=study.seed, auxiliary=auxiliary, groups=auxiliary.groups)
    assert task is not None
    law = task.at(task.fit(ordinary.losses), unique)
    space = feasible_mixtures(study, table.domains, plan.full_pools)
    found = search(*objective_of(law, objective), space, seeds=list(ordinary.weights), seed=study.seed)
    of_role = {str(role): w for role, w in zip(ordinary.kept["role"], ordinary.weights, strict=True)}
    uniform, best = of_role[REPEATED], rounded(found.weights)
    first = [uniform, best, *([of_role["natural"]] if "natural" in of_role else []), rounded((uniform + best) / 2)]
    predicted = objective.of(law.predict(ordinary.weights))
    count = max(rung.mixtures for rung in study.ladder)
    rows = most_telling(ordinary.weights[:, order], predicted, np.array(first)[:, order], count=count)
    chosen = [*first, *ordinary.weights[rows]][:count]
    return [{name: round(float(share), 8) for name, share in zip(table.domains, w, strict=True)} for w in chosen]


def most_telling(W: Floats, predicted: Floats, first: Floats, *, count: int) -> list[int]:
    """Rows of W (n_mixtures, n_domains) to train beside the mixtures `first` (n_first, n_domains), count with those.

    predicted: objectives (n_mixtures,); one that is a standard deviation above the lowest counts for 1/e.
    """
    scale = np.maximum(W.std(axis=0), 1e-12)
    features, given = (np.column_stack([np.ones(len(X)), (X - W.mean(axis=0)) / scale]) for X in (W, first))
    relevance = np.exp(-(predicted - predicted.min()) / max(float(predicted.std()), 1e-12))
    information = PRIOR_PRECISION * np.eye(features.shape[1]) + given.T @ given
    left = [row for row in range(len(W)) if np.abs(first - W[row]).max(axis=1).min() > 10.0**-DECIMALS]
    chosen: list[int] = []
    while left and len(first) + len(chosen) < count:
        leverage = np.einsum("if,fi->i", features[left], np.linalg.solve(information, features[left].T))
        row = left.pop(int((relevance[left] * leverage).argmax()))
        information += np.outer(features[row], features[row])
        chosen.append(row)
    return chosen


def rounded(w: Floats) -> Floats:
    """Shares of few decimals that sum to 1."""
    short = np.round(w, DECIMALS)
    short[short.argmax()] += 1 - short.sum()
    return np.round(short, DECIMALS)


def recipes_of(study: Study, vocab: int) -> list[Recipe]:
    """Of the smallest rung's runs, one each, before anything is known of the texts: where nothing is repeated, there
    will be fewer."""
    again = study.design.repetition_matched
    whole = study.design.mixtures + study.design.repeats + again * study.design.repetition_runs
    recipe = make_recipe(study, vocab=vocab)
    return [recipe] * whole + [shorter(recipe)] * (again * study.design.shorter_runs)


def recipes_of_larger(study: Study, vocab: int) -> list[Recipe]:
    """Of the runs that are planned once the smallest rung is trained, those of the mixtures predicted best among
    them."""
    found = [make_recipe(study, vocab=vocab)] * (2 if study.ladder else 0)
    for rung in study.ladder:
        recipe = make_recipe(study, vocab=vocab, params_scale=rung.params, tokens_scale=rung.tokens)
        found += [recipe] * (runs_of_rung(rung) - rung.shorter_runs) + [shorter(recipe)] * rung.shorter_runs
    return found


def shorter(recipe: Recipe) -> Recipe:
    return replace(recipe, tokens=round(recipe.tokens * HALF))


def runs_of_rung(rung: Rung) -> int:
    return rung.mixtures + rung.repetition_runs + 2 * rung.repeats + rung.shorter_runs
