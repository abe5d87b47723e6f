"""From runs of several sizes and lengths to larger ones: joint laws judged, one fitted, the best mixture searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.runs.objective import Target, narrowed, target_of
from mixopt.runs.stored import PROBES, table_digest
from mixopt.scaling.budget import (
    TRAINING,
    Budget,
    Scale,
    at,
    best_size,
    cautions_of_repetition,
    check_budget,
    epochs_of,
    pooled_inputs,
    repetition,
)
from mixopt.scaling.rolling_origin import Judged, inputs, judge
from mixopt.scaling.stored import FORMAT, KIND, StoredScale, restored
from mixopt.search.certificate import certify
from mixopt.search.optimize import Found, objective_of, search
from mixopt.search.simplex import Feasible, distance_to_hull, searched, total_variation
from mixopt.serialization import digest, nan_to_null
from mixopt.study.progress import Progress
from mixopt.version import versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.runs.table import RunTable
    from regressors.estimators.joint import AtScale, JointRegressor

    Floats = NDArray[np.float64]

TRIALS = 1000  # mixtures that each search tries
FAR = 10.0  # times beyond the largest trained scale: further than any table we know could check
SAME_SCALE = 1.3  # a factor; nearer ones are one size
INSIDE = 1e-3  # a share of tokens: the rounding of printed weights is not outside the trained mixtures
STRAYED = 1.5  # times the published exponent, or a fraction of it: published runs' exponents lie within
UNSURE = 0.9  # of an exponent's width before the runs: one that is no narrower after them comes from the prior


def fit_scale(
    table: RunTable,
    target: Mapping[str, float],
    laws: Sequence[str] | None = None,
    *,
    at_params: float | None = None,
    at_tokens: float | None = None,
    pools: Mapping[str, float] | None = None,
    compute: float | None = None,
    seed: int = 0,
    source: Mapping[str, Any] | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> StoredScale:
    """The joint law that predicts held-out scales best, fitted to all rows, and the best mixture at a scale.

    table: rows with params and tokens, of which one varies at least. target: weight by text. laws: names in
    `regressors.JOINT_LAWS` to judge; None: all. at_params, at_tokens: the scale to predict at; None: the largest
    trained. pools: unique tokens of the larger run by domain, which decide how often text is repeated; domains without
    one have no limit. compute: FLOPs of training, 6 N D; with at_params or at_tokens it settles the other, with
    neither the size is found that makes the best of them.
    source: the files that the table was read from and how; command: what was typed; both are only recorded.
    Raises MixoptError for a law that isn't there, and for scales that aren't above 0.
    """
    from regressors.estimators.joint import JOINT_LAWS, JointRegressor

    progress = progress or Progress()
    names = list(laws or JOINT_LAWS)
    if unknown := [name for name in names if name not in JOINT_LAWS]:
        raise MixoptError(f"no joint law is called {unknown[0]!r}: choose from {', '.join(JOINT_LAWS)}")
    table = narrowed(table, list(target))
    aim = target_of(target, table)
    trained = Scale(float(table.numbers("params").max()), float(table.numbers("tokens").max()))
    budget = Budget(dict(pools or {}), compute)
    check_budget(budget, table)
    scale = _given_scale(at_params, at_tokens, compute, trained)
    judged = judge(table, aim, names, progress=progress)
    progress.stage("fit")
    joint = JointRegressor(judged.chosen, pools=budget.limited).fit(pooled_inputs(table, budget), table.losses)
    progress.finish(judged.chosen)
    progress.stage("search")
    sized = None
    if scale is None:
        scale, sized = best_size(joint, aim, searched(table), _mixtures(table), table, budget)
    best = recommended(joint, table, aim, scale, trained, judged, budget, seed=seed)
    progress.finish(f"{TRIALS} mixtures tried at each scale")
    known = repetition(joint, table, aim, budget)
    epochs = epochs_of(best["mixtures"]["best"]["weights"], scale.tokens, budget.pools)
    evidence = {
        "judged": judged.told(),
        "exponents": exponents(joint),
        "priors": priors(joint),
        "best": best | {"epochs": epochs},
        "size": sized,
        "repetition": known,
        "warnings": cautions(table, joint, judged, best, scale, trained) + cautions_of_repetition(epochs, known),
    }
    made = {**(source or {}), "command": command, "laws": names, "seed": seed, **_hashes(table)}
    about = {"at": vars(scale), "trained": vars(trained), "pools": budget.pools, "made": made, "evidence": evidence}
    return restored(record_of(table, joint, aim, judged.chosen, budget, about))


def _given_scale(params: float | None, tokens: float | None, compute: float | None, trained: Scale) -> Scale | None:
    """The scale to predict at, None where it is to be found."""
    if compute is None:
        return Scale(_above_0(params, trained.params), _above_0(tokens, trained.tokens))
    if params is None and tokens is None:
        return None
    if params is None or tokens is None:
        one = _above_0(tokens if params is None else params, 1.0)
        other = compute / (TRAINING * one)
        return Scale(other, one) if params is None else Scale(one, other)
    raise MixoptError("--compute, --at-params and --at-tokens: two of them settle the third, leave one out")


def record_of(
    table: RunTable, joint: JointRegressor, aim: Target, law: str, budget: Budget, about: Mapping[str, Any]
) -> dict[str, Any]:
    """What the file holds but for its checksum. about: scales, how it was made, and the evidence."""
    X = pooled_inputs(table, budget)
    probes = X[np.unique(np.linspace(0, len(X) - 1, PROBES).astype(int))]
    return {
        "kind": KIND,
        "format": FORMAT,
        "law": law,
        "target": {"weights": aim.weights, "unit": "nats/token"},
        "domains": list(table.domains),
        "texts": list(table.targets),
        **about,
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


def _hashes(table: RunTable) -> dict[str, Any]:
    scales = [table.numbers(name).tolist() for name in ("params", "tokens")]
    return {"table_sha256": digest([table_digest(table), *scales]), "versions": versions()}


def _above_0(count: float | None, default: float) -> float:
    if count is not None and not (np.isfinite(count) and count > 0):
        raise MixoptError(f"{count:g} parameters or tokens: give a number above 0")
    return default if count is None else float(count)


# What the fit says


def exponents(joint: JointRegressor) -> list[dict[str, Any]]:
    """The exponents with their standard errors, and whether the runs say anything of them."""
    told = []
    for one in joint.exponents_:
        value, sd = float(np.mean(one.value)), float(np.mean(one.sd))
        prior = one.prior_sd if np.isfinite(one.prior_sd) else None
        told.append(
            {
                "name": one.name,
                "value": value,
                "standard_error": value * sd,  # sd is of the logarithm
                "prior": one.prior if prior else None,
                "prior_standard_error": one.prior * prior if prior else None,
                "narrowed_to": sd / prior if prior else None,  # 1: the runs say nothing
                "from": "the runs alone" if not prior else "the prior" if sd > UNSURE * prior else "runs and prior",
            }
        )
    return told


def priors(joint: JointRegressor) -> list[dict[str, Any]]:
    """How strong the priors are, by kind of origin, and the held-out errors, shares of the loss, that decided it."""
    return [
        {
            "kind": kind,
            "strength": strength,
            "tried": {
                f"{one.strength:g}": one.error if np.isfinite(one.error) else None
                for one in joint.trials_
                if one.kind == kind
            },
        }
        for kind, strength in joint.strength_.items()
    ]


# The best mixture


def recommended(
    joint: JointRegressor,
    table: RunTable,
    aim: Target,
    scale: Scale,
    trained: Scale,
    judged: Judged,
    budget: Budget,
    *,
    seed: int,
) -> dict[str, Any]:
    """The mixtures predicted to be best at `scale` and at the largest trained one, beside the best measured there."""
    shares, space, mixtures = inputs(table)[:, :-2], searched(table), _mixtures(table)
    predictor = at(joint, scale, table.domains, budget.pools)
    first = best_at(predictor, aim, space, mixtures, seed=seed)
    found = {"best": first}
    if scale != trained:
        there = at(joint, trained, table.domains, budget.pools)
        found["best_at_trained"] = best_at(there, aim, space, mixtures, seed=seed)
    weights = {name: one.weights for name, one in found.items()}
    if (row := best_measured(table, aim)) is not None:
        weights["best_measured"] = shares[row]
    weights["uniform"] = space.project(np.full(len(table.domains), 1 / len(table.domains)))
    losses = aim.of(predictor.predict(np.array(list(weights.values()))))
    spread = judged.spread
    told = {
        name: {
            "weights": dict(zip(table.domains, w.tolist(), strict=True)),
            "loss": float(loss),
            "low": None if spread is None else float(loss * (1 - spread)),
            "high": None if spread is None else float(loss * (1 + spread)),
            "outside": distance_to_hull(w, mixtures),
        }
        for (name, w), loss in zip(weights.items(), losses, strict=True)
    }
    best = weights["best"]
    return {
        "mixtures": told,
        "best_measured_run": None
        if row is None
        else {"run_id": table.run_ids[row], "loss": float(aim.of(table.losses)[row])},
        "differs": {name: float(total_variation(best, w)) for name, w in weights.items() if name != "best"},
        "beyond": {"params": scale.params / trained.params, "tokens": scale.tokens / trained.tokens},
        "search": {
            "trials": TRIALS,
            "agreeing_starts": first.agreeing_starts,
            "starts": first.starts,
            "certificate": asdict(certify(predictor, aim, space, first.weights)),
        },
    }


def _mixtures(table: RunTable) -> Floats:
    """Every trained mixture once, (n_mixtures, n_domains)."""
    return inputs(table)[np.unique(table.groups, return_index=True)[1], :-2]


def best_at(predictor: AtScale, aim: Target, space: Feasible, mixtures: Floats, *, seed: int) -> Found:
    return search(
        *objective_of(predictor, aim),
        space,
        trials=TRIALS,
        seeds=list(mixtures),
        seed=seed,
    )


def best_measured(table: RunTable, aim: Target) -> int | None:
    """The row of the lowest target loss among those of the largest size near its most tokens; None: none has all."""
    params, tokens, losses = table.numbers("params"), table.numbers("tokens"), aim.of(table.losses)
    there = np.isfinite(losses) & (params * SAME_SCALE >= params.max())
    there &= tokens * SAME_SCALE >= tokens[there].max(initial=0)
    return int(np.where(there, losses, np.inf).argmin()) if there.any() else None


# What to be careful about


def cautions(
    table: RunTable, joint: JointRegressor, judged: Judged, best: Mapping[str, Any], scale: Scale, trained: Scale
) -> list[str]:
    """In sentences, what limits the prediction."""
    found = []
    checked = {"params": judged.beyond("size"), "tokens": judged.beyond("tokens")}
    for name, what in (("params", "parameters"), ("tokens", "tokens")):
        beyond, known = best["beyond"][name], checked[name]
        if len(np.unique(table.numbers(name))) == 1 and max(beyond, 1 / beyond) > SAME_SCALE:
            found.append(
                f"All rows have as many {what}: what {beyond:.2g} times as many change is the priors' word alone, and "
                "the range says nothing of it."
            )
        elif beyond > FAR:
            found.append(
                f"{beyond:.2g} times the {what} of the largest trained run: beyond {FAR:g} times, take the loss as a "
                "guess; train a size between to check it."
            )
        elif beyond > SAME_SCALE * max(known, 1.0):
            tested = f"held-out runs lay at most {known:.2g} times beyond" if known else "no run that far was held out"
            found.append(
                f"{beyond:.2g} times the {what} of the largest trained run; {tested}, so the range says too little."
            )
    outside = best["mixtures"]["best"]["outside"]
    if outside > INSIDE:
        found.append(
            f"{outside:.1%} of the best mixture's tokens lie outside what any blend of trained mixtures has: train a "
            "mixture there before relying on it."
        )
    unsure = [one["name"] for one in exponents(joint) if one["from"] == "the prior"]
    moved = {"alpha": best["beyond"]["params"], "beta": best["beyond"]["tokens"]}
    if telling := [name for name in unsure if not 1 / SAME_SCALE <= moved[name] <= SAME_SCALE]:
        found.append(
            f"The runs don't identify {' and '.join(telling)}: how far loss falls beyond them is the prior's word."
        )
    found += strayed(joint)
    if judged.persistence_wins:
        found.append(
            "No law predicts held-out scales better than the losses of the same mixtures at the scale below: "
            "don't rely on predicted losses."
        )
    if not np.all(joint.converged_):
        found.append("The fit did not converge for every loss.")
    _, checkpoints = np.unique(inputs(table)[:, :-1].round(6), axis=0, return_counts=True)
    if checkpoints.max() > 1 and scale.tokens > SAME_SCALE * trained.tokens:
        found.append(
            "Checkpoints count as runs of so many tokens: where the learning rate falls within a run, they say little "
            "of longer runs, and the range says too little."
        )
    return found


def strayed(joint: JointRegressor) -> list[str]:
    """Of exponents far from those of published runs, whether or not the fit had priors on them."""
    told = []
    for one in joint.exponents_:
        value = float(np.mean(one.value))
        if one.prior and not 1 / STRAYED <= value / one.prior <= STRAYED:
            told.append(
                f"{one.name} = {value:.2f} is far from the {one.prior:.2f} that published runs have shown: young "
                "checkpoints may decide it; try without them, by --where."
            )
    return told
