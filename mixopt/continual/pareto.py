"""The front of general against domain loss as Optuna finds it, beside the exact sweep."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.continual.grid import Budget, Swept, front, hypervolume, joined, swept
from mixopt.errors import MixoptError

if TYPE_CHECKING:
    from mixopt.continual.fit import ContinualFit

SAMPLERS = ("nsga2", "tpe")
GENERATION = 40  # trials that are asked for, and judged, together
MARGIN = 0.05  # of the front's width, by which the worst point lies beyond the front's ends


@dataclass(frozen=True, eq=False)
class Search:
    """What a multi-objective study found. ratio: of its hypervolume to the sweep's front's, 1 when they agree."""

    sampler: str
    trials: int
    ratio: float
    front: Swept


def searched(
    fit: ContinualFit, budget: Budget, exact: Swept, *, sampler: str = "nsga2", trials: int = 600, seed: int = 0
) -> Search:
    """Looks for the front by Optuna, over the share and, where several sizes are allowed, the size.

    exact: the sweep's front. Raises MixoptError for a sampler that there is none of, and for too few trials.
    """
    if sampler not in SAMPLERS:
        raise MixoptError(f"--sampler {sampler}: choose from {', '.join(SAMPLERS)}")
    if trials < GENERATION:
        raise MixoptError(f"--trials {trials}: a front takes {GENERATION} or more; 0 leaves the search out")
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=_sampler(sampler, seed))
    space = _space(budget)
    found: list[Swept] = []
    for begin in range(0, trials, GENERATION):
        asked = [study.ask(space) for _ in range(min(GENERATION, trials - begin))]
        logs = np.array([trial.params.get("log_params", np.log(budget.sizes[0])) for trial in asked])
        runs = swept(fit, budget.at(np.exp(logs), np.array([trial.params["share"] for trial in asked])))
        for trial, domain, rise in zip(asked, runs.domain, runs.rise, strict=True):
            study.tell(trial, [float(domain), float(rise)])
        found.append(runs)
    every = _together(found)
    worst = _worst(exact)
    own = front(every)
    ratio = hypervolume(own.domain, own.rise, worst) / hypervolume(exact.domain, exact.rise, worst)
    return Search(sampler, trials, ratio, own)


def _sampler(name: str, seed: int) -> Any:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        return optuna.samplers.NSGAIISampler(population_size=GENERATION, seed=seed)


def _space(budget: Budget) -> dict[str, Any]:
    from optuna.distributions import FloatDistribution

    low, high = budget.ends()
    space: dict[str, Any] = {"share": FloatDistribution(low, high)}
    if len(budget.sizes) > 1:
        space["log_params"] = FloatDistribution(float(np.log(min(budget.sizes))), float(np.log(max(budget.sizes))))
    return space


def _worst(exact: Swept) -> tuple[float, float]:
    """(domain loss, rise) a little beyond the front's ends, so that the ends count too."""
    ends = []
    for values in (exact.domain, exact.rise):
        width = float(np.ptp(values)) or abs(float(values.max())) or 1.0
        ends.append(float(values.max()) + MARGIN * width)
    return ends[0], ends[1]


def _together(parts: list[Swept]) -> Swept:
    at = joined([part.at for part in parts])
    return Swept(at, *(np.concatenate([getattr(part, key) for part in parts]) for key in ("domain", "general", "rise")))
