"""Stage fit of a study of repetition: the law's forms judged and fitted, one ladder a weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.repetition.config import RepetitionStudy
from mixopt.repetition.curves import contours, curves
from mixopt.repetition.runs import Frame, Measured, enough_to_fit
from mixopt.repetition.scores import FOLDS, INSIDE, best_of, counts_of, judge, noise_of
from mixopt.serialization import cached, digest, nan_to_null
from mixopt.study.layout import Folder
from mixopt.study.progress import Progress
from mixopt.version import __version__

if TYPE_CHECKING:
    from mixopt.repetition.scores import Predict
    from regressors.estimators.repetition import RepetitionRegressor
    from regressors.laws.presets import Preset

AVERAGE = "average"  # of all forms, by what they predict of runs left out: the one that answers
LEVEL = 0.8  # of all intervals
REFITS = 60  # to configurations drawn again: how they differ is the interval
STEPS = FOLDS + 3  # of work a ladder: its folds, both ends held out, and all of it
STORED = 1  # of what fits/ holds; rises when older files no longer do
MOST_POINTS = 60  # of a profile that is kept


@dataclass(frozen=True)
class Arm:
    """The ladder of one weight decay, fitted."""

    weight_decay: float
    estimator: RepetitionRegressor
    record: dict[str, Any]


@dataclass(frozen=True)
class RepetitionFit:
    """record: the content of fits/repetition.json; arms: weakest weight decay first."""

    record: dict[str, Any]
    arms: list[Arm]


def average(seed: int) -> RepetitionRegressor:
    from regressors.estimators.repetition import RepetitionRegressor

    return RepetitionRegressor(random_state=seed)


def predictors(estimator: RepetitionRegressor) -> dict[str, Predict]:
    """The average's predictions, and those of each of its forms alone, by name."""
    return {AVERAGE: estimator.predict} | {form: alone(estimator, form) for form in estimator.forms_}


def alone(estimator: RepetitionRegressor, form: str) -> Predict:
    """One form of a fitted average as a function of (n, 3) params, tokens and unique."""
    preset = preset_of(estimator, form)

    def predict(X: Any) -> Any:
        with np.errstate(all="ignore"):
            return preset.loss(*np.asarray(X, dtype=float).T)

    return predict


def preset_of(estimator: RepetitionRegressor, form: str, note: str = "") -> Preset:
    """One form of a fitted average with its values, for counts as they are."""
    from regressors.laws.overfitting import FORMS
    from regressors.laws.presets import Preset

    return Preset(form, FORMS[form], estimator.values_[form], FORMS[form].source, note)


def fit_cells(measured: Measured, study: RepetitionStudy, folder: Folder, progress: Progress) -> RepetitionFit:
    """Judges every form, fits the average to every ladder and writes fits/repetition.json; as before if the runs are.

    Raises MixoptError for runs that tell nothing of repetition.
    """
    progress.stage("fit", total=STEPS * len(measured.decays))

    def compute() -> dict[str, Any]:
        enough_to_fit(measured, folder.runs)
        ladders = enumerate(measured.ladders())
        arms = [fit_arm(decay, cells, study, progress, done=STEPS * n) for n, (decay, cells) in ladders]
        progress.finish(told(arms))
        return {
            "mixopt": __version__,
            "study": study.name,
            "target": measured.target,
            "level": LEVEL,
            "scale": scale_of(measured.cells),
            "arms": [arm.record for arm in arms],
            "noise": noise_of(measured.kept),
            "left_out": measured.left_out,
        }

    key = digest([STORED, __version__, study.seed, measured.target, measured.frame.to_csv(index=False)])
    # what a later call will find: refits are those that were stored
    return loaded(cached(folder.fits / "repetition.json", key, compute, on_hit=lambda: progress.finish("as before")))


def fit_arm(decay: float, cells: Frame, study: RepetitionStudy, progress: Progress, *, done: int) -> Arm:
    """One ladder: held-out scores, the fit to all of its cells, what follows from it. done: steps before it."""
    steps = count(done)

    def tell(what: str) -> None:
        progress.update(next(steps), f"{what}, weight decay {decay:g}")

    try:
        scores, kept = judge(cells, lambda X, y: predictors(average(study.seed).fit(X, y)), seed=study.seed, tell=tell)
        tell("all cells")
        estimator = average(study.seed).fit(counts_of(cells), cells["target"].to_numpy(dtype=float))
    except ValueError as error:
        raise MixoptError(f"the runs of weight decay {decay:g} can't be fitted: {error}") from None
    record = {
        "weight_decay": decay,
        "runs": len(cells),
        "scores": scores,
        "held_out": {"run_id": cells["run_id"].tolist(), "measured": cells["target"].tolist(), "predicted": kept},
        "forms": {name: {"weight": w, "values": estimator.values_[name]} for name, w in estimator.forms_.items()},
        "r_star": r_stars(estimator),
        "curves": curves(estimator, cells, level=LEVEL, refits=REFITS),
        "contours": contours(estimator, cells),
        "estimator": estimator.to_dict(refits=REFITS),
    }
    return Arm(decay, estimator, nan_to_null(record))


def r_stars(estimator: RepetitionRegressor) -> list[dict[str, Any]]:
    """R* of every form that has one, with its profile: rise is twice the objective above its minimum."""
    found = []
    for form, weight in estimator.forms_.items():
        if "r_star_d" not in estimator.values_[form]:
            continue
        profile = estimator.profile("r_star_d", level=LEVEL, form=form)
        kept = np.isfinite(profile.rise[0]) & np.isfinite(profile.value[0])
        value, rise = profile.value[0][kept][:MOST_POINTS], profile.rise[0][kept][:MOST_POINTS]
        found.append(
            {
                "form": form,
                "weight": weight,
                "value": float(value[int(np.argmin(rise))]),
                "low": None if profile.open_low[0] else float(profile.low[0]),
                "high": None if profile.open_high[0] else float(profile.high[0]),
                "profile": {"value": value.tolist(), "rise": rise.tolist()},
            }
        )
    return sorted(found, key=lambda row: -row["weight"])


def scale_of(cells: Frame) -> dict[str, list[float]]:
    """The lowest and highest counts of the cells that are fitted."""
    return {key: [float(cells[key].min()), float(cells[key].max())] for key in ("params", "tokens", "unique", "epochs")}


def loaded(record: dict[str, Any]) -> RepetitionFit:
    """The fit that a record holds."""
    from regressors.estimators.repetition import RepetitionRegressor

    arms = [Arm(arm["weight_decay"], RepetitionRegressor.from_dict(arm["estimator"]), arm) for arm in record["arms"]]
    return RepetitionFit(record, arms)


def told(arms: list[Arm]) -> str:
    """Held-out errors in a line."""
    said = []
    for arm in arms:
        row = next(r for r in arm.record["scores"] if r["form"] == AVERAGE and r["case"] == INSIDE)
        best = best_of(arm.record["scores"], INSIDE)
        error = "no score" if row["rmse"] is None else f"{row['rmse']:.3f}"
        said.append(f"weight decay {arm.weight_decay:g}: {error} (best form: {best})")
    return f"held-out RMSE, nats/token, of the average of forms at {'; '.join(said)}"
