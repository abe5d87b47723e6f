"""Recommended domain share of continued pretraining, with intervals, alternatives and limits of extrapolation."""

from __future__ import annotations

from dataclasses import fields, replace
from operator import attrgetter

import numpy as np

from mixopt.continual import results
from mixopt.continual.curves import at_lengths, checkpoints, outside, share_curves, thinned, token_curves
from mixopt.continual.draws import LEVEL, SURE, Draws, draw
from mixopt.continual.fit import ContinualFit, StoredFit, evidence, is_constant
from mixopt.continual.grid import AXES, SHARES, Budget, Predicted, grid, minimise, pareto_front, pareto_search, predict
from mixopt.continual.question import CptQuestion, StudyQuestion, budget_of
from mixopt.formatting import count_text, percent
from mixopt.report.document import Warning
from mixopt.runs.continual import ContinualRuns
from mixopt.serialization import Json
from mixopt.study.kind import Session
from mixopt.threads import on_one_thread

SAME = 1.01  # counts this close are one
DRAWS = 200
TRIALS = 600  # of Optuna's search
DRAWN_SIZES, DRAWN_SHARES = 25, 51  # of the grid that is drawn where sizes are free
PUBLISHED_AT = (1e9, 1e11)  # tokens: a few times more or fewer than the published critical shares were fitted to
SHARE_SLACK = 0.005  # to both sides of the trained shares: shares this near count as trained
SHOWN = 61  # points of a front in the record


@on_one_thread
def plan_cpt(
    fit: ContinualFit,
    question: CptQuestion | None = None,
    *,
    sampler: str = "nsga2",
    trials: int = TRIALS,
    draws: int = DRAWS,
) -> results.Plan:
    """The domain share of the lowest domain loss whose general loss rises by no more than a tolerance, and what else
    could be chosen: the share that costs nothing, the share that is sure to keep it, the Pareto front of both losses.

    sampler, trials: of Optuna's search, which checks the grid; 0 trials: none. draws: bootstrap draws for intervals,
    which hold `LEVEL` of them. Losses are nats/token, shares those of training tokens. `answer` is None where no
    share keeps the tolerance; `least_rise` then says what is possible. Raises MixoptError for questions that these runs
    can't answer.
    """
    question = question or CptQuestion()
    budget, assumptions = budget_of(fit.runs, question)
    exact = pareto_front(predict(fit, grid(budget)))
    answer = minimise(fit, budget, tolerance=question.tolerance)
    least_rise = minimise(fit, budget, attrgetter("rise"))
    assert least_rise is not None  # of all runs one rises least
    centre = answer or least_rise
    own = replace(budget, sizes=(float(centre.points.params),))
    largest = minimise(fit, own, lambda runs: 1 - runs.points.share, tolerance=0.0)  # domain share that costs nothing
    trained = best_trained(fit, budget, answer, question.tolerance)
    found = {"answer": answer, "free": largest, "least_rise": least_rise, "trained": trained}
    sets = {key: run.points for key, run in found.items() if run} | {"own": grid(own, shares=SHARES)}
    if len(budget.sizes) > 1:
        sets["all"] = grid(budget, shares=DRAWN_SHARES, sizes=DRAWN_SIZES)
    if not is_constant(fit.runs, "tokens"):
        sets["tokens"] = at_lengths(fit, centre)
    drawn = draw(fit, sets, draws)
    chosen = {  # by each draw for itself
        "answer": drawn["all" if "all" in drawn else "own"].optimum(question.tolerance, lambda domain, share: domain),
        "free": drawn["own"].optimum(0.0, lambda domain, share: -share),
    }
    choices = {key: choice(fit, run, drawn[key].interval(0), chosen.get(key)) for key, run in found.items() if run}
    over_tokens = token_curves(fit, drawn["tokens"]) if "tokens" in drawn else None
    limits, notes = extrapolation(fit.runs, budget, answer), [*fit.runs.warnings, *assumptions]
    params, tokens, shares = (fit.runs.ends(key) for key in AXES)
    return results.Plan(
        kind="cpt",
        name=fit.runs.name,
        given=question.given(),
        tolerance=question.tolerance,
        level=LEVEL,
        sure_at=SURE,
        draws=draws,
        knows=sorted(fit.runs.known),
        looked_at=budget.share_ends(),
        trained_on=results.TrainedOn(params, tokens, shares, rows=len(fit.runs.share), runs=len(set(fit.runs.run))),
        answer=choices.get("answer"),
        sure=sure_choice(fit, drawn["own"], question.tolerance),
        free=choices.get("free"),
        least_rise=choices["least_rise"],
        trained=choices.get("trained"),
        sizes=best_of_sizes(fit, budget, question.tolerance) if len(budget.sizes) > 1 else [],
        front=front_runs(fit, exact),
        search=search_front(fit, budget, exact, sampler, trials) if trials else None,
        published=published(fit, centre),
        losses=evidence(fit),
        repetition=repetition(budget, answer),
        curves=results.Curves(share_curves(fit, drawn["own"]), over_tokens),
        measured=checkpoints(fit),
        beyond=[warning.text for warning in limits],
        notes=[warning.text for warning in notes],
        warning_codes=[warning.code for warning in (*limits, *notes)],
    )


def best_trained(fit: ContinualFit, budget: Budget, answer: Predicted | None, tolerance: float) -> Predicted | None:
    """The best of the trained shares, where the answer's was not trained."""
    low, high = fit.runs.ends("share")
    inside = replace(budget, shares=(low, high))
    if answer is None or is_near(float(answer.points.share), low, high) or inside.share_ends()[0] > high:
        return None
    return minimise(fit, inside, tolerance=tolerance)


def is_near(share: float, low: float, high: float) -> bool:
    """Whether a share counts as inside the trained ones."""
    return low - SHARE_SLACK <= share <= high + SHARE_SLACK


def sure_choice(fit: ContinualFit, own: Draws, tolerance: float) -> results.Choice | None:
    """The run with the lowest domain loss that keeps the tolerance in `SURE` of the draws."""
    runs = predict(fit, own.points.flat())
    place = own.sure(tolerance, runs)
    return None if place is None else choice(fit, runs.take(place), own.interval(place))


def choice(
    fit: ContinualFit, run: Predicted, ends: results.Intervals, chosen: results.Optimum | None = None
) -> results.Choice:
    return results.Choice(**vars(run_record(fit, run)), ends=ends, chosen=chosen)


def run_record(fit: ContinualFit, run: Predicted) -> results.Run:
    """A single run as plain numbers."""
    at, epochs = run.points, run.points.epochs
    return results.Run(
        params=float(at.params) if "params" in fit.runs.known else None,
        tokens=float(at.tokens) if "tokens" in fit.runs.known else None,
        share=float(at.share),
        general_share=1 - float(at.share),
        passes=None if epochs is None else float(epochs),
        domain=float(run.domain),
        general=float(run.general),
        rise=float(run.rise),
        start=float(fit.start(at.params)),
        outside=bool(outside(fit, at)),
    )


def best_of_sizes(fit: ContinualFit, budget: Budget, tolerance: float) -> list[results.BestOfSize]:
    """The best of every trained size."""
    rows = []
    for size in fit.runs.sizes:
        own = replace(budget, sizes=(size,))
        found = minimise(fit, own, tolerance=tolerance)
        tokens = float(own.at(np.array(size), np.array(1.0)).tokens)
        rows.append(results.BestOfSize(size, tokens, found and run_record(fit, found)))
    return rows


def front_runs(fit: ContinualFit, front: Predicted) -> list[results.Run]:
    """A front, thinned to runs that are spread over it."""
    return [run_record(fit, front.take(int(n))) for n in thinned(len(front.rise), SHOWN)]


def search_front(fit: ContinualFit, budget: Budget, exact: Predicted, sampler: str, trials: int) -> results.Search:
    """Optuna's front, to compare with the grid's."""
    found = pareto_search(fit, budget, exact, sampler=sampler, trials=trials, seed=fit.seed)
    return results.Search(sampler, trials, hypervolume_ratio=found.ratio, front=front_runs(fit, found.front))


def published(fit: ContinualFit, run: Predicted) -> list[results.PublishedShare]:
    """Critical shares that others published, at the run's tokens; none where those aren't known or far from theirs."""
    from regressors.laws.continual import CRITICAL_SHARES

    tokens = float(run.points.tokens)
    if "tokens" not in fit.runs.known or not PUBLISHED_AT[0] <= tokens <= PUBLISHED_AT[1]:
        return []
    shares = {name: float(law.domain_share(tokens)) for name, law in CRITICAL_SHARES.items()}
    return [results.PublishedShare(name, x, CRITICAL_SHARES[name].source) for name, x in shares.items() if 0 < x < 1]


def repetition(budget: Budget, answer: Predicted | None) -> results.Repetition | None:
    """What the answer's domain tokens count as; None where they are unlimited."""
    if budget.domain_tokens is None:
        return None
    fresh = None
    if answer is not None:
        tokens, share = answer.points.fresh_equivalent()
        fresh = float(tokens * share) / budget.domain_tokens
    return results.Repetition(budget.domain_tokens, budget.r_star, fresh)


def extrapolation(runs: ContinualRuns, budget: Budget, answer: Predicted | None) -> list[Warning]:
    """None where the answer is inside the trained sizes, tokens and shares, and not at an end of what was searched."""
    if answer is None:
        return []
    params, tokens, share = (float(getattr(answer.points, key)) for key in AXES)
    found: list[tuple[bool, str, str]] = []  # whether it applies, code, text
    for key, value, word, first, last in (
        ("params", params, "parameters", "the smallest trained", "the largest trained"),
        ("tokens", tokens, "tokens", "the first checkpoint", "the longest run"),
    ):
        low, high = runs.ends(key)
        fewer = f"fewer than {first} has ({count_text(low)})"
        more = f"{value / high:.2g} times {last} ({count_text(high)})"
        outside = key in runs.known and not low / SAME <= value <= high * SAME
        text = f"{count_text(value)} {word} are {more if value > high else fewer}: the laws extrapolate."
        found.append((outside, f"outside-{key}", text))
    low, high = runs.ends("share")
    text = (
        f"{percent(share)} domain text lies outside the trained shares ({percent(low)} to {percent(high)}): "
        "the laws extrapolate there, and errors of unknown size are possible."
    )
    found.append((not is_near(share, low, high), "outside-shares", text))
    low, high = budget.share_ends()
    text = f"Less domain text than {percent(low)} wasn't searched: there may be better below."
    found.append((share <= low + 1e-6 and low > 0, "share-bound", text))
    text = f"More domain text than {percent(high)} wasn't searched: there may be better above."
    found.append((share >= high - 1e-6 and high < 1, "share-bound", text))
    low, high = min(budget.sizes), max(budget.sizes)
    end, size, other = ("largest", high, "larger") if params > low * SAME else ("smallest", low, "smaller")
    text = f"The best size is the {end} trained ({count_text(size)}): a {other} one may do better for this compute."
    found.append((len(budget.sizes) > 1 and not low * SAME <= params <= high / SAME, "size-bound", text))
    return [Warning(code, text) for applies, code, text in found if applies]


def recommend(session: Session, fit: ContinualFit) -> Json:
    """The study's question answered, kept in recommendation.json; as before where nothing changed.

    Where no share keeps the tolerance, the record says the least rise there is, and `answer` is None.
    """
    study, folder, progress = session.study, session.folder, session.progress
    progress.stage("answer")
    fitted = StoredFit.read(folder.fits / "continual.json", made_by="fit")

    def compute() -> Json:
        plan = plan_cpt(fit, StudyQuestion(**study.full.model_dump()))
        run = plan.answer
        progress.finish(f"{run.general_share:.0%} general text" if run else "no share stays within the tolerance")
        facts = {one.name: getattr(fitted, one.name) for one in fields(results.StudyFacts)}
        found = results.Recommendation(**vars(replace(plan, kind="continual")), **facts, new=study.new)
        return found.to_json()

    return session.answer(fitted.stamp, compute)
