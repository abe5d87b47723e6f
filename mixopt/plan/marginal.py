"""Marginal value of one more epoch, turning points, and the next steps from a run."""

from typing import Any

import numpy as np

from mixopt.plan.optimum import balanced, begins, best_run, least_compute
from mixopt.plan.surface import LONGER, TRAINING, PlannedRun, Run, Surface, losses, run_at, slope
from mixopt.serialization import Record

MORE_UNIQUE = (0.0, 0.0, 1.0)
TIMES = (2, 5, 10)  # a new token is worth so many repeated ones; `Turning` has a field for each
MAX_EPOCHS = 1e5  # up to which turning points are looked for
STEP = 0.03  # in ln epochs, and in ln parameters, before a place is refined


class Marginal(Record):
    """One more pass over the unique tokens.

    change: of the loss, nats/token. fresh_tokens: x such that the same model is as good after x new tokens as after one
    more epoch of old ones, 0 where the epoch lowers nothing; fresh_share: the same over the unique tokens.
    repeat_value: what the function of that name gives.
    """

    change: float
    fresh_tokens: float
    fresh_share: float
    repeat_value: float


class Prices(Record):
    """FLOPs of one more epoch, and what the same gain costs otherwise; None where nothing does.

    epoch_compute: 6 N U. equivalent_compute: by how much one more epoch raises the least compute, over all sizes and
    token counts, that reaches its loss. bigger_model_compute: of the larger model as good on the same tokens.
    """

    epoch_compute: float
    equivalent_compute: float | None
    bigger_model_compute: float | None


class Turning(Record):
    """The epochs, for a model and its text, from which on something pays more than another epoch; None: never.

    bigger_model: one percent more compute gains more through parameters than through tokens.
    new_text_k: one new token is worth k repeated ones or more, from there on.
    harm: another epoch raises the loss.
    """

    bigger_model: float | None
    new_text_2: float | None
    new_text_5: float | None
    new_text_10: float | None
    harm: float | None


class Step(PlannedRun):
    """What a run could become, and the change of its loss by that, nats/token."""

    step: str
    change: float


def repeat_value(surface: Surface, params: Any, tokens: Any, unique: Any) -> Any:
    """What a repeated token is worth in new ones, at the margin: 1 where nothing is repeated, below 0 where it harms.

    A new token adds to the tokens and to the unique ones, a repeated one to the tokens alone. Common shape of the
    counts; nan where neither changes anything.
    """
    longer = slope(surface, params, tokens, unique, LONGER) / tokens
    richer = slope(surface, params, tokens, unique, MORE_UNIQUE) / unique
    with np.errstate(all="ignore"):
        return longer / (longer + richer)


def marginal(surface: Surface, run: Run) -> Marginal:
    """What one more epoch of the run's own text changes, and how many new tokens would change as much."""
    after = run_at(surface, run.params, run.tokens + run.unique, run.unique)

    def as_good(new: Any) -> Any:
        return losses(surface, run.params, run.tokens + new, run.unique + new) <= after.loss

    new = float(begins(as_good, 0.0, run.unique)) if after.loss < run.loss else 0.0
    value = float(repeat_value(surface, run.params, run.tokens, run.unique))
    return Marginal(after.loss - run.loss, fresh_tokens=new, fresh_share=new / run.unique, repeat_value=value)


def prices(surface: Surface, run: Run, *, best: bool) -> Prices:
    """What one more epoch costs, and what else would gain as much. best: whether the run is best for its compute."""
    after = run_at(surface, run.params, run.tokens + run.unique, run.unique)
    gains = after.loss < run.loss
    before = run if best or not gains else least_compute(surface, run.loss, run.unique)
    then = least_compute(surface, after.loss, run.unique) if gains else None

    def as_good(log: Any) -> Any:
        return losses(surface, np.exp(log), run.tokens, run.unique) <= after.loss

    logs = np.log(run.params) + np.arange(0.0, np.log(1e6), STEP)
    there = as_good(logs)
    first = int(np.argmax(there))
    larger = np.exp(begins(as_good, logs[max(first - 1, 0)], logs[first])) if gains and there.any() else None
    bigger = None if larger is None or not first else float(TRAINING * (larger - run.params) * run.tokens)
    return Prices(
        epoch_compute=TRAINING * run.params * run.unique,
        equivalent_compute=then.compute - before.compute if then and before else None,
        bigger_model_compute=bigger,
    )


def turning(surface: Surface, run: Run) -> Turning:
    """The turning points of a run's model and text; its number of epochs plays no part."""
    even = balanced(surface, run.unique, params=run.params)
    logs = np.arange(STEP, np.log(MAX_EPOCHS), STEP)
    found = losses(surface, run.params, np.exp(logs) * run.unique, run.unique)
    least = int(np.argmin(found))

    def harms(log: Any) -> Any:
        return slope(surface, run.params, np.exp(log) * run.unique, run.unique, LONGER) > 0

    risen = found[-1] > found[least]
    ends = logs[max(least - 1, 0)], logs[min(least + 1, len(logs) - 1)]
    harm = float(np.exp(begins(harms, *ends))) if risen and least < len(logs) - 1 else None
    by_2, by_5, by_10 = drops(surface, run, logs)
    return Turning(even.epochs if even.inside else None, by_2, by_5, by_10, harm)


def drops(surface: Surface, run: Run, logs: Any) -> list[float | None]:
    """The epochs from which on a repeated token is worth no more than 1/TIMES of a new one, for each of TIMES."""

    def value(log: Any) -> Any:
        return repeat_value(surface, run.params, np.exp(log) * run.unique, run.unique)

    shares = 1 / np.array(TIMES, dtype=float)
    above = value(logs)[None, :] > shares[:, None]
    last = np.where(above.any(axis=1), above.shape[1] - 1 - np.argmax(above[:, ::-1], axis=1), 0)
    ends = np.minimum(last + 1, len(logs) - 1)
    found = np.exp(begins(lambda log: ~(value(log) > shares[:, None]), logs[last], logs[ends]))
    never = above[:, -1]
    return [None if gone else float(place) for gone, place in zip(never, found, strict=True)]


def next_steps(surface: Surface, run: Run) -> list[Step]:
    """The run, and what it could become."""
    params, tokens, unique = run.params, run.tokens, run.unique
    steps = (
        ("this run", run),
        ("one more epoch", run_at(surface, params, tokens + unique, unique)),
        ("twice the compute, in epochs", run_at(surface, params, 2 * tokens, unique)),
        ("twice the compute, in parameters", run_at(surface, 2 * params, tokens, unique)),
        ("twice the compute, split best", best_run(surface, 2 * run.compute, unique)),
        ("twice the text, same compute", best_run(surface, run.compute, 2 * unique)),
    )
    return [Step.of(to, step=name, change=to.loss - run.loss) for name, to in steps]
