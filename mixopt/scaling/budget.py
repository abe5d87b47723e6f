"""Pools and compute budgets of the larger run: epochs over each domain, and the compute-optimal size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import two_digits
from mixopt.report.document import Warning
from mixopt.runs.objective import Target
from mixopt.runs.pools import full_unique, pool_shares
from mixopt.scaling.results import KnownRepetition, Scale, SizeChoice
from mixopt.scaling.rolling_origin import inputs
from mixopt.search.local import polish
from mixopt.search.simplex import Feasible

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.runs.table import RunTable
    from regressors.estimators.joint import AtScale, JointRegressor

    Floats = NDArray[np.float64]

TRAINING = 6.0  # FLOPs a parameter and a token (Kaplan et al. 2020, arXiv:2001.08361)
MAX_SHRINKAGE = 10.0  # times smaller than the smallest trained model, or shorter than the shortest run
MAX_COMPUTE = 1e32  # FLOPs; more than anyone will have
N_SIZES = 25  # that are tried before the best is closed in on
LEVEL = 1e-3  # a share of the loss, within which sizes are as good as the best
MAX_SEEN = 1.05  # times the epochs that a run has shown: a rounding


@dataclass(frozen=True)
class Budget:
    """What the larger run has. pools: unique tokens by domain; a domain that isn't named has no limit. compute: FLOPs
    of training, 6 N D, where the size is to be found; None: the scale is given."""

    pools: Mapping[str, float]
    compute: float | None = None

    @property
    def limited(self) -> bool:
        return bool(self.pools)


def check_budget(budget: Budget, table: RunTable) -> None:
    """Raises MixoptError for pools of domains that the runs don't have, and for a compute that no run has."""
    for name, pool in budget.pools.items():
        if name not in table.domains:
            raise MixoptError(f"--pool {name}: the runs have no such domain; they mix {', '.join(table.domains)}")
        if not (np.isfinite(pool) and pool > 0):
            raise MixoptError(f"--pool {name}: {pool:g} unique tokens: give a number above 0")
    if budget.compute is not None:
        low, high = _sizes(budget.compute, table)
        if not np.isfinite(budget.compute) or budget.compute > MAX_COMPUTE:
            raise MixoptError(
                f"--compute {budget.compute:.3g}: more FLOPs than there are: give at most {MAX_COMPUTE:.0e}"
            )
        if low >= high:
            least = TRAINING * table.numbers("params").min() * table.numbers("tokens").min() / MAX_SHRINKAGE**2
            raise MixoptError(
                f"--compute {budget.compute:.3g}: so few FLOPs train nothing near what was trained: give more than "
                f"{least:.2g}"
            )


def _sizes(compute: float, table: RunTable) -> tuple[float, float]:
    """The smallest and the largest size that are looked at."""
    low = table.numbers("params").min() / MAX_SHRINKAGE
    return float(low), float(compute / (TRAINING * table.numbers("tokens").min() / MAX_SHRINKAGE))


def pooled_inputs(table: RunTable, budget: Budget) -> Floats:
    """What the joint law is fitted to: with pools, every domain's unique tokens over the row's tokens after the shares.

    Runs without pools repeated nothing.
    """
    X = inputs(table)
    if not budget.limited:
        return X
    from regressors.laws.effective_tokens import UNLIMITED

    pools = pool_shares(table)
    unique = np.full(table.weights.shape, np.inf) if pools is None else pools
    return np.hstack([X[:, :-2], np.minimum(unique, UNLIMITED), X[:, -2:]])


def at(joint: JointRegressor, scale: Scale, domains: Sequence[str], pools: Mapping[str, float]) -> AtScale:
    """A predictor of shares at a scale, with these pools if the joint law sees any."""
    unique = full_unique(domains, pools, scale.tokens) if joint.pools else None
    return joint.at(scale.params, scale.tokens, unique)


def best_size(
    joint: JointRegressor, objective: Target, space: Feasible, mixtures: Floats, table: RunTable, budget: Budget
) -> tuple[Scale, SizeChoice]:
    """The size that the budget's compute is best spent on, with its best mixture; and how much the size matters.

    The mixture is polished at every size tried, from the best one at the size before, first on a grid and then around
    its lowest loss (Brent's method).
    """
    from scipy.optimize import minimize_scalar

    compute = budget.compute
    assert compute is not None
    low, high = np.log(_sizes(compute, table))

    def scale_of(log_size: float) -> Scale:
        params = float(np.exp(log_size))
        return Scale(params, compute / (TRAINING * params))

    def loss(log_size: float) -> float:
        nonlocal start
        predictor = at(joint, scale_of(log_size), table.domains, budget.pools)
        found = polish(
            lambda w: objective.of(predictor.predict(w)),
            lambda w: np.einsum("ntd,t->nd", predictor.gradient(w), objective.by_target),
            space,
            start=start,
        )
        start = found.weights
        return found.loss

    grid = np.linspace(low, high, N_SIZES)
    first = at(joint, scale_of(grid[0]), table.domains, budget.pools)
    start = space.project(mixtures[int(objective.of(first.predict(mixtures)).argmin())])
    losses = np.array([loss(size) for size in grid])
    best = int(losses.argmin())
    edges = grid[max(best - 1, 0)], grid[min(best + 1, N_SIZES - 1)]
    found: Any = minimize_scalar(loss, bounds=edges, method="bounded", options={"xatol": 1e-3})
    log_size, lowest = (found.x, found.fun) if found.fun < losses[best] else (grid[best], losses[best])
    scale = scale_of(float(log_size))
    as_good = _as_good(grid, losses, float(log_size), float(lowest))
    return scale, SizeChoice(compute, at_edge=best in (0, N_SIZES - 1), level=LEVEL, as_good=as_good)


def _as_good(grid: Floats, losses: Floats, log_size: float, lowest: float) -> list[float]:
    """The smallest and the largest size whose loss lies within LEVEL of the lowest."""
    sizes, values = np.append(grid, log_size), np.append(losses, lowest)
    order = np.argsort(sizes)
    sizes, values = sizes[order], values[order] - lowest * (1 + LEVEL)
    here = int(np.flatnonzero(sizes == log_size)[0])
    ends = []
    for way in (-1, 1):
        place = here
        while 0 <= place + way < len(sizes) and values[place + way] < 0:
            place += way
        beyond = place + way
        if not 0 <= beyond < len(sizes):
            ends.append(float(np.exp(sizes[place])))
            continue
        part = values[place] / (values[place] - values[beyond])
        ends.append(float(np.exp(sizes[place] + part * (sizes[beyond] - sizes[place]))))
    return ends


def epochs_of(weights: Mapping[str, float], tokens: float, pools: Mapping[str, float]) -> dict[str, float | None]:
    """Passes over each domain's text; None where it has no limit."""
    return {name: share * tokens / pools[name] if name in pools else None for name, share in weights.items()}


def repetition(joint: JointRegressor, table: RunTable, objective: Target, budget: Budget) -> KnownRepetition | None:
    """What is known of R*, by validation set of the objective; None without pools."""
    if not budget.limited:
        return None
    pools = pool_shares(table)
    most = None
    if pools is not None:
        shares = table.weights / table.weights.sum(axis=1, keepdims=True)
        most = {name: float(row.max()) for name, row in zip(table.domains, (shares / pools).T, strict=True)}
    shown = most is not None and max(most.values()) > 1
    r_star = {name: float(joint.values_["R"][t]) for t, name in enumerate(table.targets) if objective.by_target[t] > 0}
    return KnownRepetition(r_star, "runs" if shown else "published", most if shown else None)


def repetition_warnings(best: Mapping[str, float | None], known: KnownRepetition | None) -> list[Warning]:
    """What limits what is known of repetition. best: epochs by domain of the best mixture."""
    repeated = {name: epochs for name, epochs in best.items() if epochs is not None and epochs > MAX_SEEN}
    if known is None or not repeated:
        return []
    reads = "It reads " + ", ".join(f"{name} {two_digits(epochs)} times" for name, epochs in repeated.items())
    if known.from_ == "published":
        r_star = next(iter(known.r_star.values()))
        text = (
            f"what repetition costs is the published R* = {r_star:.3g} alone, which the runs behind it barely identify."
        )
        return [Warning("published-r-star", f"{reads}, and no run repeated anything: {text}")]
    most = known.most or {}
    beyond = [name for name, epochs in repeated.items() if epochs > MAX_SEEN * max(most.get(name, 0), 1)]
    if not beyond:
        return []
    text = f"no run read {' or '.join(beyond)} as often, so what that costs is extrapolated."
    return [Warning("extrapolated-epochs", f"{reads}; {text}")]
