"""Scaling laws fitted to a user's own runs of several sizes and token counts, with their cross-validation errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixopt.plan.presets import AVERAGE, form, surface_of
from mixopt.plan.surface import Loss, Surface, losses
from mixopt.runs.extrapolation import fitted_scales
from mixopt.runs.scaling import Array, Runs
from mixopt.serialization import Record, nan_to_null
from mixopt.threads import on_one_thread
from regressors.laws.presets import PRESETS

if TYPE_CHECKING:
    from mixopt.study.progress import Progress
    from regressors.estimators.repetition import RepetitionRegressor
    from regressors.estimators.scaling import ScalingRegressor
    from regressors.evaluation.cross_validation import Split

ONCE = "chinchilla"  # judged beside the average where no run repeats its text
DRAWS = 60  # refits that intervals are made of
LEVEL = 0.8
FEW = 0.02  # share of the runs whose influence on the answer is measured
MAX_RATIO = 1.1  # of held-out errors that don't tell two forms apart
MAX_NARROWED = 0.5  # of a prior's width: from there on the runs say more of an exponent than the prior does
MAX_OFF = 2.0  # widths of the prior, which published exponents lie within
MIN_EXPONENT = 1e-6  # a refit may end at 0, which has no logarithm


class FormErrors(Record):
    """Root mean squared errors of ln loss on runs left out, by split; weight: in the average."""

    form: str
    weight: float | None
    errors: dict[str, float]


class ProfilePoint(Record):
    """rise: of the objective where R* is held at the value and all else is fitted again."""

    value: float
    rise: float


class RStar(Record):
    """The profile of R*_D, the epochs after which a repeat is worth 1/e, by a form, which it takes for true.

    low, high: the ends of its interval; None where the profile has no number, open where it never rises enough.
    """

    form: str
    weight: float
    low: float | None
    high: float | None
    profile: list[ProfilePoint]
    level: float
    open_low: bool
    open_high: bool


class LawFit(Record):
    """How well the forms predict runs that they were not fitted to, and what these know of R*, heaviest form first.

    why: which form leads, and by which of these errors.
    """

    runs: int
    name: str
    repeats: bool
    judged: list[FormErrors]
    r_star: list[RStar] | None = None
    why: str = ""


@dataclass(frozen=True)
class Chosen:
    """The form that leads, `ONCE` or `AVERAGE`, and the held-out errors that decide it."""

    form: str
    average: RepetitionRegressor
    judged: list[FormErrors]
    why: str


def chosen_form(runs: Runs, *, seed: int = 0) -> Chosen:
    """Fits the average of forms and judges it, and Chinchilla's law where no run repeats its text."""
    from regressors.estimators.repetition import RepetitionRegressor, overall_error

    average = RepetitionRegressor(random_state=seed).fit(runs.X, runs.loss)
    judged = [FormErrors(name, weight, average.errors_[name]) for name, weight in average.forms_.items()]
    if runs.repeats:
        return Chosen(AVERAGE, average, judged, "The average leads: its weights go by these errors.")
    errors = chinchilla_errors(runs, average.splits_, seed)
    judged = [FormErrors(ONCE, None, errors), *judged]
    own, others = overall_error(errors), averaged_error(judged)
    if own is None or others is None:
        return Chosen(ONCE, average, judged, f"{ONCE} leads: the runs are too few to leave any out.")
    known = identified(runs, seed)
    leads = ONCE if own <= others * (MAX_RATIO if known else 1 / MAX_RATIO) else AVERAGE
    why = (
        f"{leads} leads: errors over all splits are {own:.4f} of {ONCE} and {others:.4f} of the average; where they "
        f"differ by less than a tenth, {ONCE}, the simpler, leads if the runs alone settle its exponents"
        f"{', which they do' if known else ', which they do not'}."
    )
    return Chosen(leads, average, judged, why)


def identified(runs: Runs, seed: int) -> bool:
    """Whether the runs alone settle Chinchilla's exponents: refits scatter by far less than published exponents do, and
    lie among these. Elsewhere a fit without priors extrapolates badly, which held-out runs within the table can't show.
    """
    from regressors.laws.overfitting import FORMS

    draws = chinchilla_fit(runs, seed)[1]
    priors = {param.name: param.prior for param in FORMS["data-decay"].params}
    for name in ("alpha", "beta"):
        values = np.log(np.maximum(draws[name][0], MIN_EXPONENT))
        centre, sd = priors[name].centre, priors[name].sd
        assert isinstance(centre, float) and isinstance(sd, float)
        if np.std(values) > MAX_NARROWED * sd or abs(np.median(values) - centre) > MAX_OFF * sd:
            return False
    return True


@on_one_thread
def fitted(runs: Runs, progress: Progress, *, seed: int = 0) -> tuple[list[Surface], LawFit]:
    """The forms fitted to the runs, the leading one first, and how well they predict."""
    from regressors.estimators.repetition import errors_by_kind

    progress.stage("fit")
    chosen = chosen_form(runs, seed=seed)
    average, judged = chosen.average, chosen.judged
    surfaces = of_average(runs, average, seed)
    if not runs.repeats:  # the forms of the average differ by their bounds only
        surfaces = [of_chinchilla(runs, seed), surfaces[0]][:: 1 if chosen.form == ONCE else -1]
    # for comparison, the published law that is nearest to such runs
    published = surface_of(PRESETS["data-constrained" if runs.repeats else ONCE])
    published = replace(published, name=f"{published.name}, published", level=None)
    off = np.log(published.loss(runs.params, runs.tokens, runs.unique) / runs.loss)
    errors = errors_by_kind(average.splits_, [off[split.predicted] for split in average.splits_])
    judged = [*judged, FormErrors(published.name, None, errors)]
    stars = r_stars(average) if runs.repeats else None
    progress.finish(f"{len(runs.loss)} runs of {runs.name}")
    return [*surfaces, published], LawFit(len(runs.loss), runs.name, runs.repeats, judged, stars, chosen.why)


def of_average(runs: Runs, average: RepetitionRegressor, seed: int) -> list[Surface]:
    """The average of the forms with refits of all of them, then every form that has a weight with refits of its own."""
    refits = average.refits(DRAWS, random_state=seed)
    members = [plain(refit.loss) for refit in refits]
    note = "several forms averaged by their held-out errors"
    surfaces = [surface(runs, AVERAGE, average.loss, members, note, allowed=f"{DRAWS} bootstrap refits")]
    for name, weight in average.forms_.items():
        if weight > 0:
            own = [plain(refit.loss) for refit in refits if refit.form == name]
            note = f"weight {weight:.0%} in the average"
            surfaces.append(surface(runs, name, form(name, average.values_[name]), own, note))
    return surfaces


def surface(runs: Runs, name: str, loss: Loss, members: Sequence[Loss], note: str, *, allowed: str = "") -> Surface:
    """A form fitted to the runs; members: its refits."""
    source = f"{len(runs.loss)} runs of {runs.name}"
    found = Surface(name, loss, source, note, tuple(members), allowed, LEVEL, runs.within(), made="runs")
    law = losses(found, runs.params, runs.tokens, runs.unique)
    return replace(found, fitted=fitted_scales(lambda X: law, runs.X[:, :2], runs.loss))


def plain(loss: Loss) -> Loss:
    """Without the first axis, which is 1 long."""
    return lambda params, tokens, unique: loss(params, tokens, unique)[0]


def chinchilla_fit(runs: Runs, seed: int) -> tuple[ScalingRegressor, dict[str, Array]]:
    """Chinchilla's law as it is published, least sum of Huber losses of ln loss, and refits to runs drawn again."""
    from regressors.estimators.scaling import ScalingRegressor

    X = runs.X[:, :2]
    fit = ScalingRegressor(random_state=seed).fit(X, runs.loss)
    groups = np.unique(X, axis=0, return_inverse=True)[1].reshape(-1)
    return fit, fit.bootstrap(DRAWS, groups=groups, random_state=seed)


def of_chinchilla(runs: Runs, seed: int) -> Surface:
    """That law as a surface, whose members are the refits."""
    from regressors.estimators.scaling import ScalingRegressor

    X = runs.X[:, :2]
    fit, draws = chinchilla_fit(runs, seed)
    refits = [{name: value[0, k] for name, value in draws.items()} for k in range(DRAWS)]
    loss = chinchilla_loss({name: value[0] for name, value in fit.scaled_.items()}, fit.units_)
    members = [chinchilla_loss(values, fit.units_) for values in refits]
    note = "Hoffmann et al. 2022, arXiv:2203.15556, fitted as published"
    found = surface(runs, ONCE, loss, members, note, allowed=f"{DRAWS} bootstrap refits")
    off = np.abs(np.log(fit.predict(X) / runs.loss))
    few = max(1, round(FEW * len(off)))
    rest = np.sort(np.argsort(off, kind="stable")[:-few])
    fewer = ScalingRegressor(random_state=seed).fit(X[rest], runs.loss[rest])
    without = chinchilla_loss({name: value[0] for name, value in fewer.scaled_.items()}, fewer.units_)
    which = f"the {few} of {len(off)} runs farthest from the law" if few > 1 else "the run farthest from the law"
    return replace(found, influence=(without, which))


def chinchilla_loss(values: Mapping[str, Array], units: Mapping[str, float]) -> Loss:
    """Of absolute counts, by the law's values in units of the runs."""
    from regressors.laws.scaling import chinchilla_published

    return replace(PRESETS[ONCE], values=chinchilla_published(values, units)).loss


def chinchilla_errors(runs: Runs, splits: Sequence[Split], seed: int) -> dict[str, float]:
    """Root mean squared errors of ln loss on the runs that each kind of split leaves out."""
    from regressors.estimators.repetition import errors_by_kind
    from regressors.estimators.scaling import ScalingRegressor
    from regressors.evaluation.cross_validation import predict_splits

    found = predict_splits(lambda: ScalingRegressor(random_state=seed), runs.X[:, :2], runs.loss, splits)
    return errors_by_kind(splits, [np.log(predicted[:, 0] / runs.loss[one.predicted]) for one, _, predicted in found])


def averaged_error(judged: Sequence[FormErrors]) -> float | None:
    """The error over all splits that an average of such forms has at most; None where no run could be left out."""
    from regressors.estimators.repetition import overall_error

    errors = [(form.weight, overall_error(form.errors)) for form in judged if form.weight]
    return sum(weight * error for weight, error in errors if error is not None) if all(e for _, e in errors) else None


def r_stars(average: RepetitionRegressor) -> list[RStar]:
    """The profile of R* by every form that has a weight, heaviest first."""
    stars = []
    for name, found in average.profiles("r_star_d", level=LEVEL).items():
        known = np.isfinite(found.value[0]) & np.isfinite(found.rise[0])
        points = list(map(ProfilePoint, found.value[0][known].tolist(), found.rise[0][known].tolist()))
        low, high = nan_to_null((found.low[0], found.high[0]))
        open_ends = bool(found.open_low[0]), bool(found.open_high[0])
        stars.append(RStar(name, average.forms_[name], low, high, points, LEVEL, *open_ends))
    return stars
