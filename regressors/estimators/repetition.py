"""Laws of repeated text, averaged by their held-out errors on runs of one study.

No form of repetition is the right one. Which parameters the runs decide differs from table to table, and forms that
agree where runs were trained part ways beyond. So forms are averaged, each with weak priors, by their errors on runs
left out: at random, and by whole regions (the most epochs, the largest models, the least text a parameter), where a
form that explodes loses its weight.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any, Self

import numpy as np
from sklearn.utils import Tags, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from regressors.estimators.base import BaseRegressor
from regressors.evaluation.cross_validation import Split, by_region, by_shuffled_mixture, configurations
from regressors.fitting.levenberg_marquardt import levenberg_marquardt
from regressors.fitting.posterior import Criterion, Posterior
from regressors.fitting.solve import Fit, build_posterior, in_units, solve
from regressors.fitting.uncertainty import Identified, Profile, bootstrap_z, identify, profile, resample
from regressors.law import Array, Law
from regressors.laws.overfitting import FORMS
from regressors.laws.repetition import COUNTS

FOLDS = 5
REGION = 0.2  # share of the runs in a region left out
MIN_RUNS = 6  # that must stay to fit a form to
MAX_ERROR = 1.0  # of ln loss: an error beyond it is no worse for being larger
EXPONENT = 2.0  # weights go by mean squared error to minus this
MIN_WEIGHT = 0.02  # a weight below it is 0


@dataclass(frozen=True)
class Refit:
    """One form with one set of values: a loss to plan with."""

    form: str
    values: Mapping[str, Array]  # in the fit's units, (...) each
    units: Mapping[str, float]

    def loss(self, params: Array | float, tokens: Array | float, unique: Array | float) -> Array:
        """Nats/token at counts above 0 of one shape, real or complex; values' leading axes come first."""
        given = np.broadcast_arrays(params, tokens, unique)
        flat = {name: a.ravel() for name, a in zip(COUNTS, given, strict=True)}
        loss = FORMS[self.form].formula(*in_units(FORMS[self.form], flat, self.units), **self.values)
        return loss.reshape(*loss.shape[:-1], *given[0].shape)


class RepetitionRegressor(BaseRegressor):
    """The loss of runs that repeat their text, as a weighted average of several fitted forms.

    X: (n_runs, 3) parameters, training tokens and unique tokens, counts above 0; tokens below unique repeat nothing.
    y: (n_runs,) losses above 0, nats/token, nan where missing; a run of sample weight 0 is none. Residuals are of ln
    loss; runs of the same counts are resampled and left out together.
    forms: names in `regressors.laws.overfitting.FORMS`. huber: residuals beyond so many noise levels count linearly.
    n_starts: how many each form gets. random_state: draws starts and folds.
    After fit: forms_ {form: weight}, errors_ {form: {split: root mean squared error of ln loss on runs left out}},
    splits_ (what was left out; not stored),
    values_ {form: {parameter: number}} with amplitudes in nats/token at inputs of 1, noise_ {form: of ln loss}. Runs
    beyond those fitted are predicted by the same average; `outside` says which they are.
    """

    stored_keys = frozenset({"options", "weights", "errors", "noise", "hull", "found", "refits"})
    n_features_in_: int  # scikit-learn's name

    def __init__(self, forms=tuple(FORMS), *, huber=2.0, n_starts=3, random_state=0):
        self.forms = forms
        self.huber = huber
        self.n_starts = n_starts
        self.random_state = random_state

    def fit(self, X: Array, y: Array, sample_weight: Array | None = None) -> Self:
        """Learns from finished runs. Raises ValueError for counts or losses that aren't above 0, or fewer than 2."""
        unknown = [name for name in self.forms if name not in FORMS]
        if unknown or not self.forms:
            raise ValueError(f"forms that don't exist: {unknown}, of {len(self.forms)}: choose from {sorted(FORMS)}")
        X = self._checked(X, reset=True)
        y = self._checked_losses(y, len(X)).reshape(-1)
        weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
        known = np.isfinite(y) & (weight > 0)
        if known.sum() < 2:
            raise ValueError(f"a fit needs 2 runs with a loss or more, n_samples = {known.sum()}")
        self._runs = X[known], y[known], weight[known]
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        self._fits = {name: self._fitted(FORMS[name], rng) for name in self.forms}
        self._found = {name: Refit(name, f.values, f.units) for name, (_, f) in self._fits.items()}
        self.noise_ = {name: float(f.noise[0]) for name, (_, f) in self._fits.items()}
        self.errors_ = self._held_out_errors(rng)
        self.forms_ = weights(self.errors_)
        self.hull_ = np.stack([bound(directions(self._runs[0]), axis=0) for bound in (np.min, np.max)])
        self._stored: list[Refit] = []
        return self

    def _fitted(self, law: Law, rng: np.random.Generator) -> tuple[Posterior, Fit]:
        X, y, weight = self._runs
        criterion = Criterion(huber=self.huber, log=True)
        inputs = dict(zip(COUNTS, X.T, strict=True))
        posterior, units = build_posterior(law, inputs, y[:, None], criterion=criterion, weights=weight)
        return posterior, solve(posterior, units, n_starts=self.n_starts, rng=rng)

    def _held_out_errors(self, rng: np.random.Generator) -> dict[str, dict[str, float]]:
        """Every form's errors on runs left out, all splits in one batch: a run left out has a weight of 0."""
        X, y, _ = self._runs
        self.splits_ = splits = splits_of(X, rng)
        errors: dict[str, dict[str, float]] = {name: {} for name in self._fits}
        if not splits:
            return errors
        stay = np.array([split.fitted for split in splits], dtype=float)
        for name, (posterior, found) in self._fits.items():
            z = bootstrap_z(posterior, found, stay)[0]
            values = posterior.space.values(z, np.zeros(len(z), dtype=int))
            with np.errstate(all="ignore"):
                off = np.log(posterior.law.formula(*posterior.rows.inputs, **values) / y)
            errors[name] = errors_by_kind(splits, [off[k][split.predicted] for k, split in enumerate(splits)])
        return errors

    def predict(self, X: Array) -> Array:
        """Losses at X (n_points, 3): (n_points,), nats/token."""
        check_is_fitted(self)
        X = self._checked(X, reset=False)
        return self.loss(*X.T)

    def loss(self, params: Array | float, tokens: Array | float, unique: Array | float) -> Array:
        """Nats/token at counts above 0, in their common shape, real or complex: exact derivatives by complex steps."""
        check_is_fitted(self)
        logs = [
            weight * np.log(self._found[name].loss(params, tokens, unique)[0])
            for name, weight in self.forms_.items()
            if weight > 0
        ]
        return np.exp(np.sum(logs, axis=0))

    def outside(self, X: Array) -> Array:
        """Which points (n_points, 3) lie beyond the fitted runs, (n_points,) bool: in size, unique tokens, epochs, or a
        product or ratio of two of them. What is predicted there is extrapolated."""
        check_is_fitted(self)
        place = directions(self._checked(X, reset=False))
        low, high = self.hull_
        return ((place < low - 1e-9) | (place > high + 1e-9)).any(axis=1)

    def refits(self, n: int = 200, *, random_state: int | np.random.RandomState | None = 0) -> list[Refit]:
        """So many losses to plan with, each refitted to configurations drawn again and to priors moved at random, its
        form drawn by weight: how they differ is the uncertainty of the values and of the form."""
        if not self._fits:
            if n > len(self._stored):
                raise ValueError(f"{len(self._stored)} refits were stored with these numbers, not {n}: fit again")
            return self._stored[:n]
        return [
            Refit(part.form, {name: value[k : k + 1] for name, value in part.values.items()}, part.units)
            for k, part in self._refitted(n, random_state)
        ]

    def draws(self, X: Array, n: int = 200, *, random_state: int | np.random.RandomState | None = 0) -> Array:
        """Predictions of `refits` at X (n_points, 3): (n, n_points)."""
        X = self._checked(X, reset=False)
        if not self._fits:
            return np.concatenate([refit.loss(*X.T) for refit in self.refits(n)]).reshape(n, len(X))
        rows = self._refitted(n, random_state)
        at = {id(part): part.loss(*X.T) for part in {id(part): part for _, part in rows}.values()}
        return np.array([at[id(part)][k] for k, part in rows]).reshape(n, len(X))

    def _refitted(self, n: int, random_state: Any) -> list[tuple[int, Refit]]:
        """Each draw's place in the batch of its form."""
        check_is_fitted(self)
        rng = np.random.default_rng(check_random_state(random_state).randint(2**31))
        X = self._runs[0]
        counts = resample(len(X), n, rng, configurations(X))
        chosen = rng.choice(len(self.forms_), size=n, p=list(self.forms_.values()))
        out: list[tuple[int, Refit]] = [(0, next(iter(self._found.values())))] * n
        for j, name in enumerate(self.forms_):
            drawn = np.flatnonzero(chosen == j)
            if not len(drawn):
                continue
            posterior, found = self._fits[name]
            z = drawn_z(posterior, found, counts[drawn], rng)
            part = Refit(name, posterior.space.values(z, np.zeros(len(z), dtype=int)), found.units)
            for k, draw in enumerate(drawn):
                out[draw] = k, part
        return out

    def profile(self, name: str = "r_star_d", *, level: float = 0.8, form: str | None = None) -> Profile:
        """The values of a parameter that the runs don't rule out, all others of its form fitted again, with no prior on
        it. form: None for the heaviest one that has it. Raises ValueError where none has, or without the runs."""
        having = [f for f in self._by_weight() if name in [p.name for p in FORMS[f].params]]
        if not having or form not in (None, *having):
            raise ValueError(f"no fitted form {form or ''} has a parameter {name!r}: {', '.join(having) or 'none'}")
        posterior, _ = self._with_runs()[form or having[0]]
        free = replace(
            posterior.law,
            params=tuple(
                replace(p, prior=replace(p.prior, sd=inf)) if p.name == name else p for p in posterior.law.params
            ),
        )
        posterior, found = self._fitted(free, np.random.default_rng(0))
        return profile(posterior, found, name, level=level)

    def profiles(self, name: str = "r_star_d", *, level: float = 0.8) -> dict[str, Profile]:
        """The profile of a parameter in every form that has it and a weight, heaviest first. Their intervals may lie
        apart: a form's own interval takes the form for true."""
        forms = [f for f in self._by_weight() if self.forms_[f] > 0 and name in [p.name for p in FORMS[f].params]]
        return {form: self.profile(name, level=level, form=form) for form in forms}

    def identify(self) -> dict[str, Identified]:
        """What the runs say about each parameter of each form; see `regressors.fitting.uncertainty.identify`."""
        return {name: identify(posterior, found) for name, (posterior, found) in self._with_runs().items()}

    def _by_weight(self) -> Sequence[str]:
        check_is_fitted(self)
        return sorted(self.forms_, key=lambda name: -self.forms_[name])

    def _with_runs(self) -> dict[str, tuple[Posterior, Fit]]:
        check_is_fitted(self)
        if not self._fits:
            raise ValueError(f"{type(self).__name__} was loaded from its numbers and has no runs: fit it")
        return self._fits

    @property
    def values_(self) -> dict[str, dict[str, float]]:
        """Every form's values, amplitudes in nats/token at inputs of 1."""
        check_is_fitted(self)
        out = {}
        for name, found in self._found.items():
            published = FORMS[name].published
            values = published(found.values, found.units) if published else found.values
            out[name] = {key: float(value[0]) for key, value in values.items()}
        return out

    def _checked(self, X: Any, *, reset: bool) -> Array:
        X = np.asarray(validate_data(self, X, dtype=np.float64, reset=reset))
        if X.shape[1] != len(COUNTS):
            raise ValueError(f"X has {X.shape[1]} columns, the forms take {len(COUNTS)}: {', '.join(COUNTS)}")
        if not (X > 0).all():
            raise ValueError("Negative values in data: parameters, tokens and unique tokens are above 0")
        return X

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = False
        return tags

    def to_dict(self, *, refits: int = 0) -> dict[str, Any]:
        """The fitted estimator as JSON-able numbers and text, with so many `refits` to plan with."""
        check_is_fitted(self)
        return {
            "estimator": self.stored_name,
            "options": self._stored_options(),
            "weights": self.forms_,
            "errors": self.errors_,
            "noise": self.noise_,
            "hull": self.hull_.tolist(),
            "found": {name: refit_to_dict(found) for name, found in self._found.items()},
            "refits": [refit_to_dict(refit) for refit in self.refits(refits)] if refits else [],
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuilds what `to_dict` gave. Raises ValueError for other or incomplete numbers."""
        self = cls._from_options(stored)
        self.forms = tuple(self.forms)  # JSON knows lists only
        self.n_features_in_ = len(COUNTS)
        self._fits = {}  # the runs aren't stored
        self.forms_, self.errors_, self.noise_ = stored["weights"], stored["errors"], stored["noise"]
        self.hull_ = np.array(stored["hull"])
        self._found = {name: refit_from_dict(found) for name, found in stored["found"].items()}
        self._stored = [refit_from_dict(refit) for refit in stored["refits"]]
        return self


def drawn_z(posterior: Posterior, found: Fit, counts: Array, rng: np.random.Generator) -> Array:
    """The optimum for each draw's counts (draws, n_runs), its priors moved at random as well: (draws, n_params).

    Where the runs say nothing of a parameter its draws are the prior's; resampled runs alone would leave it unmoved
    (randomize-then-optimize, Bardsley et al. 2014).
    """
    again = posterior.resampled(counts)
    moved = rng.standard_normal((len(counts), found.z.shape[1])) * again.space.precision
    again.space.centre = again.space.centre + again.space.sd * moved
    return levenberg_marquardt(again, found.z - moved, np.arange(len(counts)), tolerance=1e-3).z + moved


def refit_to_dict(refit: Refit) -> dict[str, Any]:
    """JSON-able numbers and text."""
    values = {name: np.asarray(value).tolist() for name, value in refit.values.items()}
    return {"form": refit.form, "values": values, "units": dict(refit.units)}


def refit_from_dict(stored: dict[str, Any]) -> Refit:
    """Rebuilds what `refit_to_dict` gave."""
    values = {name: np.array(value, dtype=float) for name, value in stored["values"].items()}
    return Refit(stored["form"], values, stored["units"])


def directions(X: Array) -> Array:
    """Logs of size, unique tokens and epochs, and of their products and ratios in pairs: (n_runs, 9)."""
    params, tokens, unique = np.log(X).T
    unique = np.minimum(tokens, unique)
    sides = (params, unique, tokens - unique)
    pairs = [(sides[i], sides[j]) for i in range(3) for j in range(i)]
    return np.column_stack([*sides, *(a + b for a, b in pairs), *(a - b for a, b in pairs)])


def splits_of(X: Array, rng: np.random.Generator) -> list[Split]:
    """Splits of runs, none where they are too few: "folds" at random, and the regions of most "epochs", largest "size"
    and most "strain", parameters a unique token."""
    group = configurations(X)
    folds = by_shuffled_mixture(group, folds=FOLDS, rng=rng) if group.max() + 1 >= MIN_RUNS + 2 else []
    params, tokens, unique = X.T
    unique = np.minimum(tokens, unique)
    measures = {"epochs": tokens / unique, "size": params, "strain": params / unique}
    return [*folds, *by_region(measures, group, share=REGION, least=MIN_RUNS)]


def errors_by_kind(splits: Sequence[Split], off: Sequence[Array]) -> dict[str, float]:
    """Root mean squared errors by kind of split, of errors of ln loss, (n_predicted,) a split, none above MAX_ERROR."""
    found: dict[str, list[Array]] = {}
    for split, one in zip(splits, off, strict=True):
        found.setdefault(split.kind, []).append(np.minimum(np.abs(np.nan_to_num(one, nan=inf)), MAX_ERROR) ** 2)
    return {kind: float(np.sqrt(np.concatenate(squares).mean())) for kind, squares in found.items()}


def overall_error(by_kind: Mapping[str, float]) -> float | None:
    """Root mean squared error over folds and regions alike, of errors by kind of split; None where there are none."""
    folds = [error**2 for kind, error in by_kind.items() if kind == "folds"]
    regions = [error**2 for kind, error in by_kind.items() if kind != "folds"]
    parts = [np.mean(part) for part in (folds, regions) if part]
    return float(np.sqrt(np.mean(parts))) if parts else None


def weights(errors: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """Each form's weight, together 1: by its mean squared error, on folds and on regions alike.

    Equal ones where no error is known.
    """
    overall = [overall_error(by_kind) for by_kind in errors.values()]
    score = np.array([1.0 if error is None else max(error**2, 1e-12) for error in overall])
    weight = (score.min() / score) ** EXPONENT
    weight = np.where(weight < MIN_WEIGHT * weight.sum(), 0.0, weight)
    return dict(zip(errors, (weight / weight.sum()).tolist(), strict=True))
