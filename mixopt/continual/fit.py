"""Predictors of domain and general loss as functions of size, tokens and the domain's share, fitted to runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mixopt.continual.config import ContinualStudy
from mixopt.continual.design import REPEAT
from mixopt.continual.results import LOSSES, Evidence, Noise, StudyFacts
from mixopt.continual.runs import END, ContinuationTable
from mixopt.errors import MixoptError
from mixopt.runs.continual import ContinualRuns, Floats
from mixopt.serialization import Json, cached, digest, remake, restoring
from mixopt.study.kind import Session
from mixopt.study.progress import Progress
from mixopt.threads import on_one_thread
from mixopt.version import __version__

BLEND = "blend"  # laws and curves weighted by held-out errors, each loss for itself: what is used unless named
STORED = 1  # version of fits/continual.json; rises when older files no longer do
MIN_SHARES = 3  # of one size and token count; fewer say nothing of a curve


class Predictor(Protocol):
    """One loss: X (n, 3) is parameters, tokens, the share of the loss's own text."""

    def predict(self, X: Floats) -> Floats:
        """(n,) nats/token."""
        ...

    def draws(self, X: Floats, n: int, *, random_state: int | None) -> Floats:
        """(n_draws, n): bootstrap draws of losses, a row a draw."""
        ...

    def start_at(self, params: Floats) -> Floats:
        """The loss before continuing at sizes (n,), nan where unknown."""
        ...

    def law_cautions(self) -> list[str]:
        """What the fitted laws predict that no such loss does, in sentences."""
        ...

    def to_dict(self) -> Json: ...


@dataclass(frozen=True, eq=False)
class ContinualFit:
    """Predictors of both losses, and the runs that they were fitted to. seed: of the draws. of: one of `LOSSES`."""

    runs: ContinualRuns
    domain: Predictor
    general: Predictor
    seed: int = 0

    def loss(self, of: str, params: Floats, tokens: Floats, share: Floats) -> Floats:
        """Nats/token in the common shape of the counts and the domain's share."""
        shape, X = _stacked(of, params, tokens, share)
        return getattr(self, of).predict(X).reshape(shape)

    def draws(self, of: str, params: Floats, tokens: Floats, share: Floats, n: int) -> Floats:
        """(n, points) of flat inputs. Draws of the two losses are independent."""
        _, X = _stacked(of, params, tokens, share)
        return getattr(self, of).draws(X, n, random_state=2 * self.seed + LOSSES.index(of))

    def start(self, params: Floats) -> Floats:
        """The general loss before continuing, in the shape of params."""
        params = np.asarray(params, dtype=float)
        return np.asarray(self.general.start_at(params.reshape(-1))).reshape(params.shape)


def _stacked(of: str, params: Floats, tokens: Floats, share: Floats) -> tuple[tuple[int, ...], Floats]:
    own = np.clip(share if of == "domain" else 1 - np.asarray(share), 0.0, 1.0)
    given = np.broadcast_arrays(*(np.asarray(x, dtype=float) for x in (params, tokens, own)))
    return given[0].shape, np.column_stack([x.reshape(-1) for x in given])


@on_one_thread
def fit_continual(
    runs: ContinualRuns, *, law: str = BLEND, seed: int = 0, progress: Progress | None = None
) -> ContinualFit:
    """Fits both losses. law: `BLEND`, or one law or baseline for both, by name.

    Raises MixoptError for laws that there are none of, and for runs that allow no fit.
    """
    fitted = {}
    for n, of in enumerate(LOSSES):
        if progress is not None:
            progress.update(n, f"{of} loss")
        X, y = runs.table(of)
        try:
            fitted[of] = predictor(law, seed).fit(X, y)
        except ValueError as error:
            raise MixoptError(f"{runs.name}: the {of} loss can't be fitted: {error}") from error
    return ContinualFit(runs, **fitted, seed=seed)


def predictor(law: str, seed: int) -> Any:
    """An estimator to fit. Raises MixoptError for a law that there is none of."""
    from regressors.estimators.continual import BASELINES, ContinualRegressor
    from regressors.estimators.continual_ensemble import ContinualEnsembleRegressor
    from regressors.laws.continual import CONTINUAL_LAWS

    choices = [BLEND, *(name for name in CONTINUAL_LAWS if not name.startswith("cross")), *BASELINES]
    if law not in choices:
        raise MixoptError(f"--law {law}: there is no such law: choose from {', '.join(choices)}")
    blended = law == BLEND
    return ContinualEnsembleRegressor(random_state=seed) if blended else ContinualRegressor(law, random_state=seed)


def evidence(fit: ContinualFit) -> dict[str, Evidence]:
    """How each loss is predicted: by what, with which held-out errors, and what its law warns of."""
    found = {}
    for of, column in zip(LOSSES, fit.runs.names, strict=True):
        model = getattr(fit, of)
        weights = dict(getattr(model, "weights_", {}))
        found[of] = Evidence(
            column=column,
            law=getattr(model, "law", BLEND if weights else type(model).__name__),
            weights=weights,
            held_out={kind: dict(errors) for kind, errors in getattr(model, "heldout_", {}).items()},
            cautions=model.law_cautions(),
        )
    return found


def is_constant(runs: ContinualRuns, key: str) -> bool:
    """Whether all runs have one size, or one token count, so that nothing is known of others."""
    low, high = runs.ends(key)
    return high / low < 1.01


class StoredFit(StudyFacts, kw_only=True):
    """fits/continual.json. domain, general: the fitted estimators."""

    losses: dict[str, Evidence]
    domain: Json
    general: Json


def as_runs(table: ContinuationTable, study: ContinualStudy) -> ContinualRuns:
    """The ends of continuations, and each size's start, as `mixopt plan cpt` reads them from a table.

    Raises MixoptError where too few shares have finished.
    """
    ends = table.ends
    shares = len(set(ends["share"].tolist()))
    if shares < MIN_SHARES:
        raise MixoptError(f"{study.name}: {shares} shares finished without divergence: train {MIN_SHARES} or more")
    columns = ends[["params", "tokens", "share", "domain_loss", "general_loss"]].to_numpy(dtype=float).T
    return ContinualRuns(
        study.name,
        *columns,  # in the order of the record's fields
        run=[str(run) for run in ends["run_id"]],  # every end is a run of its own
        starts={size: (domain, general) for size, domain, general in table.starts.to_numpy(dtype=float).tolist()},
        names=(", ".join(table.domain_loss), ", ".join(table.general_loss)),
    )


def fit_study(session: Session, table: ContinuationTable) -> ContinualFit:
    """Both losses fitted to the continuations, kept in fits/continual.json; as before where the runs are."""
    from regressors import from_dict

    study, folder, progress = session.study, session.folder, session.progress
    runs = as_runs(table, study)
    progress.stage("fit", total=2)

    def compute() -> Json:
        fit = fit_continual(runs, seed=study.seed, progress=progress)
        progress.finish(f"both losses, {len(runs.share)} continuations")
        return StoredFit(
            mixopt=__version__,
            study=study.name,
            texts={"domain": table.domain_loss, "general": table.general_loss},
            losses=evidence(fit),
            noise=noise_of(table),
            left_out=table.left_out,
            domain=fit.domain.to_dict(),
            general=fit.general.to_dict(),
        ).to_json()

    key = cache_key(table, study)
    path = folder.fits / "continual.json"
    stored = cached(path, key, compute, on_hit=lambda: progress.finish("as before"))
    with restoring(path, remake("fit")):
        return ContinualFit(runs, from_dict(stored["domain"]), from_dict(stored["general"]), study.seed)


def cache_key(table: ContinuationTable, study: ContinualStudy) -> str:
    """Of everything that the fit depends on."""
    return digest([STORED, __version__, study.seed, table.frame.to_csv(index=False)])


def noise_of(table: ContinuationTable) -> Noise | None:
    """How much continuations of one plan differ between seeds; None without repeats."""
    ends = table.kept.loc[table.kept["point"] == END]
    repeats = ends.loc[ends["role"] == REPEAT]
    if not len(repeats):
        return None
    plan = repeats.iloc[0][["share", "params", "tokens"]]
    rows = ends.loc[(ends[list(plan.index)] == plan).all(axis=1)]
    if len(rows) < 2:
        return None
    return Noise(
        runs=len(rows),
        **plan.astype(float).to_dict(),
        domain=float(np.std(rows["domain_loss"], ddof=1)),
        general=float(np.std(rows["general_loss"], ddof=1)),
    )
