"""Where an answer lies outside what was trained, in words."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.continual.curves import lengths, measured, outside, over_tokens, share_curves, token_curves
from mixopt.continual.draws import LEVEL, SURE, Worlds, by_domain_loss, by_share
from mixopt.continual.fit import ContinualFit, evidence, trained
from mixopt.continual.grid import (
    SHARES,
    Budget,
    Swept,
    domain_loss,
    front,
    general_rise,
    general_text,
    grid,
    least,
    swept,
)
from mixopt.continual.pareto import Search, searched
from mixopt.continual.question import CptQuestion, budget_of
from mixopt.formatting import amount, share
from mixopt.runs.continual import ContinualRuns
from mixopt.serialization import CACHE_KEY, cached, digest, read_json
from mixopt.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.continual.config import ContinualStudy
    from mixopt.study.kind import Session

    Floats = NDArray[np.float64]


SAME = 1.01  # counts this close are one


def beyond(runs: ContinualRuns, budget: Budget, answer: Swept | None) -> list[str]:
    """Sentences; none where the answer lies inside the trained sizes, tokens and shares."""
    if answer is None:
        return []
    at = answer.at
    told = [
        _count(runs, "params", float(at.params), "parameters", "the smallest trained", "the largest trained"),
        _count(runs, "tokens", float(at.tokens), "tokens", "the first checkpoint", "the longest run"),
        _share(runs, float(at.share)),
        _share_end(budget, float(at.share)),
    ]
    if len(budget.sizes) > 1:
        told += [_end(budget, float(at.params))]
    return [sentence for sentence in told if sentence]


def _count(runs: ContinualRuns, key: str, value: float, word: str, low: str, high: str) -> str:
    if key not in runs.knows:
        return ""
    least, most = runs.ends(key)
    if value > most * SAME:
        return f"{amount(value)} {word} are {value / most:.2g} times {high} ({amount(most)}): the laws extrapolate."
    if value * SAME < least:
        return f"{amount(value)} {word} are fewer than {low} has ({amount(least)}): the laws extrapolate."
    return ""


def _share(runs: ContinualRuns, value: float) -> str:
    least, most = runs.ends("share")
    if least - 0.005 <= value <= most + 0.005:
        return ""
    return (
        f"{share(value)} domain text lies outside the shares that were trained ({share(least)} to {share(most)}): the "
        "laws extrapolate there, and errors of unknown size are possible."
    )


def _share_end(budget: Budget, value: float) -> str:
    low, high = budget.ends()
    if value <= low + 1e-6 and low > 0:
        return f"Less domain text than {share(low)} wasn't looked at: there may be better below."
    if value >= high - 1e-6 and high < 1:
        return f"More domain text than {share(high)} wasn't looked at: there may be better above."
    return ""


def _end(budget: Budget, params: float) -> str:
    low, high = min(budget.sizes), max(budget.sizes)
    if params > high / SAME:
        return f"The best size is the largest trained ({amount(high)}): a larger one may do better for this compute."
    if params < low * SAME:
        return f"The best size is the smallest trained ({amount(low)}): a smaller one may do better for this compute."
    return ""


# Plans of continued pretraining: how much general text to keep, what the domain gains, as a JSON-able record.


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
) -> dict[str, Any]:
    """The domain share of the lowest domain loss whose general loss rises by no more than a tolerance, and what else
    could be chosen: the share that costs nothing, the share that is sure to keep it, the whole front of both losses.

    sampler, trials: of Optuna's search beside the sweep, 0 trials: none. draws: worlds that intervals come from.
    Returns a JSON-able record; losses are nats/token, shares those of training tokens, intervals hold `LEVEL` of the
    worlds that the runs don't rule out. `answer` is None where no share keeps the tolerance; `least_rise` then says
    what is possible. Raises MixoptError for questions that these runs can't answer.
    """
    asked = question or CptQuestion()
    budget, notes = budget_of(fit.runs, asked)
    exact = front(swept(fit, grid(budget)))
    found = runs_of(fit, budget, asked)
    centre = found["answer"] or found["least_rise"]
    assert centre is not None  # of all runs one rises least
    worlds = drawn_worlds(fit, budget, found, centre, draws)
    search = searched(fit, budget, exact, sampler=sampler, trials=trials, seed=fit.seed) if trials else None
    return {
        "kind": "cpt",
        "name": fit.runs.name,
        "given": asked.record(),
        "tolerance": asked.tolerance,
        "level": LEVEL,
        "sure_at": SURE,
        "draws": draws,
        "knows": sorted(fit.runs.knows),
        "looked_at": budget.ends(),
        "trained_on": trained(fit.runs) | {"rows": len(fit.runs.share), "runs": len(set(fit.runs.run))},
        **told_runs(fit, asked, found, worlds),
        "sizes": best_of_sizes(fit, budget, asked),
        "front": front_record(fit, exact),
        "search": search_record(fit, search),
        "published": published(fit, centre),
        "losses": {of: evidence(fit, of) for of in ("domain", "general")},
        "repetition": repetition(budget, found["answer"]),
        "curves": {"share": share_curves(fit, budget, worlds), "tokens": token_curves(fit, centre, worlds)},
        "measured": measured(fit),
        "notes": [*fit.runs.notes, *notes],
        "beyond": beyond(fit.runs, budget, found["answer"]),
    }


def runs_of(fit: ContinualFit, budget: Budget, asked: CptQuestion) -> dict[str, Swept | None]:
    """The answer; at its size the largest domain share that costs nothing; the least rise; where the answer's share was
    not trained, the best that was."""
    answer = least(fit, budget, domain_loss, tolerance=asked.tolerance)
    rise = least(fit, budget, general_rise)
    centre = answer or rise
    own = budget if centre is None else replace(budget, sizes=(float(centre.at.params),))
    low, high = fit.runs.ends("share")
    inside = replace(budget, shares=(low, high))
    away = answer is not None and not low - 0.005 <= float(answer.at.share) <= high + 0.005
    asks = away and inside.ends()[0] <= high
    return {
        "answer": answer,
        "free": least(fit, own, general_text, tolerance=0.0),
        "least_rise": rise,
        "trained": least(fit, inside, domain_loss, tolerance=asked.tolerance) if asks else None,
    }


def drawn_worlds(
    fit: ContinualFit, budget: Budget, found: dict[str, Swept | None], centre: Swept, draws: int
) -> Worlds:
    """At the runs found, all shares at the answer's size, all sizes where they are free, and along the answer's run."""
    own = replace(budget, sizes=(float(centre.at.params),))
    sets = {key: run.at for key, run in found.items() if run is not None} | {"own": grid(own, shares=SHARES)}
    if len(budget.sizes) > 1:
        sets["all"] = grid(budget, shares=DRAWN_SHARES, sizes=DRAWN_SIZES)
    tokens = lengths(fit, centre)
    if len(tokens):
        sets["tokens"] = over_tokens(centre, tokens)
    return Worlds.of(fit, sets, draws)


# Runs as records


def told_runs(
    fit: ContinualFit, asked: CptQuestion, found: dict[str, Swept | None], worlds: Worlds
) -> dict[str, dict[str, Any] | None]:
    """The runs found, and the one that is sure to keep the tolerance, with intervals of their losses; of the answer and
    of the share that costs nothing also of what each world by itself would choose."""
    told: dict[str, dict[str, Any] | None] = {"sure": None}
    for key, run in found.items():
        told[key] = run and run_record(fit, run) | {"ends": worlds.ends(key, 0)}
    for key, name, tolerance, value in (
        ("answer", "all" if "all" in worlds.at else "own", asked.tolerance, by_domain_loss),
        ("free", "own", 0.0, by_share),
    ):
        there = told[key]
        if there is not None:
            told[key] = there | {"chosen": worlds.chosen(name, tolerance, value)}
    runs = swept(fit, worlds.at["own"])
    place = worlds.sure("own", asked.tolerance, runs)
    if place is not None:
        told["sure"] = run_record(fit, runs.one(place)) | {"ends": worlds.ends("own", place)}
    return told


def run_record(fit: ContinualFit, run: Swept) -> dict[str, Any]:
    """A single run as numbers."""
    at, passes = run.at, run.at.passes
    return {
        "params": float(at.params) if "params" in fit.runs.knows else None,
        "tokens": float(at.tokens) if "tokens" in fit.runs.knows else None,
        "share": float(at.share),
        "general_share": 1 - float(at.share),
        "passes": None if passes is None else float(passes),
        "domain": float(run.domain),
        "general": float(run.general),
        "rise": float(run.rise),
        "start": float(fit.start(at.params)),
        "outside": bool(outside(fit, at)),
    }


def best_of_sizes(fit: ContinualFit, budget: Budget, asked: CptQuestion) -> list[dict[str, Any]]:
    """The best of every trained size, where sizes are free; None for sizes of which no run keeps the tolerance."""
    rows = []
    for size in fit.runs.sizes if len(budget.sizes) > 1 else []:
        own = replace(budget, sizes=(size,))
        found = least(fit, own, domain_loss, tolerance=asked.tolerance)
        tokens = float(own.at(np.array(size), np.array(1.0)).tokens)
        rows.append({"params": size, "tokens": tokens, "best": found and run_record(fit, found)})
    return rows


def front_record(fit: ContinualFit, runs: Swept) -> list[dict[str, Any]]:
    """A front, thinned to runs that are spread over it."""
    places = np.unique(np.linspace(0, len(runs.rise) - 1, SHOWN).round().astype(int))
    return [run_record(fit, runs.one(int(n))) for n in places]


def search_record(fit: ContinualFit, search: Search | None) -> dict[str, Any] | None:
    """What Optuna found, and the ratio of its hypervolume to the sweep's."""
    if search is None:
        return None
    told = {"sampler": search.sampler, "trials": search.trials, "hypervolume_ratio": search.ratio}
    return told | {"front": front_record(fit, search.front)}


def published(fit: ContinualFit, run: Swept) -> list[dict[str, Any]]:
    """Critical shares that others published, at the run's tokens; none where those aren't known or far from theirs."""
    from regressors.laws.continual import CRITICAL_SHARES

    tokens = float(run.at.tokens)
    if "tokens" not in fit.runs.knows or not PUBLISHED_AT[0] <= tokens <= PUBLISHED_AT[1]:
        return []
    shares = {name: float(law.domain_share(tokens)) for name, law in CRITICAL_SHARES.items()}
    return [
        {"size": name, "share": share, "source": CRITICAL_SHARES[name].source}
        for name, share in shares.items()
        if 0 < share < 1
    ]


def repetition(budget: Budget, answer: Swept | None) -> dict[str, Any] | None:
    """What the answer's domain text counts as, in passes over it; None where it is unlimited."""
    if budget.domain_tokens is None:
        return None
    worth = None
    if answer is not None:
        tokens, share = answer.at.as_fresh()
        worth = float(tokens * share) / budget.domain_tokens
    return {"domain_tokens": budget.domain_tokens, "r_star": budget.r_star, "worth": worth}


def question_of(study: ContinualStudy) -> CptQuestion:
    full = study.full
    return CptQuestion(
        tolerance=full.tolerance,
        params=full.params,
        tokens=full.tokens,
        compute=full.compute,
        domain_tokens=full.domain_tokens,
    )


def answer(session: Session, fit: ContinualFit) -> dict[str, Any]:
    """The study's question answered, and recommendation.json; as before where nothing changed.

    Where no share keeps the tolerance, the record says the least rise there is, and `answer` is None.
    """
    study, folder, progress = session.study, session.folder, session.progress
    progress.stage("answer")
    fitted = read_json(folder.fits / "continual.json", made_by="fit")

    def compute() -> dict[str, Any]:
        plan = plan_cpt(fit, question_of(study))
        run = plan["answer"]
        progress.finish(f"{run['general_share']:.0%} general text" if run else "no share keeps the tolerance")
        return plan | {
            "kind": "continual",
            "mixopt": __version__,
            "study": study.name,
            "new": study.new,
            "texts": fitted["texts"],
            "noise": fitted["noise"],
            "left_out": fitted["left_out"],
        }

    key = digest([__version__, fitted[CACHE_KEY], study.full.model_dump(), study.name, study.new])
    return cached(folder.recommendation, key, compute, on_hit=lambda: progress.finish("as before"))
