"""Recommended domain share of continued pretraining, with intervals, alternatives and limits of extrapolation."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mixopt.continual import grid as search
from mixopt.continual.curves import at_lengths, checkpoints, outside, share_curves, thinned, token_curves
from mixopt.continual.draws import LEVEL, SURE, Draws, by_domain_loss, by_share, draw
from mixopt.continual.fit import ContinualFit, StoredFit, evidence
from mixopt.continual.grid import Budget, Predicted, grid, minimise, pareto_front, pareto_search, predict
from mixopt.continual.question import CptQuestion, budget_of
from mixopt.continual.results import (
    LOSSES,
    BestOfSize,
    Choice,
    Curves,
    Plan,
    PublishedShare,
    Recommendation,
    Repetition,
    Run,
    Search,
    TrainedOn,
)
from mixopt.formatting import count_text, percent
from mixopt.report.document import Warning
from mixopt.runs.continual import ContinualRuns
from mixopt.serialization import Json, cached, digest
from mixopt.version import __version__

if TYPE_CHECKING:
    from mixopt.continual.config import ContinualStudy
    from mixopt.study.kind import Session

SAME = 1.01  # counts this close are one
DRAWS = 200
TRIALS = 600  # of Optuna's search
DRAWN_SIZES, DRAWN_SHARES = 25, 51  # of the grid that is drawn where sizes are free
PUBLISHED_AT = (1e9, 1e11)  # tokens: a few times more or fewer than the published critical shares were fitted to
SHOWN = 61  # points of a front in the record


def plan_cpt(
    fit: ContinualFit,
    question: CptQuestion | None = None,
    *,
    sampler: str = "nsga2",
    trials: int = TRIALS,
    draws: int = DRAWS,
) -> Plan:
    """The domain share of the lowest domain loss whose general loss rises by no more than a tolerance, and what else
    could be chosen: the share that costs nothing, the share that is sure to keep it, the Pareto front of both losses.

    sampler, trials: of Optuna's search beside the grid, 0 trials: none. draws: bootstrap draws that intervals come
    from, which hold `LEVEL` of them. Losses are nats/token, shares those of training tokens. `answer` is None where no
    share keeps the tolerance; `least_rise` then says what is possible. Raises MixoptError for questions that these runs
    can't answer.
    """
    question = question or CptQuestion()
    budget, assumptions = budget_of(fit.runs, question)
    exact = pareto_front(predict(fit, grid(budget)))
    found = candidates(fit, budget, question)
    answer, least_rise = found["answer"], found["least_rise"]
    assert least_rise is not None  # of all runs one rises least
    centre = answer or least_rise
    own = replace(budget, sizes=(float(centre.points.params),))
    sets = {key: run.points for key, run in found.items() if run is not None} | {
        "own": grid(own, shares=search.SHARES),
        "all": grid(budget, shares=DRAWN_SHARES, sizes=DRAWN_SIZES) if len(budget.sizes) > 1 else None,
        "tokens": at_lengths(fit, centre),
    }
    drawn = draw(fit, {name: points for name, points in sets.items() if points is not None}, draws)
    choices = choices_of(fit, question, found, drawn)
    assert choices["least_rise"] is not None
    limits, notes = extrapolation(fit.runs, budget, answer), [*fit.runs.warnings, *assumptions]
    return Plan(
        kind="cpt",
        name=fit.runs.name,
        given=question.given(),
        tolerance=question.tolerance,
        level=LEVEL,
        sure_at=SURE,
        draws=draws,
        knows=sorted(fit.runs.known),
        looked_at=budget.share_ends(),
        trained_on=trained_on(fit.runs),
        answer=choices["answer"],
        sure=sure_choice(fit, drawn["own"], question.tolerance),
        free=choices["free"],
        least_rise=choices["least_rise"],
        trained=choices["trained"],
        sizes=best_of_sizes(fit, budget, question),
        front=front_runs(fit, exact),
        search=search_front(fit, budget, exact, sampler, trials) if trials else None,
        published=published(fit, centre),
        losses={of: evidence(fit, of) for of in LOSSES},
        repetition=repetition(budget, answer),
        curves=Curves(share_curves(fit, drawn["own"]), token_curves(fit, drawn.get("tokens"))),
        measured=checkpoints(fit),
        beyond=[warning.text for warning in limits],
        notes=[warning.text for warning in notes],
        warning_codes=[warning.code for warning in (*limits, *notes)],
    )


def candidates(fit: ContinualFit, budget: Budget, question: CptQuestion) -> dict[str, Predicted | None]:
    """The answer; at its size the largest domain share that costs nothing; the least rise; where the answer's share was
    not trained, the best that was."""
    answer = minimise(fit, budget, search.domain_loss, tolerance=question.tolerance)
    rise = minimise(fit, budget, search.general_rise)
    centre = answer or rise
    own = budget if centre is None else replace(budget, sizes=(float(centre.points.params),))
    low, high = fit.runs.ends("share")
    inside = replace(budget, shares=(low, high))
    extrapolated = answer is not None and not low - 0.005 <= float(answer.points.share) <= high + 0.005
    trained = None
    if extrapolated and inside.share_ends()[0] <= high:
        trained = minimise(fit, inside, search.domain_loss, tolerance=question.tolerance)
    free = minimise(fit, own, search.general_share, tolerance=0.0)
    return {"answer": answer, "free": free, "least_rise": rise, "trained": trained}


def choices_of(
    fit: ContinualFit, question: CptQuestion, found: dict[str, Predicted | None], drawn: dict[str, Draws]
) -> dict[str, Choice | None]:
    """The candidates with intervals of their losses; the answer and the share that costs nothing also with those of
    what each draw by itself would choose."""
    chosen = {
        "answer": lambda: drawn["all" if "all" in drawn else "own"].optimum(question.tolerance, by_domain_loss),
        "free": lambda: drawn["own"].optimum(0.0, by_share),
    }
    return {
        key: None
        if run is None
        else Choice(
            **vars(run_record(fit, run)), ends=drawn[key].interval(0), chosen=chosen[key]() if key in chosen else None
        )
        for key, run in found.items()
    }


def sure_choice(fit: ContinualFit, own: Draws, tolerance: float) -> Choice | None:
    """The run with the lowest domain loss that keeps the tolerance in `SURE` of the draws."""
    runs = predict(fit, own.points.flat())
    place = own.sure(tolerance, runs)
    if place is None:
        return None
    return Choice(**vars(run_record(fit, runs.take(place))), ends=own.interval(place))


def run_record(fit: ContinualFit, run: Predicted) -> Run:
    """A single run as plain numbers."""
    at, passes = run.points, run.points.epochs
    return Run(
        params=float(at.params) if "params" in fit.runs.known else None,
        tokens=float(at.tokens) if "tokens" in fit.runs.known else None,
        share=float(at.share),
        general_share=1 - float(at.share),
        passes=None if passes is None else float(passes),
        domain=float(run.domain),
        general=float(run.general),
        rise=float(run.rise),
        start=float(fit.start(at.params)),
        outside=bool(outside(fit, at)),
    )


def trained_on(runs: ContinualRuns) -> TrainedOn:
    params, tokens, shares = (runs.ends(key) for key in search.AXES)
    return TrainedOn(params, tokens, shares, rows=len(runs.share), runs=len(set(runs.run)))


def best_of_sizes(fit: ContinualFit, budget: Budget, question: CptQuestion) -> list[BestOfSize]:
    """The best of every trained size, where sizes are free."""
    rows = []
    for size in fit.runs.sizes if len(budget.sizes) > 1 else []:
        own = replace(budget, sizes=(size,))
        found = minimise(fit, own, search.domain_loss, tolerance=question.tolerance)
        tokens = float(own.at(np.array(size), np.array(1.0)).tokens)
        rows.append(BestOfSize(size, tokens, None if found is None else run_record(fit, found)))
    return rows


def front_runs(fit: ContinualFit, front: Predicted) -> list[Run]:
    """A front, thinned to runs that are spread over it."""
    return [run_record(fit, front.take(int(n))) for n in thinned(len(front.rise), SHOWN)]


def search_front(fit: ContinualFit, budget: Budget, exact: Predicted, sampler: str, trials: int) -> Search:
    """Optuna's front beside the grid's."""
    found = pareto_search(fit, budget, exact, sampler=sampler, trials=trials, seed=fit.seed)
    return Search(sampler, trials, hypervolume_ratio=found.ratio, front=front_runs(fit, found.front))


def published(fit: ContinualFit, run: Predicted) -> list[PublishedShare]:
    """Critical shares that others published, at the run's tokens; none where those aren't known or far from theirs."""
    from regressors.laws.continual import CRITICAL_SHARES

    tokens = float(run.points.tokens)
    if "tokens" not in fit.runs.known or not PUBLISHED_AT[0] <= tokens <= PUBLISHED_AT[1]:
        return []
    shares = {name: float(law.domain_share(tokens)) for name, law in CRITICAL_SHARES.items()}
    return [
        PublishedShare(name, share, CRITICAL_SHARES[name].source) for name, share in shares.items() if 0 < share < 1
    ]


def repetition(budget: Budget, answer: Predicted | None) -> Repetition | None:
    """What the answer's domain tokens count as; None where they are unlimited."""
    if budget.domain_tokens is None:
        return None
    worth = None
    if answer is not None:
        tokens, share = answer.points.fresh_equivalent()
        worth = float(tokens * share) / budget.domain_tokens
    return Repetition(budget.domain_tokens, budget.r_star, worth)


# Where the answer lies outside what was trained


def extrapolation(runs: ContinualRuns, budget: Budget, answer: Predicted | None) -> list[Warning]:
    """None where the answer is inside the trained sizes, tokens and shares, and not at an end of what was searched."""
    if answer is None:
        return []
    at = answer.points
    found = [
        _outside_count(runs, "params", float(at.params), "parameters", "the smallest trained", "the largest trained"),
        _outside_count(runs, "tokens", float(at.tokens), "tokens", "the first checkpoint", "the longest run"),
        _outside_shares(runs, float(at.share)),
        _at_share_bound(budget, float(at.share)),
        _at_size_bound(budget, float(at.params)),
    ]
    return [warning for warning in found if warning is not None]


def _outside_count(runs: ContinualRuns, key: str, value: float, word: str, low: str, high: str) -> Warning | None:
    least, most = runs.ends(key)
    if key not in runs.known or least / SAME <= value <= most * SAME:
        return None
    if value > most:
        times = f"{value / most:.2g} times"
        text = f"{count_text(value)} {word} are {times} {high} ({count_text(most)}): the laws extrapolate."
    else:
        text = f"{count_text(value)} {word} are fewer than {low} has ({count_text(least)}): the laws extrapolate."
    return Warning(f"outside-{key}", text)


def _outside_shares(runs: ContinualRuns, value: float) -> Warning | None:
    low, high = runs.ends("share")
    if low - 0.005 <= value <= high + 0.005:
        return None
    return Warning(
        "outside-shares",
        f"{percent(value)} domain text lies outside the shares that were trained ({percent(low)} to {percent(high)}): "
        "the laws extrapolate there, and errors of unknown size are possible.",
    )


def _at_share_bound(budget: Budget, value: float) -> Warning | None:
    low, high = budget.share_ends()
    text = ""
    if value <= low + 1e-6 and low > 0:
        text = f"Less domain text than {percent(low)} wasn't searched: there may be better below."
    if value >= high - 1e-6 and high < 1:
        text = f"More domain text than {percent(high)} wasn't searched: there may be better above."
    return Warning("share-bound", text) if text else None


def _at_size_bound(budget: Budget, params: float) -> Warning | None:
    low, high = min(budget.sizes), max(budget.sizes)
    if len(budget.sizes) == 1 or low * SAME <= params <= high / SAME:
        return None
    end, size, other = ("largest", high, "larger") if params > low * SAME else ("smallest", low, "smaller")
    text = f"The best size is the {end} trained ({count_text(size)}): a {other} one may do better for this compute."
    return Warning("size-bound", text)


# The answer stage of a study


def question_of(study: ContinualStudy) -> CptQuestion:
    return CptQuestion(**study.full.model_dump())


def recommend(session: Session, fit: ContinualFit) -> Json:
    """The study's question answered, kept in recommendation.json; as before where nothing changed.

    Where no share keeps the tolerance, the record says the least rise there is, and `answer` is None.
    """
    study, folder, progress = session.study, session.folder, session.progress
    progress.stage("answer")
    fitted = StoredFit.read(folder.fits / "continual.json", made_by="fit")

    def compute() -> Json:
        plan = plan_cpt(fit, question_of(study))
        run = plan.answer
        progress.finish(f"{run.general_share:.0%} general text" if run else "no share keeps the tolerance")
        return Recommendation(
            **vars(replace(plan, kind="continual")),
            mixopt=__version__,
            study=study.name,
            new=study.new,
            texts=fitted.texts,
            noise=fitted.noise,
            left_out=fitted.left_out,
        ).to_json()

    key = digest([__version__, fitted.stamp, study.full.model_dump(), study.name, study.new])
    return cached(folder.recommendation, key, compute, on_hit=lambda: progress.finish("as before"))
