"""Pools and compute budgets of the larger run: epochs over each domain, and the compute-optimal size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
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
from mixopt.search.simplex import Feasible, Floats, searched

if TYPE_CHECKING:
    from mixopt.runs.table import RunTable
    from regressors.estimators.joint import AtScale, JointRegressor

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


@dataclass(frozen=True, eq=False)
class Problem:
    """Runs, the loss to minimise, and what the larger run has."""

    table: RunTable
    objective: Target
    budget: Budget

    @cached_property
    def trained(self) -> Scale:
        """The largest trained scale."""
        return Scale(*(float(self.table.numbers(name).max()) for name in ("params", "tokens")))

    @cached_property
    def space(self) -> Feasible:
        return searched(self.table)

    @cached_property
    def mixtures(self) -> Floats:
        """Every trained mixture once, (n_mixtures, n_domains)."""
        return inputs(self.table)[np.unique(self.table.groups, return_index=True)[1], :-2]

    def inputs(self) -> Floats:
        """What the joint law is fitted to: with pools, every domain's unique tokens over the row's tokens after the
        shares.

        Runs without pools repeated nothing.
        """
        X = inputs(self.table)
        if not self.budget.pools:
            return X
        from regressors.laws.effective_tokens import UNLIMITED

        pools = pool_shares(self.table)
        unique = np.full(self.table.weights.shape, np.inf) if pools is None else pools
        return np.hstack([X[:, :-2], np.minimum(unique, UNLIMITED), X[:, -2:]])

    def at(self, joint: JointRegressor, scale: Scale) -> AtScale:
        """A predictor of shares at a scale, with the budget's pools if the joint law sees any."""
        unique = full_unique(self.table.domains, self.budget.pools, scale.tokens) if joint.pools else None
        return joint.at(scale.params, scale.tokens, unique)


def check_budget(budget: Budget, table: RunTable) -> None:
    """Raises MixoptError for pools of domains that the runs don't have, and for a compute that no run has."""
    for name, pool in budget.pools.items():
        if name not in table.domains:
            raise MixoptError(f"--pool {name}: the runs have no such domain; they mix {', '.join(table.domains)}")
        if not (np.isfinite(pool) and pool > 0):
            raise MixoptError(f"--pool {name}: {pool:g} unique tokens: give a number above 0")
    if (compute := budget.compute) is not None:
        if not np.isfinite(compute) or compute > MAX_COMPUTE:
            raise MixoptError(f"--compute {compute:.3g}: more FLOPs than there are: give at most {MAX_COMPUTE:.0e}")
        low, high = _sizes(compute, table)
        if low >= high:
            least = TRAINING * table.numbers("params").min() * table.numbers("tokens").min() / MAX_SHRINKAGE**2
            problem = f"--compute {compute:.3g}: so few FLOPs train nothing near what was trained"
            raise MixoptError(f"{problem}: give more than {least:.2g}")


def _sizes(compute: float, table: RunTable) -> tuple[float, float]:
    """The smallest and the largest size that are tried."""
    low = table.numbers("params").min() / MAX_SHRINKAGE
    return float(low), float(compute / (TRAINING * table.numbers("tokens").min() / MAX_SHRINKAGE))


def best_size(joint: JointRegressor, problem: Problem) -> tuple[Scale, SizeChoice]:
    """The size that the budget's compute is best spent on, with its best mixture; and how much the size matters.

    The mixture is polished at every size tried, from the best one at the size before, first on a grid and then around
    its lowest loss (Brent's method).
    """
    from scipy.optimize import minimize_scalar

    objective, space, compute = problem.objective, problem.space, problem.budget.compute
    assert compute is not None
    low, high = np.log(_sizes(compute, problem.table))

    def scale_of(log_size: float) -> Scale:
        params = float(np.exp(log_size))
        return Scale(params, compute / (TRAINING * params))

    def loss(log_size: float) -> float:
        nonlocal start
        predictor = problem.at(joint, scale_of(log_size))
        found = polish(
            lambda w: objective.of(predictor.predict(w)),
            lambda w: np.einsum("ntd,t->nd", predictor.gradient(w), objective.by_target),
            space,
            start=start,
        )
        start = found.weights
        return found.loss

    grid = np.linspace(low, high, N_SIZES)
    first = objective.of(problem.at(joint, scale_of(grid[0])).predict(problem.mixtures))
    start = space.project(problem.mixtures[int(first.argmin())])
    losses = np.array([loss(size) for size in grid])
    best = int(losses.argmin())
    edges = grid[max(best - 1, 0)], grid[min(best + 1, N_SIZES - 1)]
    found: Any = minimize_scalar(loss, bounds=edges, method="bounded", options={"xatol": 1e-3})
    log_size, lowest = (found.x, found.fun) if found.fun < losses[best] else (grid[best], losses[best])
    as_good = _as_good(grid, losses, float(log_size), float(lowest))
    return scale_of(float(log_size)), SizeChoice(compute, best in (0, N_SIZES - 1), LEVEL, as_good)


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
        end, beyond = sizes[place], place + way
        if 0 <= beyond < len(sizes):
            end += values[place] / (values[place] - values[beyond]) * (sizes[beyond] - end)
        ends.append(float(np.exp(end)))
    return ends


def epochs_of(weights: Mapping[str, float], tokens: float, pools: Mapping[str, float]) -> dict[str, float | None]:
    """Passes over each domain's text; None where it has no limit."""
    return {name: share * tokens / pools[name] if name in pools else None for name, share in weights.items()}


def repetition(joint: JointRegressor, problem: Problem) -> KnownRepetition | None:
    """What is known of R*, by validation set of the objective; None without pools."""
    if not problem.budget.pools:
        return None
    table, used = problem.table, problem.objective.by_target > 0
    pools = pool_shares(table)
    most = None
    if pools is not None:
        shares = table.weights / table.weights.sum(axis=1, keepdims=True)
        most = {name: float(row.max()) for name, row in zip(table.domains, (shares / pools).T, strict=True)}
    shown = most is not None and max(most.values()) > 1
    r_star = {name: float(joint.values_["R"][t]) for t, name in enumerate(table.targets) if used[t]}
    return KnownRepetition(r_star, "runs" if shown else "published", most if shown else None)


def repetition_warnings(best: Mapping[str, float | None], known: KnownRepetition | None) -> list[Warning]:
    """What limits what is known of repetition. best: epochs by domain of the best mixture."""
    repeated = {name: epochs for name, epochs in best.items() if epochs is not None and epochs > MAX_SEEN}
    if known is None or not repeated:
        return []
    reads = "It reads " + ", ".join(f"{name} {two_digits(epochs)} times" for name, epochs in repeated.items())
    if known.from_ == "published":
        costs = f"what repetition costs is the published R* = {next(iter(known.r_star.values())):.3g} alone"
        text = f"{reads}, and no run repeated anything: {costs}, which the runs behind it barely identify."
        return [Warning("published-r-star", text)]
    most = known.most or {}
    beyond = [name for name, epochs in repeated.items() if epochs > MAX_SEEN * max(most.get(name, 0), 1)]
    if not beyond:
        return []
    text = f"no run read {' or '.join(beyond)} as often, so what that costs is extrapolated."
    return [Warning("extrapolated-epochs", f"{reads}; {text}")]
