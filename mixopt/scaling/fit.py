"""Joint laws of mixture, parameters and tokens: chosen by rolling-origin errors, fitted, minimised over mixtures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mixopt.errors import MixoptError
from mixopt.report.document import Warning
from mixopt.runs.extrapolation import MAX_CHECKED, SAME_SCALE, fitted_scales, gain_intervals, loss_intervals
from mixopt.runs.objective import Target, TargetChoice, check_objective, narrowed, target_of, weights_of
from mixopt.runs.stored import PROBES, table_digest
from mixopt.scaling.budget import (
    MAX_SEEN,
    TRAINING,
    Budget,
    Problem,
    best_size,
    check_budget,
    epochs_of,
    repetition,
    repetition_warnings,
)
from mixopt.scaling.results import (
    HULL_TOLERANCE,
    BestMixture,
    ExponentEstimate,
    FittedScales,
    MeasuredRun,
    PredictedMixture,
    PriorStrength,
    Scale,
    ScaleEvidence,
    SearchResult,
)
from mixopt.scaling.rolling_origin import Judged, inputs, judge, new_law
from mixopt.scaling.stored import FORMAT, KIND, StoredScale, restored
from mixopt.search.certificate import certify
from mixopt.search.optimize import Found, objective_of, search
from mixopt.search.simplex import Floats, distance_to_hull, total_variation
from mixopt.serialization import Json, digest, nan_to_null
from mixopt.study.progress import Progress
from mixopt.threads import on_one_thread
from mixopt.version import versions

if TYPE_CHECKING:
    from mixopt.runs.table import RunTable
    from regressors.estimators.joint import AtScale, JointRegressor

TRIALS = 1000  # mixtures that each search tries
MAX_EXPONENT_RATIO = 1.5  # times the published exponent, or a fraction of it: published runs' exponents lie within
MAX_NARROWING = 0.9  # of an exponent's width before the runs: one that is no narrower after them comes from the prior


@on_one_thread
def fit_scale(
    table: RunTable,
    target: TargetChoice,
    laws: Sequence[str] | None = None,
    *,
    at_params: float | None = None,
    at_tokens: float | None = None,
    pools: Mapping[str, float] | None = None,
    compute: float | None = None,
    seed: int = 0,
    source: Json | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> StoredScale:
    """The joint law that predicts held-out scales best, fitted to all rows, and the best mixture at a scale.

    table: rows with params and tokens, of which one varies at least. target: as in `fit_table`. laws: names in
    `regressors.JOINT_LAWS` to judge; None: all. at_params, at_tokens: the scale to predict at; None: the largest
    trained. pools: unique tokens of the larger run by domain, which decide how often text is repeated; domains without
    one have no limit. compute: FLOPs of training, 6 N D; with at_params or at_tokens it settles the other, with
    neither the size is found that makes the best of them.
    source: the files that the table was read from and how; command: what was typed; both are only recorded.
    Raises MixoptError for a law that isn't there, and for scales that aren't above 0.
    """
    from regressors.estimators.joint import JOINT_LAWS

    progress, target = progress or Progress(), weights_of(target)
    names = list(laws or JOINT_LAWS)
    if unknown := [name for name in names if name not in JOINT_LAWS]:
        raise MixoptError(f"no joint law is called {unknown[0]!r}: choose from {', '.join(JOINT_LAWS)}")
    check_objective(target, table)
    table = narrowed(table, list(target))
    problem = Problem(table, target_of(target, table), Budget(dict(pools or {}), compute))
    check_budget(problem.budget, table)
    scale = _given_scale(at_params, at_tokens, compute, problem.trained)
    judged = judge(table, problem.objective, names, beyond=_beyond(scale, problem.trained), progress=progress)
    progress.stage("fit")
    joint = new_law(judged.chosen, pools=bool(pools)).fit(problem.inputs(), table.losses)
    progress.finish(judged.chosen)
    progress.stage("search")
    sized = None
    if scale is None:
        scale, sized = best_size(joint, problem)
    fitted = known_scales(joint, problem)
    best = recommended(joint, problem, fitted, scale, seed=seed)
    progress.finish(f"{TRIALS} mixtures tried at each scale")
    known = repetition(joint, problem)
    warnings = scale_warnings(joint, problem, judged, best, scale) + repetition_warnings(best.epochs, known)
    evidence = ScaleEvidence(
        judged=judged.scores(),
        exponents=exponents(joint),
        priors=priors(joint),
        best=best,
        size=sized,
        repetition=known,
        warnings=[warning.text for warning in warnings],
        warning_codes=[warning.code for warning in warnings],
        fitted=fitted,
    )
    scales = [table.numbers(name).tolist() for name in ("params", "tokens")]
    made = {**(source or {}), "command": command, "laws": names, "seed": seed}
    made |= {"table_sha256": digest([table_digest(table), *scales]), "versions": versions()}
    return restored(file_content(joint, problem, judged.chosen, scale, made=made, evidence=evidence))


def _given_scale(params: float | None, tokens: float | None, compute: float | None, trained: Scale) -> Scale | None:
    """The scale to predict at, None where it is to be found."""
    for count in (params, tokens):
        if count is not None and not (np.isfinite(count) and count > 0):
            raise MixoptError(f"{count:g} parameters or tokens: give a number above 0")
    if compute is None:
        return Scale(float(params or trained.params), float(tokens or trained.tokens))
    if params and tokens:
        raise MixoptError("--compute, --at-params and --at-tokens: two of them settle the third, leave one out")
    if params:
        return Scale(params, compute / (TRAINING * params))
    return Scale(compute / (TRAINING * tokens), tokens) if tokens else None


def _beyond(scale: Scale | None, trained: Scale) -> list[str]:
    """In what a scale lies beyond all that was trained, as kinds of origins; nothing of one that is yet to be found."""
    ratios = {} if scale is None else {"size": scale.params / trained.params, "tokens": scale.tokens / trained.tokens}
    return [kind for kind, ratio in ratios.items() if ratio > SAME_SCALE]


def file_content(
    joint: JointRegressor, problem: Problem, law: str, at: Scale, *, made: Json, evidence: ScaleEvidence
) -> Json:
    """What the file holds but for its checksum."""
    X, table = problem.inputs(), problem.table
    probes = X[np.unique(np.linspace(0, len(X) - 1, PROBES).astype(int))]
    return {
        "kind": KIND,
        "format": FORMAT,
        "law": law,
        "target": {"weights": problem.objective.weights, "unit": problem.objective.unit},
        "domains": list(table.domains),
        "texts": list(table.targets),
        "at": at.to_json(),
        "trained": problem.trained.to_json(),
        "pools": problem.budget.pools,
        "made": made,
        "evidence": evidence.to_json(),
        "model": joint.to_dict(),
        "runs": {
            "run_id": table.run_ids,
            "weights": table.weights.tolist(),
            "params": table.numbers("params").tolist(),
            "tokens": table.numbers("tokens").tolist(),
            "losses": nan_to_null(table.losses),
        },
        "probes": {"inputs": probes.tolist(), "losses": nan_to_null(joint.predict(probes))},
    }


# What the fit says


def exponents(joint: JointRegressor) -> list[ExponentEstimate]:
    """The exponents with their standard errors, and whether the runs say anything of them."""
    found = []
    for one in joint.exponents_:
        value, sd = float(np.mean(one.value)), float(np.mean(one.sd))
        prior = one.prior_sd if np.isfinite(one.prior_sd) else None
        decided_by = "the runs alone" if not prior else "the prior" if sd > MAX_NARROWING * prior else "runs and prior"
        before = (one.prior, one.prior * prior, sd / prior) if prior else (None, None, None)
        found.append(ExponentEstimate(one.name, value, value * sd, *before, decided_by))  # sd is of the logarithm
    return found


def priors(joint: JointRegressor) -> list[PriorStrength]:
    """How strong the priors are, by kind of origin, and the held-out errors, shares of the loss, that decided it."""
    tried = {
        kind: {f"{one.strength:g}": nan_to_null(one.error) for one in joint.trials_ if one.kind == kind}
        for kind in joint.strength_
    }
    return [PriorStrength(kind, strength, tried[kind]) for kind, strength in joint.strength_.items()]


# The best mixture


def known_scales(joint: JointRegressor, problem: Problem) -> FittedScales | None:
    """What intervals go by; None where no row has all losses that count."""
    measured = problem.objective.of(problem.table.losses)
    known = np.isfinite(measured)
    if not known.any():
        return None
    law = joint.of_law_alone()
    return fitted_scales(lambda X: problem.objective.of(law.predict(X)), problem.inputs()[known], measured[known])


def recommended(
    joint: JointRegressor, problem: Problem, fitted: FittedScales | None, scale: Scale, *, seed: int
) -> BestMixture:
    """The mixtures predicted to be best at `scale` and at the largest trained one, beside the best measured there."""
    table, objective, space, trained = problem.table, problem.objective, problem.space, problem.trained

    def best_at(predictor: AtScale) -> Found:
        starts = list(problem.mixtures)
        return search(*objective_of(predictor, objective), space, trials=TRIALS, seeds=starts, seed=seed)

    predictor = problem.at(joint, scale)
    first = best_at(predictor)
    weights = {"best": first.weights}
    if scale != trained:
        weights["best_at_trained"] = best_at(problem.at(joint, trained)).weights
    measured = None
    if (row := best_measured(table, objective)) is not None:
        weights["best_measured"] = inputs(table)[row, :-2]
        measured = MeasuredRun(table.run_ids[row], float(objective.of(table.losses)[row]))
    weights["uniform"] = space.project(np.full(len(table.domains), 1 / len(table.domains)))
    rows = predictor.rows(np.array(list(weights.values())))

    def losses(X: Floats) -> Floats:
        return objective.of(joint.predict(X))

    def repeats(w: Floats) -> bool:  # which no run that intervals were checked on does
        epochs = epochs_of(dict(zip(table.domains, w, strict=True)), scale.tokens, problem.budget.pools)
        return any(count is not None and count > MAX_SEEN for count in epochs.values())

    intervals = [None] * len(rows) if fitted is None else loss_intervals(fitted, losses, rows)
    predicted = {
        name: PredictedMixture(
            weights=dict(zip(table.domains, w.tolist(), strict=True)),
            loss=float(loss),
            low=interval and interval.low,
            high=interval and interval.high,
            outside=distance_to_hull(w, problem.mixtures),
            checked=interval is not None and interval.checked and not repeats(w),
        )
        for (name, w), loss, interval in zip(weights.items(), losses(rows), intervals, strict=True)
    }
    gains = [] if fitted is None else gain_intervals(fitted, losses, rows)
    certificate = certify(predictor, objective, space, first.weights)
    return BestMixture(
        mixtures=predicted,
        best_measured_run=measured,
        differs={name: float(total_variation(first.weights, w)) for name, w in weights.items() if name != "best"},
        beyond=Scale(scale.params / trained.params, scale.tokens / trained.tokens),
        search=SearchResult(TRIALS, first.agreeing_starts, first.starts, certificate),
        epochs=epochs_of(predicted["best"].weights, scale.tokens, problem.budget.pools),
        gains={
            name: replace(gain, checked=predicted["best"].checked and predicted[name].checked)
            for name, gain in zip(weights, gains, strict=bool(gains))
            if name != "best"
        },
    )


def best_measured(table: RunTable, objective: Target) -> int | None:
    """The row of the lowest target loss among those of the largest size near its most tokens; None: none has all."""
    params, tokens, losses = table.numbers("params"), table.numbers("tokens"), objective.of(table.losses)
    there = np.isfinite(losses) & (params * SAME_SCALE >= params.max())
    there &= tokens * SAME_SCALE >= tokens[there].max(initial=0)
    return int(np.where(there, losses, np.inf).argmin()) if there.any() else None


# What limits the prediction


def scale_warnings(
    joint: JointRegressor, problem: Problem, judged: Judged, best: BestMixture, scale: Scale
) -> list[Warning]:
    found, table = [], problem.table
    for name, what, kind in (("params", "parameters", "size"), ("tokens", "tokens", "tokens")):
        beyond, known = getattr(best.beyond, name), judged.beyond(kind)
        times = f"{beyond:.2g} times the {what} of the largest trained run"
        if len(np.unique(table.numbers(name))) == 1 and max(beyond, 1 / beyond) > SAME_SCALE:
            text = f"what {beyond:.2g} times as many change is the prior's word, and no runs checked the range."
            found.append(Warning(f"one-value-of-{name}", f"All rows have as many {what}: {text}"))
        elif beyond > MAX_CHECKED:
            text = f"no range was checked beyond {MAX_CHECKED:g} times: train a size between to check the loss."
            found.append(Warning(f"far-beyond-{name}", f"{times}: {text}"))
        elif beyond > SAME_SCALE * max(known, 1.0):
            tested = f"held-out runs lay at most {known:.2g} times beyond" if known else "no run that far was held out"
            text = f"{times}; {tested}: the interval's width rests on other tables' errors."
            found.append(Warning(f"beyond-{name}", text))
    outside = best.mixtures["best"].outside
    if outside > HULL_TOLERANCE:
        text = "lie outside what any blend of trained mixtures has: train a mixture there before relying on it."
        found.append(Warning("outside-hull", f"{outside:.1%} of the best mixture's tokens {text}"))
    unsure = [one.name for one in exponents(joint) if one.from_ == "the prior"]
    moved = {"alpha": best.beyond.params, "beta": best.beyond.tokens}
    if unidentified := [name for name in unsure if not 1 / SAME_SCALE <= moved[name] <= SAME_SCALE]:
        which = f"The runs don't identify {' and '.join(unidentified)}"
        found.append(Warning("exponent-from-prior", f"{which}: how far loss falls beyond them is the prior's word."))
    found += unusual_exponents(joint)
    if judged.persistence_wins:
        text = "No law predicts held-out scales better than the losses of the same mixtures at the scale below"
        found.append(Warning("persistence-wins", f"{text}: don't rely on predicted losses."))
    if not np.all(joint.converged_):
        found.append(Warning("not-converged", "The fit did not converge for every loss."))
    _, checkpoints = np.unique(inputs(table)[:, :-1].round(6), axis=0, return_counts=True)
    if checkpoints.max() > 1 and scale.tokens > SAME_SCALE * problem.trained.tokens:
        text = "Checkpoints count as runs of so many tokens: where the learning rate falls within a run, they say"
        found.append(Warning("checkpoints-as-runs", f"{text} little of longer runs, and the interval is too narrow."))
    return found


def unusual_exponents(joint: JointRegressor) -> list[Warning]:
    """Of exponents far from those of published runs, whether or not the fit had priors on them."""
    found = []
    for one in joint.exponents_:
        value = float(np.mean(one.value))
        if one.prior and not 1 / MAX_EXPONENT_RATIO <= value / one.prior <= MAX_EXPONENT_RATIO:
            far = f"{one.name} = {value:.2f} is far from the {one.prior:.2f} that published runs have shown"
            text = f"{far}: young checkpoints may decide it; try without them, by --where."
            found.append(Warning("unusual-exponent", text))
    return found
