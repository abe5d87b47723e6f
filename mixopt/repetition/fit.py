"""Fitted laws of repetition: held-out scores of every form, and their average, fitted to each weight decay's runs."""

from __future__ import annotations

from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.formatting import epochs_text, loss
from mixopt.repetition.config import RepetitionStudy
from mixopt.repetition.curves import Contour, Curve, contours, return_curves
from mixopt.repetition.runs import INPUTS, Frame, LadderRuns, counts_of, enough_to_fit
from mixopt.repetition.scores import FOLDS, INSIDE, HeldOut, Noise, Predict, Score, cross_validate, noise_floor
from mixopt.serialization import Json, Record, cached, digest, nan_to_null, remake, restoring
from mixopt.study.layout import Folder
from mixopt.study.progress import Progress
from mixopt.version import __version__

if TYPE_CHECKING:
    from regressors.estimators.repetition import RepetitionRegressor
    from regressors.laws.presets import Preset

AVERAGE = "average"  # of all forms, weighted by what they predict of runs left out: the one that answers
LEVEL = 0.8  # of all intervals
N_REFITS = 60  # to configurations drawn again: how they differ is the interval
N_STEPS = FOLDS + 3  # of work a ladder: its folds, both ends held out, and all of it
FORMAT = 1  # of fits/repetition.json; rises when older files no longer do
MAX_PROFILE_POINTS = 60  # that are kept


class FormFit(Record):
    """One form of the law: its weight in the average, and its parameters, amplitudes in nats/token at inputs of 1."""

    weight: float
    values: dict[str, float]


class RStar(Record):
    """R* of one form, the repeats after which a token counts for 1/e of a new one, with its profile interval.

    low, high: None where the interval has no end on that side.
    """

    form: str
    weight: float
    value: float
    low: float | None
    high: float | None

    @property
    def ends(self) -> tuple[str, str]:
        """The interval's, as text."""
        low = "0" if self.low is None else epochs_text(self.low)
        return low, "any size" if self.high is None else epochs_text(self.high)


class Profile(Record):
    """rise: twice the objective above its minimum, all other parameters fitted again at every value."""

    value: list[float]
    rise: list[float]


class ProfiledRStar(RStar):
    profile: Profile


class GroupFit(Record):
    """The runs of one weight decay: held-out scores, the fit to all of them, and what follows from it."""

    weight_decay: float
    runs: int
    scores: list[Score]
    held_out: HeldOut
    forms: dict[str, FormFit]
    r_star: list[ProfiledRStar]  # of the forms that have one, heaviest first
    curves: list[Curve]
    contours: list[Contour]
    estimator: Json  # the average, as its to_dict gives it

    @cached_property
    def regressor(self) -> RepetitionRegressor:
        from regressors.estimators.repetition import RepetitionRegressor

        return RepetitionRegressor.from_dict(self.estimator)

    def score(self, case: str) -> float | None:
        """Held-out error of the average in a case, root mean squared, nats/token."""
        return next((row.rmse for row in self.scores if row.form == AVERAGE and row.case == case), None)

    def best_form(self, case: str) -> str | None:
        """The form with the least held-out error in a case; None where none has one."""
        errors = [(row.rmse, row.form) for row in self.scores if row.case == case and row.rmse is not None]
        return min(errors)[1] if errors else None


class RepetitionFit(Record):
    """The content of fits/repetition.json. arms: weakest weight decay first."""

    mixopt: str
    study: str
    target: dict[str, float]  # weight by validation set
    level: float
    scale: dict[str, tuple[float, float]]  # the least and the greatest params, tokens, unique and epochs of the runs
    arms: list[GroupFit]
    noise: list[Noise]
    left_out: list[dict[str, str]]  # diverged runs: run_id and reason
    stamp: str = ""  # the cache key


def preset_of(estimator: RepetitionRegressor, form: str, note: str = "") -> Preset:
    """One form of a fitted average with its values, for counts as they are."""
    from regressors.laws.overfitting import FORMS
    from regressors.laws.presets import Preset

    return Preset(form, FORMS[form], estimator.values_[form], FORMS[form].source, note)


def fit_ladders(measured: LadderRuns, study: RepetitionStudy, folder: Folder, progress: Progress) -> RepetitionFit:
    """Scores every form, fits the average to every ladder and writes fits/repetition.json; as before if the runs are.

    Raises MixoptError for too few runs.
    """
    progress.stage("fit", total=N_STEPS * len(measured.decays))

    def compute() -> Json:
        enough_to_fit(measured, folder.runs)
        runs, ladders = measured.fitted, enumerate(measured.ladders())
        fit = RepetitionFit(
            mixopt=__version__,
            study=study.name,
            target=measured.target,
            level=LEVEL,
            scale={key: (float(runs[key].min()), float(runs[key].max())) for key in (*INPUTS, "epochs")},
            arms=[fit_group(decay, own, study, progress, done=N_STEPS * n) for n, (decay, own) in ladders],
            noise=noise_floor(measured.kept),
            left_out=measured.left_out,
        )
        progress.finish(f"held-out {fit_text(fit)}")
        return nan_to_null(fit.to_json())

    key = cache_key(measured, study)
    path = folder.fits / "repetition.json"
    found = cached(path, key, compute, on_hit=lambda: progress.finish("as before"))
    with restoring(path, remake("fit")):  # read back: what a later call will find, whose refits are those stored
        return RepetitionFit.from_json(found)


def cache_key(measured: LadderRuns, study: RepetitionStudy) -> str:
    """Of everything that the fit depends on."""
    return digest([FORMAT, __version__, study.seed, measured.target, measured.frame.to_csv(index=False)])


def fit_group(decay: float, runs: Frame, study: RepetitionStudy, progress: Progress, *, done: int) -> GroupFit:
    """One ladder: held-out scores, the fit to all of its runs, what follows from it. done: steps before it."""
    from regressors.estimators.repetition import RepetitionRegressor

    steps = count(done)

    def step(what: str) -> None:
        progress.update(next(steps), f"{what}, weight decay {decay:g}")

    def average(X: Any, y: Any) -> RepetitionRegressor:
        return RepetitionRegressor(random_state=study.seed).fit(X, y)

    def predictors(X: Any, y: Any) -> dict[str, Predict]:
        """The average's predictions, and those of each of its forms alone, by name."""
        fitted = average(X, y)
        forms = {form: preset_of(fitted, form).loss for form in fitted.forms_}
        return {AVERAGE: fitted.loss, **forms}

    try:
        scores, held_out = cross_validate(runs, predictors, seed=study.seed, progress=step)
        step("all runs")
        estimator = average(counts_of(runs), runs["target"].to_numpy(dtype=float))
    except ValueError as error:
        raise MixoptError(f"the runs of weight decay {decay:g} can't be fitted: {error}") from None
    return GroupFit(
        weight_decay=decay,
        runs=len(runs),
        scores=scores,
        held_out=held_out,
        forms={name: FormFit(weight, estimator.values_[name]) for name, weight in estimator.forms_.items()},
        r_star=r_stars(estimator),
        curves=return_curves(estimator, runs, level=LEVEL, refits=N_REFITS),
        contours=contours(estimator, runs),
        estimator=estimator.to_dict(refits=N_REFITS),
    )


def r_stars(estimator: RepetitionRegressor) -> list[ProfiledRStar]:
    """R* of every form that has one, with its profile."""
    found = []
    for form, weight in estimator.forms_.items():
        if "r_star_d" not in estimator.values_[form]:
            continue
        profile = estimator.profile("r_star_d", level=LEVEL, form=form)
        kept = np.isfinite(profile.rise[0]) & np.isfinite(profile.value[0])
        value, rise = profile.value[0][kept][:MAX_PROFILE_POINTS], profile.rise[0][kept][:MAX_PROFILE_POINTS]
        found.append(
            ProfiledRStar(
                form=form,
                weight=weight,
                value=float(value[int(np.argmin(rise))]),
                low=None if profile.open_low[0] else float(profile.low[0]),
                high=None if profile.open_high[0] else float(profile.high[0]),
                profile=Profile(value.tolist(), rise.tolist()),
            )
        )
    return sorted(found, key=lambda row: -row.weight)


def fit_text(fit: RepetitionFit) -> str:
    """Held-out errors in a line."""
    parts = [
        f"weight decay {group.weight_decay:g}: {loss(group.score(INSIDE))} (best form: {group.best_form(INSIDE)})"
        for group in fit.arms
    ]
    return f"RMSE, nats/token, of the average of forms at {'; '.join(parts)}"
