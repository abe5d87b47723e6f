"""Loss of the full run: the ladder's law, how it predicted the largest rung, and what changes with scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.mixture.fit import Fitted
from mixopt.mixture.results import FullPrediction, FullPredictions, FullRun, Gain, HeldOutRung, RungBest, Scale
from mixopt.runs.objective import Target
from mixopt.runs.pools import pool_shares
from mixopt.search.optimize import objective_of, search
from mixopt.search.simplex import Feasible, Floats
from regressors.estimators.ladder import DRAWS, LadderRegressor
from regressors.estimators.pool_aware import AtPools

if TYPE_CHECKING:
    from mixopt.runs.table import RunTable
    from regressors.estimators.ladder import AtRung

# Times the largest rung's parameters and tokens up to which ranges held what they should of held-out runs
# (`python benchmarks/demo.py`). At four times both they held half (`python benchmarks/full_scale.py --quick`).
CHECKED = (4.2, 2.1)
MAX_OTHER_POOLS = 0.05  # of ln unique tokens over a run's tokens: nearer ones are the same repetition
LEVEL = 0.8  # of ranges
PRIOR_ERRORS = 1.0  # how many independent errors the ranges' own width counts for
SETS_AN_ERROR = 3  # validation sets that tell as much as one independent error: those of one rung err alike
RUNG_TRIALS = 200  # of the search for each rung's best mixture, seeded with the recommended one


@dataclass(frozen=True, eq=False)
class Ladder:
    """A law of all rungs, and how it predicted the largest one when it was fitted to the others."""

    law: LadderRegressor
    domains: tuple[str, ...]
    objective: Target
    scales: list[tuple[float, float, int]]  # parameters, tokens and runs of every rung, the smallest first
    held_out: HeldOutRung | None


def fit_ladder(fitted: Fitted, runs: RunTable, objective: Target, *, seed: int = 0) -> Ladder | None:
    """The ladder's law from the smallest rung's predictor; None where all runs have one size.

    runs: finished runs of all rungs.
    """
    params, tokens, unique = runs.numbers("params"), runs.numbers("tokens"), pool_shares(runs)
    sizes = np.unique(params[np.isfinite(params)])
    if len(sizes) < 2 or not np.isfinite(params * tokens).all():
        return None
    unlimited = np.full(runs.weights.shape, np.inf)
    X = np.column_stack([runs.weights, unlimited if unique is None else unique, params, tokens])
    Y, base = runs.losses, fitted.estimator.law if isinstance(fitted.estimator, AtPools) else fitted.estimator
    if base.n_features_in_ == len(runs.domains) and unique is not None:  # it sees no pools, so runs of others mislead
        usual = np.median(unique[params == sizes[0]], axis=0)
        with np.errstate(invalid="ignore"):
            other = np.abs(np.log(unique / usual)) > MAX_OTHER_POOLS
        alike = ~np.where(np.isfinite(unique) & np.isfinite(usual), other, False).any(axis=1)
        X, Y = X[alike], Y[alike]
    law = LadderRegressor(base, random_state=seed).fit(X, Y)
    scales = [(size, float(X[X[:, -2] == size, -1].max()), int((X[:, -2] == size).sum())) for size in sizes]
    return Ladder(law, runs.domains, objective, scales, largest_left_out(base, X, Y, objective, seed=seed))


def largest_left_out(base: Any, X: Floats, Y: Floats, objective: Target, *, seed: int) -> HeldOutRung | None:
    """The runs of the largest rung at its most tokens, predicted by a law that is fitted to all smaller sizes."""
    top = X[:, -2] == X[:, -2].max()
    full = top & (X[:, -1] == X[top, -1].max())
    below = X[~top]
    if len(np.unique(below[:, -2])) < 2 and len(np.unique(below[:, -1])) < 2:
        return None
    law = LadderRegressor(base, random_state=seed).fit(below, Y[~top])
    d = law.n_domains_
    drawn = np.empty((DRAWS, full.sum(), Y.shape[1]))
    params, tokens = X[full][0, -2:]
    for pools in np.unique(X[full, d:-2], axis=0):
        rows = np.flatnonzero((X[full, d:-2] == pools).all(axis=1))
        drawn[:, rows] = law.at(params, tokens, list(pools)).drawn(X[full][rows, :d], scatter=True)
    measured, predicted = Y[full], drawn.mean(axis=0)
    low, high = np.quantile(drawn, [0.1, 0.9], axis=0)
    known = np.isfinite(measured)
    off = np.abs(predicted / measured - 1)[known]
    target, truth = objective.of(predicted), objective.of(measured)
    one, other = np.triu_indices(len(measured), 1)
    apart = (target[one] - target[other]) - (truth[one] - truth[other])  # of differences between runs
    apart = np.abs(apart[np.isfinite(apart)])
    return HeldOutRung(
        params=float(X[full, -2].max()),
        tokens=float(X[full, -1].max()),
        beyond=Scale(float(X[full, -2].max() / below[:, -2].max()), float(X[full, -1].max() / below[:, -1].max())),
        runs=int(full.sum()),
        error=float(off.mean()) if len(off) else None,
        target_error=float(np.nanmean(np.abs(target / truth - 1))) if np.isfinite(truth).any() else None,
        difference_error=float(apart.mean()) if len(apart) else None,
        inside=float(((measured >= low) & (measured <= high))[known].mean()) if len(off) else None,
        widening=widening(measured - predicted, drawn.std(axis=0)),
        gain_widening=widening(
            (measured[one] - measured[other]) - (predicted[one] - predicted[other]),
            (drawn[:, one] - drawn[:, other]).std(axis=0),
        ),
    )


def widening(error: Floats, sd: Floats) -> float:
    """By how much ranges of these sds have to grow to be as wide as held-out errors say; 1 at least.

    error, sd (n, n_targets). Errors of one rung have much in common: their root mean square is shrunk towards 1.
    """
    z = (error / np.maximum(sd, 1e-12))[np.isfinite(error)]
    if not len(z):
        return 1.0
    independent = max(1.0, error.shape[1] / SETS_AN_ERROR)
    return max(1.0, float(np.sqrt((independent * np.mean(z**2) + PRIOR_ERRORS) / (independent + PRIOR_ERRORS))))


def full_run(
    ladder: Ladder,
    at: AtRung,
    feasible: Feasible,
    mixtures: Mapping[str, Floats],
    *,
    bits: Sequence[float | None],
    level: float,
    seed: int,
) -> FullRun:
    """What the full run's loss is predicted to be under each mixture, and every rung's best mixture.

    at: the law at the full run. Other arguments as in `predicted_at`.
    """
    rungs = []
    for params, tokens, runs in ladder.scales:
        best = best_at(ladder.law.at(params, tokens, at.unique), ladder.objective, feasible, mixtures, seed=seed)
        rungs.append(RungBest(params, tokens, runs, dict(zip(feasible.domains, best.tolist(), strict=True))))
    return replace(predicted_at(ladder, at, mixtures, bits=bits, level=level), rungs=rungs)


def predicted_at(
    ladder: Ladder,
    at: AtRung,
    mixtures: Mapping[str, Floats],
    *,
    bits: Sequence[float | None] = (),
    level: float = LEVEL,
) -> FullRun:
    """Predicted objectives of a run at one size and length under each mixture, and the gains of the recommended one.

    mixtures: the recommended one (n_domains,) and others by name. bits: bits/byte a nat/token of every validation set,
    None where not known. level: of the ranges.
    """
    ends = [(1 - level) / 2, (1 + level) / 2]
    names = [name for name in FullPredictions.__dataclass_fields__ if name in mixtures]
    objective, W = ladder.objective, np.array([mixtures[name] for name in names])
    expected = at.predict(W)  # (n_mixtures, n_targets)
    means, losses = objective.of(expected), objective.of(at.drawn(W, scatter=True))  # (n_mixtures,), (S, n_mixtures)
    beyond = np.array([at.params, at.tokens]) / ladder.law.top_
    checked = bool((beyond <= CHECKED).all()) and ladder.held_out is not None
    counts = np.flatnonzero(objective.by_target > 0)
    factors = [bits[int(t)] if bits else None for t in counts]
    by_byte: list[float | None] = [None] * len(names)
    if all(factor is not None for factor in factors):
        weights = objective.by_target[counts] * np.array(factors, dtype=float)
        by_byte = (expected[:, counts] @ weights).tolist()
    held = ladder.held_out
    wide, gain_wide = (held.widening, held.gain_widening) if held else (1.0, 1.0)
    predicted, gains, k = {}, {}, names.index("recommended")
    for name, loss, own, byte in zip(names, means.tolist(), losses.T, by_byte, strict=True):
        predicted[name] = FullPrediction(loss, *bounds(own, loss, wide, ends), bits_per_byte=byte, checked=checked)
        if name != "recommended":
            gain = loss - float(means[k])
            gains[name] = Gain(name, gain, *bounds(own - losses[:, k], gain, gain_wide, ends))
    return FullRun(
        at.params,
        at.tokens,
        predicted=FullPredictions(**predicted),
        gains=gains,
        beyond=Scale(*map(float, beyond)),
        held_out=ladder.held_out,
    )


def bounds(drawn: Floats, expected: float, wide: float, ends: Sequence[float]) -> tuple[float, float]:
    """The draws' quantiles, moved away from what is expected by a factor; where all draws are losses, above 0 still."""
    low, high = (expected + wide * (float(end) - expected) for end in np.quantile(drawn, ends))
    return (max(low, float(drawn.min()) / 2) if drawn.min() > 0 else low), high


def best_at(at: AtRung, objective: Target, feasible: Feasible, mixtures: Mapping[str, Floats], *, seed: int) -> Floats:
    """The best mixture at one size and length, searched from the named ones on."""
    return search(
        *objective_of(at, objective), feasible, trials=RUNG_TRIALS, seeds=list(mixtures.values()), seed=seed
    ).weights


def bits_per_nat(runs: RunTable) -> list[float | None]:
    """Bits/byte a nat/token of every validation set, by the proxies' tokenizer; None where not recorded."""
    out: list[float | None] = []
    for name, losses in zip(runs.targets, runs.losses.T, strict=True):
        ratio = runs.numbers(f"bpb/{name}") / losses
        out.append(float(np.median(ratio[np.isfinite(ratio)])) if np.isfinite(ratio).any() else None)
    return out
