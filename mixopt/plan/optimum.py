"""Compute-optimal runs on a loss surface: one optimizer for every form, to the precision of the numbers."""

from collections.abc import Callable
from typing import Any

import numpy as np

from mixopt.plan.surface import BIGGER, INFERENCE, LONGER, TRAINING, Array, Run, Surface, losses, run_at, slope

BIGGER_FOR_SHORTER = (1.0, -1.0, 0.0)  # a slope at equal compute
MIN_COUNT = 100.0  # parameters, and tokens: below them no optimum is looked for
MAX_TOKENS, MAX_PARAMS, MAX_COMPUTE = 1e22, 1e16, 1e36  # tokens, parameters, FLOPs
FALSE_POSITIONS, ROOT_TOLERANCE = 60, 1e-11  # rounds, and in ln FLOPs
MIN_COMPUTE = 1e6
START, STRIDE = 1e20, np.log(10.0)  # FLOPs from which the budget for a loss is looked for, in such steps of ln
STEP = 0.5  # in ln N and ln D: half a step of the grid over runs that leave compute unspent
IDLE = 1e-7  # nats/token, for e times the parameters or tokens
SLACK = 1e-12  # nats/token: rounding
GRID = 0.05  # step in ln N at which optima are looked for before they are refined
COARSE = 0.15  # the same where tokens have to be found for every N
PARTS, ROUNDS = np.arange(1, 17) / 16, 12  # a bracket is parted so often: a step of a grid becomes less than rounding
MAX_SHRINKAGE = 1e3  # times, at most, that use makes a model
VALLEYS = 3  # that are followed: forms with a penalty have one before repetition begins and one after
ZOOMS, POINTS = 7, 17  # rounds of laying so many points over the bracket of a cost that is flat at its optimum


def begins(holds: Callable[[Any], Any], low: Any, high: Any) -> Any:
    """Where a condition that fails at low and holds at high begins to, point by point; it holds there.

    low, high: numbers or arrays of one shape. holds: takes that shape with a last axis more, of points to be tried.
    """
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    for _ in range(ROUNDS):
        points = low[..., None] + (high - low)[..., None] * PARTS
        there = np.asarray(holds(points))
        there[..., -1] = True
        first = np.argmax(there, axis=-1)[..., None]
        high = np.take_along_axis(points, first, axis=-1)[..., 0]
        before = np.take_along_axis(points, np.maximum(first - 1, 0), axis=-1)[..., 0]
        low = np.where(first[..., 0] > 0, before, low)
    return high


def best_split(surface: Surface, compute: float, unique: float, *, inference: float = 0.0) -> Run:
    """The run with the least loss for so many FLOPs of training, and of inference on so many tokens."""

    def tokens(log_params: Any) -> Any:
        return np.maximum((compute / np.exp(log_params) - INFERENCE * inference) / TRAINING, 1.0)

    def rises(log_params: Any) -> Any:
        seen = tokens(log_params)
        shorter = -(1 + INFERENCE * inference / (TRAINING * seen))  # d ln tokens / d ln params
        return slope(surface, np.exp(log_params), seen, unique, (1.0, shorter, 0.0)) > 0

    low, high = np.log(MIN_COUNT), np.log(compute / (TRAINING * MIN_COUNT + INFERENCE * inference))
    grid = np.linspace(low, high, int(np.ceil((high - low) / GRID)) + 2)
    found = losses(surface, np.exp(grid), tokens(grid), unique)
    best = int(np.argmin(found))
    if not 0 < best < len(grid) - 1:
        return run_at(surface, float(np.exp(grid[best])), float(tokens(grid[best])), unique, inside=False)
    near = valleys(found)
    once = np.log(compute / (TRAINING * unique + INFERENCE * inference))  # forms may bend where repetition begins
    places = np.array([*begins(rises, grid[near - 1], grid[near + 1]), grid[best], np.clip(once, low, high)])
    at = places[np.argmin(losses(surface, np.exp(places), tokens(places), unique))]
    return run_at(surface, float(np.exp(at)), float(tokens(at)), unique)


def valleys(values: Array) -> Array:
    """Where inner values are no higher than their neighbours: at most VALLEYS of them, the lowest first."""
    inner = np.flatnonzero((values[1:-1] <= values[:-2]) & (values[1:-1] <= values[2:])) + 1
    return inner[np.argsort(values[inner], kind="stable")][:VALLEYS]


def balanced(surface: Surface, unique: float, *, params: float | None = None, tokens: float | None = None) -> Run:
    """The run of so many parameters, or of so many tokens, whose compute can't be split better.

    There one percent more compute lowers the loss as much through a bigger model as through more tokens: a model of
    given size is trained until then, given tokens are spent on a model so large. inside is False where a form has no
    such point; the run is then at the end of what was searched.
    """
    given = params if params is not None else tokens
    assert given is not None
    low, high = max(np.log(MIN_COUNT), np.log(given) - np.log(1e9)), min(np.log(given * 1e9), np.log(MAX_TOKENS))
    grid = np.arange(low, high, GRID)

    def counts(log: Any) -> Any:
        return (params, np.exp(log)) if params is not None else (np.exp(log), tokens)

    def enough(log: Any) -> Any:
        size, seen = counts(log)
        tilt = slope(surface, size, seen, unique, BIGGER_FOR_SHORTER)
        return tilt < 0 if params is not None else tilt > 0

    there = enough(grid)
    turns = np.flatnonzero(there[:-1] != there[1:])  # the best split of a budget may be a turn of either direction
    if not len(turns):
        size, seen = counts(grid[0] if there[0] else grid[-1])
        return run_at(surface, float(size), float(seen), unique, inside=False)
    ends = [
        counts(begins(lambda x, first=there[turn]: enough(x) != first, grid[turn], grid[turn + 1])) for turn in turns
    ]
    runs = [run_at(surface, float(size), float(seen), unique) for size, seen in ends]
    # several where a form bends more than once: the one nearest to the best split of its own compute
    return min(runs, key=lambda run: run.loss - best_split(surface, run.compute, unique).loss)


def tokens_for(surface: Surface, loss: float, params: Array, unique: float) -> Array:
    """The fewest tokens at which models of so many parameters (n,) reach a loss; inf for those that never do."""
    logs = np.arange(np.log(MIN_COUNT), np.log(MAX_TOKENS), COARSE)
    if unique < MAX_TOKENS:
        logs = np.sort(np.append(logs, np.log(unique)))  # forms may bend where repetition begins
    reached = losses(surface, params[:, None], np.exp(logs)[None, :], unique) <= loss
    first = np.maximum(np.argmax(reached, axis=1), 1)
    sizes = params[:, None]
    found = begins(lambda x: losses(surface, sizes, np.exp(x), unique) <= loss, logs[first - 1], logs[first])
    return np.where(reached.any(axis=1), np.exp(found), np.inf)


def best_run(surface: Surface, compute: float, unique: float, *, inference: float = 0.0) -> Run:
    """The run with the least loss for at most so many FLOPs.

    Some are left unspent where more of them would gain nothing, or harm, as forms with a penalty say.
    """
    run = best_split(surface, compute, unique, inference=inference)
    while idle(surface, run) and compute > MIN_COMPUTE:
        less = best_split(surface, compute / 10, unique, inference=inference)
        if less.loss > run.loss + IDLE:
            break
        run, compute = less, compute / 10
    if not may_harm(surface, compute, unique):
        return run
    other = best_below(surface, compute, unique, inference)
    return other if other.loss < run.loss - SLACK else run


def idle(surface: Surface, run: Run) -> bool:
    """Whether neither a larger model nor more of the same text changes the loss by anything that could be measured."""
    slopes = [abs(slope(surface, run.params, run.tokens, run.unique, along)) for along in (BIGGER, LONGER)]
    return bool(max(slopes) < IDLE)


def may_harm(surface: Surface, compute: float, unique: float) -> bool:
    """Whether, within the compute, there are runs that more tokens of the same text make worse."""
    epochs = np.geomspace(1.5, max(compute / TRAINING / MIN_COUNT / unique, 1.5), 12)[:, None]
    params = np.geomspace(MIN_COUNT, max(compute / TRAINING / unique, MIN_COUNT), 12)[None, :]
    return bool(np.any(slope(surface, params, epochs * unique, unique, LONGER) > SLACK))


def best_below(surface: Surface, compute: float, unique: float, inference: float) -> Run:
    """The run with the least loss among those of less compute, on a grid that is drawn together around it."""
    most = np.log(compute)
    sizes = np.arange(np.log(MIN_COUNT), most - np.log(TRAINING * MIN_COUNT), 2 * STEP)
    seen = sizes
    width = 2 * STEP
    for _ in range(ZOOMS):
        params, tokens = np.exp(sizes)[:, None], np.exp(seen)[None, :]
        spent = params * (TRAINING * tokens + INFERENCE * inference)
        found = np.where(spent <= compute, losses(surface, params, tokens, unique), np.inf)
        at = np.unravel_index(int(np.argmin(found)), found.shape)
        centres = sizes[at[0]], seen[at[1]]
        sizes, seen = (centre + width * np.linspace(-1, 1, POINTS) for centre in centres)
        width *= 4 / POINTS
    return run_at(surface, float(np.exp(centres[0])), float(np.exp(centres[1])), unique)


def least_compute(surface: Surface, loss: float, unique: float) -> Run | None:
    """The run that reaches a loss for the least training compute; None where no run does."""

    def at(log: float) -> Run:
        return best_run(surface, float(np.exp(log)), unique)

    high = np.log(START)
    while at(high).loss <= loss and high > np.log(MIN_COMPUTE):
        high -= STRIDE
    while at(high).loss > loss:
        high += STRIDE
        if high > np.log(MAX_COMPUTE):
            return None
    return at(root(lambda x: at(x).loss - loss, high - STRIDE, high))


def root(gap: Callable[[float], float], low: float, high: float) -> float:
    """Where a function that falls from above 0 to 0 or less goes through it, by false position (Illinois)."""
    ends, values, last = [low, high], [gap(low), gap(high)], -1
    if values[0] <= 0:
        return low
    new = high
    for _ in range(FALSE_POSITIONS):
        before, new = new, (ends[0] * values[1] - ends[1] * values[0]) / (values[1] - values[0])
        value = gap(new)
        if value == 0 or abs(new - before) < ROOT_TOLERANCE:
            break
        side = int(value < 0)
        if side == last:
            values[1 - side] /= 2
        ends[side], values[side], last = new, value, side
    return new


def cheapest_to_use(surface: Surface, plain: Run, inference: float) -> Run:
    """The run as good as the one that is cheapest to train with the fewest FLOPs of training, 6 N D, and of inference
    on so many tokens, 2 N each.

    Source: Sardana et al. 2024, Beyond Chinchilla-Optimal, arXiv:2401.00448.
    """
    loss, unique = plain.loss, plain.unique

    def cost(logs: Array) -> Array:
        params = np.exp(logs)
        return np.log(params) + np.log(TRAINING * tokens_for(surface, loss, params, unique) + INFERENCE * inference)

    least = max(MIN_COUNT, plain.params / MAX_SHRINKAGE)
    grid = np.arange(np.log(least), np.log(plain.params) + COARSE, COARSE)  # use makes models smaller
    found = cost(grid)
    near = [at for at in valleys(found) if found[at] < found.min() + COARSE]
    places = [zoomed(cost, float(grid[at - 1]), float(grid[at + 1])) for at in near]
    once = seen_once(surface, loss, unique)
    params = np.exp(np.array(places + ([] if once is None else [once])))
    tokens = tokens_for(surface, loss, params, unique)
    runs = [run_at(surface, float(n), float(d), unique) for n, d in zip(params, tokens, strict=True) if d < np.inf]
    return min([plain, *runs], key=lambda run: run.compute + INFERENCE * run.params * inference)


def zoomed(cost: Callable[[Array], Array], low: float, high: float) -> float:
    """Where a cost between low and high is least, to half of the digits: it is flat there."""
    best = (low + high) / 2
    for _ in range(ZOOMS):
        logs = np.linspace(low, high, POINTS)
        place = int(np.argmin(cost(logs)))
        best, low, high = logs[place], logs[max(place - 1, 0)], logs[min(place + 1, POINTS - 1)]
    return float(best)


def seen_once(surface: Surface, loss: float, unique: float) -> float | None:
    """The ln parameters of a model that reaches a loss when it has seen every token once; None: none does.

    Forms may bend there, and a narrow optimum lie in the bend.
    """
    ends = np.log(MIN_COUNT), np.log(MAX_PARAMS)
    there = losses(surface, np.exp(np.array(ends)), unique, unique) <= loss
    if unique >= MAX_TOKENS or there[0] or not there[1]:
        return None
    # a hair more, so that rounding leaves the loss reached
    return float(begins(lambda log: losses(surface, np.exp(log), unique, unique) <= loss, *ends)) + 1e-13
