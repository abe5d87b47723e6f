"""Global search for the mixture of lowest predicted loss: an Optuna study, then a local search from its best trials.

Optuna's coordinates are the weights themselves: a proposal is moved to the nearest feasible mixture before it is
judged. So every proposal counts, a feasible mixture stands for itself, and mixtures with zeros are easily reached.
With a budget of tokens and pools of unique text a weight is also a count of tokens, and of epochs of its pool: what is
searched for are all three. Caps on epochs are limits of weights; without, a predictor that sees repetition decides.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.runs.objective import Target
from mixopt.search.local import Gradient, Objective, polish
from mixopt.search.simplex import Feasible, Floats, total_variation

if TYPE_CHECKING:
    import optuna

SAMPLERS = ("cma-es", "gp", "tpe", "random")
UNUSABLE = 1e6  # nats/token; stands for a prediction that is no number, worse than any that is
N_STARTS = 8  # local searches begin at this many of the best trials ...
MIN_DISTANCE = 0.05  # ... which differ by this share of the tokens or more
MIN_WEIGHT = 1e-6  # of the tokens; no trainer could follow less
WIDE = 50  # free domains above which CMA-ES is separable and kept out of Optuna, which reads its state at every trial


@dataclass(frozen=True, eq=False)
class Found:
    """The result of a search. Losses are predicted, nats/token.

    weights: the best mixture, (n_domains,). found: the best trial's loss, polished: after the local search.
    agreeing_starts: local searches, of `starts`, that ended within MIN_DISTANCE of weights.
    """

    weights: Floats
    sampler: str
    trials: int
    seeded: int
    found: float
    polished: float
    agreeing_starts: int
    starts: int

    @property
    def polish_gain(self) -> float:
        return self.found - self.polished


def objective_of(predictor: Any, target: Target) -> tuple[Objective, Gradient | None]:
    """What is minimised, losses (n,) of mixtures (n, n_domains), and its gradient; None for a predictor without one."""
    by_target = getattr(predictor, "gradient", None)  # (n, n_targets, n_domains)

    def objective(mixtures: Floats) -> Floats:
        return target.of(predictor.predict(mixtures))

    def gradient(mixtures: Floats) -> Floats:
        return np.einsum("t,ntd->nd", target.by_target, by_target(mixtures))  # pyright: ignore[reportOptionalCall]

    return objective, None if by_target is None else gradient


def search(
    objective: Objective,
    gradient: Gradient | None,
    feasible: Feasible,
    *,
    sampler: str = "cma-es",
    trials: int = 1000,
    seeds: Sequence[Floats] = (),
    storage: Path | str | None = None,
    later: list[Callable[[], None]] | None = None,
    study_name: str = "mixopt",
    seed: int = 0,
) -> Found:
    """The feasible mixture of lowest predicted loss.

    objective: losses (n,) of mixtures (n, n_domains). gradient: their exact slopes (n, n_domains), or None for a
    predictor without, such as trees: then the local search tries moves of weight between two domains.
    sampler: one of SAMPLERS ("gp" is slow beyond some hundred trials). trials: of the study, seeds included.
    seeds: mixtures (n_domains,) that are the study's first trials, each moved to the nearest feasible one.
    storage: where to leave the study, replacing one of the same study_name: a journal file's path or a database's URL.
    later: takes what leaves it there, for the caller to do; None: it is left there at once.
    Equal seeds give equal answers.
    Raises MixoptError when no seed and no feasible mixture has a finite prediction, when sampler is unknown, and for a
    URL that can't be used.
    """
    if sampler not in SAMPLERS:
        raise MixoptError(f"search.sampler is {sampler!r}: choose from {', '.join(SAMPLERS)}")
    if storage is not None:
        from mixopt.search.storage import check_storage

        check_storage(storage)
    rng = np.random.default_rng(seed)
    starts = feasible.project([*seeds, *feasible.sample(max(4, 16 - len(seeds)), rng=rng)])
    _, distinct = np.unique(np.round(starts, 9), axis=0, return_index=True)
    starts = starts[np.sort(distinct)][:trials]
    losses = usable(objective(starts))
    if losses.min() >= UNUSABLE:
        raise MixoptError("the predictor gives no finite loss at any feasible mixture: choose another predictor")
    study, mixtures, losses = _run_study(objective, feasible, sampler, trials, starts, losses, study_name, seed)
    if storage is not None:
        from mixopt.search.storage import save_study

        save = _quiet()(partial(save_study, study, storage))
        save() if later is None else later.append(save)
    polishes = [
        polish(lambda w: usable(objective(w)), gradient, feasible, start=mixtures[i])
        for i in _distant(mixtures, losses)
    ]
    best = min(polishes, key=lambda one: one.loss)
    return Found(
        weights=_without_traces(best.weights, feasible),
        sampler=sampler,
        trials=len(losses),
        seeded=len(starts),
        found=float(losses.min()),
        polished=best.loss,
        agreeing_starts=sum(bool(total_variation(one.weights, best.weights) < MIN_DISTANCE) for one in polishes),
        starts=len(polishes),
    )


def _without_traces(w: Floats, feasible: Feasible) -> Floats:
    """w with weights that no trainer could follow set to 0, where 0 is allowed; the largest weight takes them up."""
    clean = np.where((w < MIN_WEIGHT) & (feasible.low <= 0), 0.0, w)
    clean[int(clean.argmax())] += 1.0 - clean.sum()
    return clean


def usable(losses: Floats) -> Floats:
    """Losses with UNUSABLE for what is no finite number."""
    return np.where(np.isfinite(losses), losses, UNUSABLE)


def _distant(mixtures: Floats, losses: Floats) -> list[int]:
    """Rows of the best mixtures that are MIN_DISTANCE from each other, at most N_STARTS, best first."""
    chosen: list[int] = []
    for i in np.argsort(losses, kind="stable"):
        if len(chosen) < N_STARTS and all(total_variation(mixtures[i], mixtures[j]) >= MIN_DISTANCE for j in chosen):
            chosen.append(int(i))
    return chosen


def _run_study(
    objective: Objective,
    feasible: Feasible,
    sampler: str,
    trials: int,
    starts: Floats,
    losses: Floats,
    study_name: str,
    seed: int,
) -> tuple[optuna.Study, Floats, Floats]:
    """The study, all mixtures tried, (trials, n_domains), and their losses, (trials,): starts first.

    The study runs in memory: in a file or database each trial would wait for the disk several times.
    """
    import optuna

    free = np.flatnonzero(feasible.free)
    with _quiet():
        space: dict[str, optuna.distributions.BaseDistribution] = {
            f"share of {feasible.domains[i]}": optuna.distributions.FloatDistribution(feasible.low[i], feasible.high[i])
            for i in free
        }

        def finished(w: Floats, loss: float) -> optuna.trial.FrozenTrial:
            return optuna.trial.create_trial(
                params=dict(zip(space, w[free].tolist(), strict=True)),
                distributions=space,
                value=float(loss),
                user_attrs=dict(zip(feasible.domains, w.tolist(), strict=True)),
            )

        seeded = [finished(w, loss) for w, loss in zip(starts, losses, strict=True)]
        study = optuna.create_study(study_name=study_name, sampler=_sampler(sampler, seeded, len(free), seed))
        # Added as finished trials and not enqueued: CMA-ES would take enqueued ones for its own proposals.
        study.add_trials(seeded)
        tried, reached = [starts], [losses]
        left = trials - len(starts) if len(free) > 1 else 0
        if sampler == "cma-es" and len(free) > WIDE and left > 0:
            proposals, more = _separable_cma(objective, feasible, free, starts[losses.argmin()], left, seed)
            study.add_trials([finished(w, loss) for w, loss in zip(proposals, more, strict=True)])
            return study, np.concatenate([starts, proposals]), np.concatenate([losses, more])
        while left > 0:
            proposed = [study.ask(space) for _ in range(min(left, _population(sampler, len(free))))]
            mixtures, found = _judged(objective, feasible, free, [list(trial.params.values()) for trial in proposed])
            for trial, w, loss in zip(proposed, mixtures, found, strict=True):
                for name, share in zip(feasible.domains, w, strict=True):
                    trial.set_user_attr(name, float(share))
                study.tell(trial, float(loss))
            tried.append(mixtures)
            reached.append(found)
            left -= len(proposed)
    return study, np.concatenate(tried), np.concatenate(reached)


def _separable_cma(
    objective: Objective, feasible: Feasible, free: Any, start: Floats, trials: int, seed: int
) -> tuple[Floats, Floats]:
    """Mixtures tried from `start` on, (trials, n_domains), and their losses: separable CMA-ES (Ros & Hansen 2008).

    The step size is Optuna's; the covariance is diagonal, so that a step costs as much as the mixture has domains.
    """
    from cmaes import SepCMA

    bounds = np.column_stack([feasible.low, feasible.high])[free]
    size = max(_population("cma-es", len(free)), 2)
    sigma = float(np.ptp(bounds, axis=1).min()) / 6
    cma = SepCMA(start[free], sigma, bounds=bounds, n_max_resampling=1, seed=seed, population_size=size)
    tried, reached = [], []
    for _ in range(-(-trials // size)):
        proposals = [cma.ask() for _ in range(size)]
        mixtures, losses = _judged(objective, feasible, free, proposals)
        cma.tell(list(zip(proposals, losses.tolist(), strict=True)))
        tried.append(mixtures)
        reached.append(losses)
    return np.concatenate(tried)[:trials], np.concatenate(reached)[:trials]


def _judged(objective: Objective, feasible: Feasible, free: Any, shares: Any) -> tuple[Floats, Floats]:
    """The nearest feasible mixtures to proposals of the free domains' shares (n, n_free), and their losses (n,)."""
    mixtures = np.tile(feasible.low, (len(shares), 1))
    mixtures[:, free] = shares
    mixtures = feasible.project(mixtures)
    return mixtures, usable(objective(mixtures))


def _population(sampler: str, free: int) -> int:
    """How many proposals a sampler makes before it sees their losses; judged together, they cost little more than one.
    For CMA-ES: Hansen's default, arXiv:1604.00772."""
    return {"cma-es": 4 + int(3 * np.log(free)), "random": 100}.get(sampler, 1)


def _sampler(name: str, seeded: list[optuna.trial.FrozenTrial], free: int, seed: int) -> optuna.samplers.BaseSampler:
    from optuna import samplers

    if name == "tpe":
        return samplers.TPESampler(seed=seed, multivariate=True)
    if name == "gp":
        return samplers.GPSampler(seed=seed, deterministic_objective=True)
    if name == "random" or free < 2:  # one free weight is settled by the others: there is nothing to sample
        return samplers.RandomSampler(seed=seed)
    # Warm start (Nomura et al. 2021, arXiv:2012.06932): mean and covariance from the best tenth of the seeded mixtures.
    warm = seeded if len(seeded) >= 10 else None
    population = _population("cma-es", free)
    return samplers.CmaEsSampler(seed=seed, source_trials=warm, popsize=population, warn_independent_sampling=False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log lines and its notes that a sampler's option is experimental."""
    import optuna

    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(verbosity)
