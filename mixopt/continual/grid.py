"""Grid search over shares and sizes: the lowest domain loss within a tolerance, and the Pareto front of both losses."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixopt.continual.fit import ContinualFit
from mixopt.errors import MixoptError
from mixopt.plan.surface import TRAINING
from mixopt.runs.continual import Floats
from regressors.laws.effective_tokens import R_STAR, effective_shares

SHARES = 401  # of a grid with one size
SIZES, SHARES_OF_SIZES = 25, 201  # sizes, and shares of each, of a grid with several
ZOOMS, ZOOM_SHARES, ZOOM_SIZES = 4, 41, 21  # rounds of finer grids between the neighbours of the best
MIN_SHARE = 1e-3  # of the domain, where a smaller share means a longer run
ROUNDING = 1e-9  # relative, of a limit
AXES = ("params", "tokens", "share")
SAMPLERS = ("nsga2", "tpe")
GENERATION = 40  # trials that are proposed, and evaluated, together
MARGIN = 0.05  # of the front's width, by which the reference point lies beyond the front's ends


@dataclass(frozen=True)
class Budget:
    """How long a run is at each size and domain share.

    sizes: the parameters that are allowed, or the lowest and highest of a range. tokens: of every run; else compute:
    6 N D FLOPs of every run; else so many epochs of the domain's tokens, tokens = epochs domain_tokens / share.
    domain_tokens: of different domain text, None: unlimited. max_tokens: of runs whose length is free. shares: the
    lowest and the highest domain share.
    """

    sizes: tuple[float, ...]
    tokens: float | None = None
    compute: float | None = None
    domain_tokens: float | None = None
    epochs: float = 1.0
    r_star: float = R_STAR
    max_tokens: float = np.inf
    shares: tuple[float, float] = (0.0, 1.0)

    @property
    def by_share(self) -> bool:
        """Whether a smaller domain share means a longer run."""
        return self.tokens is None and self.compute is None

    def share_ends(self) -> tuple[float, float]:
        """The lowest and the highest domain share that is searched; none where the first is above the second."""
        low, high = self.shares
        if self.by_share and self.domain_tokens is not None:
            low = max(low, self.epochs * self.domain_tokens / self.max_tokens, MIN_SHARE)
        return low, high

    def at(self, params: Floats, share: Floats) -> Points:
        """Runs of these sizes and domain shares, broadcast."""
        params, share = np.broadcast_arrays(np.asarray(params, dtype=float), np.asarray(share, dtype=float))
        if self.tokens is not None:
            tokens = np.full(share.shape, self.tokens)
        elif self.compute is not None:
            tokens = self.compute / (TRAINING * params)
        else:
            tokens = self.epochs * (self.domain_tokens or 0.0) / share
        return Points(params, tokens, share, self.domain_tokens, self.r_star)


@dataclass(frozen=True, eq=False)
class Points:
    """Runs, arrays of one shape; share is the domain's. unique: different domain tokens, None: unlimited."""

    params: Floats
    tokens: Floats
    share: Floats
    unique: float | None = None
    r_star: float = R_STAR

    @property
    def epochs(self) -> Floats | None:
        """Over the domain's tokens; None where they are unlimited."""
        return None if self.unique is None else self.tokens * self.share / self.unique

    def fresh_equivalent(self) -> tuple[Floats, Floats]:
        """Tokens and domain share of the run without repetition that teaches as much of the domain.

        Repeated domain text counts as fewer fresh tokens (effective tokens of the data-constrained law), general text
        as it is. For the domain loss alone: the general loss depends on the text that is really trained on.
        """
        if self.unique is None:
            return self.tokens, self.share
        seen = (self.tokens * self.share).reshape(-1, 1)
        effective = np.real(effective_shares(seen, np.array([self.unique]), self.r_star)).reshape(self.share.shape)
        tokens = effective + self.tokens * (1 - self.share)
        return tokens, effective / tokens

    def flat(self) -> Points:
        return replace(self, **{key: getattr(self, key).reshape(-1) for key in AXES})

    def take(self, which: Any) -> Points:
        """The runs at these places of the arrays."""
        return replace(self, **{key: getattr(self, key)[which] for key in AXES})


def joined(parts: list[Points]) -> Points:
    """Flat points one after another; all of one domain text."""
    return replace(parts[0], **{key: np.concatenate([getattr(p, key) for p in parts]) for key in AXES})


@dataclass(frozen=True, eq=False)
class Predicted:
    """Runs with both losses, nats/token, and the change of the general one against its start, all of one shape."""

    points: Points
    domain: Floats
    general: Floats
    rise: Floats  # of the start, a share: 0.03 is 3 % above it

    def take(self, which: Any) -> Predicted:
        """The runs at these places of the arrays; of one place, arrays without axes."""
        return Predicted(self.points.take(which), self.domain[which], self.general[which], self.rise[which])


def predict(fit: ContinualFit, points: Points) -> Predicted:
    """Both losses at the points, in their shape."""
    tokens, share = points.fresh_equivalent()
    domain = fit.loss("domain", points.params, tokens, share)
    general = fit.loss("general", points.params, points.tokens, points.share)
    return Predicted(points, domain, general, general / fit.start(points.params) - 1)


def grid(budget: Budget, *, shares: int | None = None, sizes: int = SIZES) -> Points:
    """Runs over all shares and, where there are several, sizes from the lowest to the highest: (sizes, shares)."""
    low, high = budget.share_ends()
    params = np.array(budget.sizes)
    if len(params) > 1:
        params = np.exp(np.linspace(np.log(params.min()), np.log(params.max()), sizes))
    count = shares or (SHARES if len(params) == 1 else SHARES_OF_SIZES)
    return budget.at(params[:, None], np.linspace(low, high, count)[None, :])


def minimise(
    fit: ContinualFit,
    budget: Budget,
    objective: Callable[[Predicted], Floats] = attrgetter("domain"),
    *,
    tolerance: float = np.inf,
) -> Predicted | None:
    """The run with the lowest objective among those whose general loss rises by no more than `tolerance`.

    The best of the whole grid, then of finer ones between its neighbours; None where no run of the grid is allowed.
    """
    points = grid(budget)
    best: Predicted | None = None
    for _ in range(ZOOMS):
        runs = predict(fit, points)
        values = np.where(within(runs.rise, tolerance), objective(runs), np.inf)
        row, column = np.unravel_index(int(np.argmin(values)), values.shape)
        if not np.isfinite(values[row, column]):
            return best
        found = runs.take((row, column))
        if best is None or objective(found) <= objective(best):
            best = found
        points = _around(budget, points, int(row), int(column))
    return best


def within(rise: Floats, tolerance: float) -> NDArray[np.bool_]:
    return rise <= tolerance + ROUNDING * max(1.0, abs(tolerance))


def _around(budget: Budget, points: Points, row: int, column: int) -> Points:
    """A finer grid between the neighbours of one run of a grid."""
    share, logs = points.share[0], np.log(points.params[:, 0])
    shares = np.linspace(share[max(column - 1, 0)], share[min(column + 1, len(share) - 1)], ZOOM_SHARES)
    rows = max(row - 1, 0), min(row + 1, len(logs) - 1)
    params = np.exp(np.linspace(logs[rows[0]], logs[rows[1]], ZOOM_SIZES)) if len(logs) > 1 else points.params[:, 0]
    return budget.at(params[:, None], shares[None, :])


def non_dominated(domain: Floats, general: Floats) -> NDArray[np.int64]:
    """Places of the runs than which none is better in one loss and no worse in the other, by rising general loss."""
    order = np.lexsort((domain, general))
    before = np.minimum.accumulate(np.append(np.inf, domain[order][:-1]))
    return order[domain[order] < before]


def hypervolume(domain: Floats, general: Floats, reference: tuple[float, float]) -> float:
    """The area that the runs dominate below the reference (domain, general) losses; the larger, the better."""
    inside = (domain < reference[0]) & (general < reference[1])
    domain, general = domain[inside], general[inside]
    front = non_dominated(domain, general)
    floor = np.append(reference[0], domain[front][:-1])
    return float(((reference[1] - general[front]) * (floor - domain[front])).sum())


def pareto_front(runs: Predicted) -> Predicted:
    """The non-dominated runs in domain loss and rise, flat, by rising general loss."""
    flat = Predicted(runs.points.flat(), *(x.reshape(-1) for x in (runs.domain, runs.general, runs.rise)))
    return flat.take(non_dominated(flat.domain, flat.rise))


@dataclass(frozen=True, eq=False)
class ParetoSearch:
    """What a multi-objective Optuna study found. ratio: of its hypervolume to the exact front's, 1 when they agree."""

    ratio: float
    front: Predicted


def check_search(sampler: str, trials: int) -> None:
    """Raises MixoptError for a sampler that there is none of, and for too few trials."""
    if sampler not in SAMPLERS:
        raise MixoptError(f"--sampler {sampler}: choose from {', '.join(SAMPLERS)}")
    if 0 < trials < GENERATION:
        raise MixoptError(f"--trials {trials}: a front takes {GENERATION} or more; 0 leaves the search out")


def pareto_search(
    fit: ContinualFit, budget: Budget, exact: Predicted, *, sampler: str = "nsga2", trials: int = 600, seed: int = 0
) -> ParetoSearch:
    """Optuna's Pareto front over the share and, where several sizes are allowed, the size.

    exact: the grid's front. Raises MixoptError as `check_search` does.
    """
    check_search(sampler, trials)
    import optuna
    from optuna.distributions import BaseDistribution, FloatDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(directions=["minimize", "minimize"], sampler=_sampler(sampler, seed))
    space: dict[str, BaseDistribution] = {"share": FloatDistribution(*budget.share_ends())}
    if len(budget.sizes) > 1:
        space["log_params"] = FloatDistribution(float(np.log(min(budget.sizes))), float(np.log(max(budget.sizes))))
    found: list[Predicted] = []
    for begin in range(0, trials, GENERATION):
        batch = [study.ask(space) for _ in range(min(GENERATION, trials - begin))]
        logs = np.array([trial.params.get("log_params", np.log(min(budget.sizes))) for trial in batch])
        runs = predict(fit, budget.at(np.exp(logs), np.array([trial.params["share"] for trial in batch])))
        for trial, domain, rise in zip(batch, runs.domain, runs.rise, strict=True):
            study.tell(trial, [float(domain), float(rise)])
        found.append(runs)
    losses = (np.concatenate([getattr(runs, key) for runs in found]) for key in ("domain", "general", "rise"))
    front = pareto_front(Predicted(joined([runs.points for runs in found]), *losses))
    reference = _beyond(exact.domain), _beyond(exact.rise)
    ratio = hypervolume(front.domain, front.rise, reference) / hypervolume(exact.domain, exact.rise, reference)
    return ParetoSearch(ratio, front)


def _sampler(name: str, seed: int) -> Any:
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if name == "tpe":
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=True)
        return optuna.samplers.NSGAIISampler(population_size=GENERATION, seed=seed)


def _beyond(values: Floats) -> float:
    """A little beyond the front's end, so that the end counts too."""
    width = float(np.ptp(values)) or abs(float(values.max())) or 1.0
    return float(values.max()) + MARGIN * width
