"""Plans from the user's own runs: a table of sizes, tokens and losses, fitted first."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.plan.presets import AVERAGE, surface_of
from mixopt.plan.surface import Surface
from mixopt.runs.scaling import Array, Runs

if TYPE_CHECKING:
    from mixopt.study.progress import Progress
    from regressors.estimators.repetition import RepetitionRegressor
    from regressors.fitting.uncertainty import Profile

ONCE = "chinchilla"  # the form that leads where no run repeats its text; elsewhere it is the average
DRAWS = 60  # refits that intervals are made of
LEVEL = 0.8
FOLDS = 5


def fitted(runs: Runs, progress: Progress, *, seed: int = 0) -> tuple[list[Surface], dict[str, Any]]:
    """The forms fitted to the runs, the leading one first, and what the fit is worth as a JSON-able record."""
    from regressors.estimators.repetition import RepetitionRegressor

    progress.stage("fit")
    average = RepetitionRegressor(random_state=seed).fit(runs.X, runs.loss)
    surfaces = of_average(runs, average, seed)
    judged = [
        {"form": name, "weight": weight, "errors": average.errors_[name]} for name, weight in average.forms_.items()
    ]
    record: dict[str, Any] = {"runs": len(runs.loss), "name": runs.name, "repeats": runs.repeats}
    if runs.repeats:
        record["r_star"] = r_stars(average)
    else:
        # without repeats the forms of the average differ by nothing but their bounds
        surfaces, once = [of_chinchilla(runs, seed), surfaces[0]], chinchilla_errors(runs, seed)
        judged = [{"form": ONCE, "weight": None, "errors": once}, *judged]
    published = surface_of_published(runs)
    judged.append({"form": published.name, "weight": None, "errors": {"folds": log_error(published.loss, runs)}})
    progress.finish(f"{len(runs.loss)} runs of {runs.name}")
    return [*surfaces, published], record | {"judged": judged}


def of_average(runs: Runs, average: RepetitionRegressor, seed: int) -> list[Surface]:
    """The average of the forms with refits of all of them, then every form that has a weight with refits of its own."""
    from regressors.laws.overfitting import FORMS
    from regressors.laws.presets import Preset

    refits = average.refits(DRAWS, random_state=seed)
    options: dict[str, Any] = {"within": runs.within(), "level": LEVEL, "made": "runs"}
    allowed = f"{DRAWS} refits to runs drawn again"
    told = f"{len(runs.loss)} runs of {runs.name}"
    note = "several forms averaged by their errors on runs left out"
    members = tuple(plain(refit.loss) for refit in refits)
    out = [Surface(AVERAGE, average.loss, told, note=note, members=members, allowed=allowed, **options)]
    for name, weight in average.forms_.items():
        if weight > 0:
            own = tuple(plain(refit.loss) for refit in refits if refit.form == name)
            loss = Preset(name, FORMS[name], average.values_[name], source=told, note="").loss
            out.append(Surface(name, loss, told, note=f"weight {weight:.0%} in the average", members=own, **options))
    return out


def plain(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Without the first axis, which is 1 long."""
    return lambda params, tokens, unique: loss(params, tokens, unique)[0]


def of_chinchilla(runs: Runs, seed: int) -> Surface:
    """Chinchilla's law as it is published: least sum of Huber losses of ln loss, with refits to runs drawn again."""
    from regressors.estimators.scaling import ScalingRegressor

    X = runs.X[:, :2]
    fit = ScalingRegressor(random_state=seed).fit(X, runs.loss)
    groups = np.unique(X, axis=0, return_inverse=True)[1].reshape(-1)
    drawn = fit.bootstrap(DRAWS, groups=groups, random_state=seed)
    units = fit.units_

    def at(values: Mapping[str, Array]) -> Callable[..., Any]:
        def loss(params: Any, tokens: Any, unique: Any) -> Any:
            size, data = (np.asarray(count) / units[name] for name, count in (("params", params), ("tokens", tokens)))
            return values["E"] + values["A"] * size ** -values["alpha"] + values["B"] * data ** -values["beta"]

        return loss

    members = tuple(at({name: value[0, k] for name, value in drawn.items()}) for k in range(DRAWS))
    return Surface(
        ONCE,
        at({name: value[0] for name, value in fit.scaled_.items()}),
        f"{len(runs.loss)} runs of {runs.name}",
        note="Hoffmann et al. 2022, arXiv:2203.15556, fitted as published",
        members=members,
        allowed=f"{DRAWS} refits to runs drawn again",
        level=LEVEL,
        within=runs.within(),
        made="runs",
    )


def chinchilla_errors(runs: Runs, seed: int) -> dict[str, float]:
    """Root mean squared error of ln loss on configurations left out at random."""
    from regressors.estimators.scaling import ScalingRegressor

    X = runs.X[:, :2]
    group = np.unique(X, axis=0, return_inverse=True)[1].reshape(-1)
    fold = (np.random.default_rng(seed).permutation(group.max() + 1) % FOLDS)[group]
    off = np.zeros(len(X))
    for k in np.unique(fold):
        out = fold == k
        fit = ScalingRegressor(random_state=seed).fit(X[~out], runs.loss[~out])
        off[out] = np.log(fit.predict(X[out]) / runs.loss[out])
    return {"folds": float(np.sqrt(np.mean(off**2)))}


def surface_of_published(runs: Runs) -> Surface:
    """The published law that is nearest to such runs, for comparison."""
    from regressors.laws.presets import PRESETS

    one = surface_of(PRESETS["data-constrained" if runs.repeats else "chinchilla"])
    return Surface(
        f"{one.name}, published", one.loss, one.source, one.note, one.members, one.allowed, within=one.within
    )


def log_error(loss: Callable[..., Any], runs: Runs) -> float:
    off = np.log(loss(runs.params, runs.tokens, runs.unique) / runs.loss)
    return float(np.sqrt(np.mean(off**2)))


def r_stars(average: RepetitionRegressor) -> list[dict[str, Any]]:
    """The epochs after which a repeat is worth 1/e by every form that has a weight, heaviest first: intervals of the
    profiles, each of which takes its form for true."""
    return [
        {"form": form, "weight": average.forms_[form], **told_profile(found)}
        for form, found in average.profiles("r_star_d", level=LEVEL).items()
    ]


def told_profile(found: Profile) -> dict[str, Any]:
    ends = {"low": float(found.low[0]), "high": float(found.high[0])}
    points = [
        {"value": float(value), "rise": float(rise)}
        for value, rise in zip(found.value[0], found.rise[0], strict=True)
        if np.isfinite(value) and np.isfinite(rise)
    ]
    return {key: value if np.isfinite(value) else None for key, value in ends.items()} | {
        "profile": points,
        "level": LEVEL,
        "open_low": bool(found.open_low[0]),
        "open_high": bool(found.open_high[0]),
    }
