"""A fit as one JSON file: all that is needed to predict, and to see how it was made. Loading it runs no code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.runs.mixtures import as_shares
from mixopt.runs.objective import Target
from mixopt.runs.stored import PROBES, SAME, Stored, numbers, read_fit
from mixopt.runs.table import RunTable
from mixopt.search.simplex import distance_to_hull, nearest
from mixopt.serialization import Json, nan_to_null, restoring
from mixopt.threads import on_one_thread

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixopt.mixture.fit import Fitted
    from regressors import HeldOut

    Floats = NDArray[np.float64]

TRIALS = 1000  # mixtures that the search tries, as many as a study's
KIND, FORMAT = "mixopt fit", 1  # a file says both; the latter rises when older mixopts could no longer read it


@dataclass(frozen=True, eq=False, repr=False)
class StoredFit(Stored):
    """A fitted predictor of a target, with the evidence for it."""

    estimator: Any
    held_out: HeldOut

    @property
    def predictor(self) -> str:
        return str(self.record["predictor"])

    @property
    def best(self) -> dict[str, float]:
        """The mixture predicted to be best, share by domain; domains that never varied keep their share."""
        return {row["domain"]: row["recommended"] for row in self.record["evidence"]["recommendation"]["domains"]}

    @on_one_thread
    def optimise(self, *, trials: int = TRIALS, seed: int | None = None, **limits: Any) -> dict[str, float]:
        """The mixture predicted to be best within limits: share of training tokens by domain.

        limits: as `feasible` has them: min_weight, max_weight, fixed, pools, tokens, max_epochs. Domains that never
        varied keep their share unless a limit names them. trials, seed (None: the fit's): of the search.
        Raises MixoptError for limits that no mixture keeps.
        """
        import pandas as pd

        from mixopt.mixture.recommend import best_mixture
        from mixopt.search.simplex import feasible, never_varied

        runs = self.record["runs"]
        columns = [f"w/{name}" for name in self.domains] + [f"loss/{name}" for name in self.texts]
        frame = pd.DataFrame(np.column_stack([numbers(runs["weights"]), numbers(runs["losses"])]), columns=columns)
        table = RunTable(frame.assign(run_id=runs["run_id"]), self.domains, self.texts)
        named = {name for given in limits.values() if isinstance(given, Mapping) for name in given}
        still = {name: share for name, share in never_varied(table).items() if name not in named}
        allowed = feasible(self.domains, **{**limits, "fixed": still | dict(limits.get("fixed") or {})})
        seed = int(self.record["made"]["seed"]) if seed is None else seed
        found = best_mixture(table, self.estimator, self.objective, allowed, trials=trials, seed=seed)
        return dict(zip(self.domains, found.weights.tolist(), strict=True))

    @on_one_thread
    def predict(self, mixtures: Any) -> Floats:
        """Predicted target loss, (n,), nats/token, of mixtures as `as_shares` takes them.

        Raises MixoptError for mixtures of other domains.
        """
        return self.objective.of(self.losses(mixtures))

    @on_one_thread
    def losses(self, mixtures: Any) -> Floats:
        """Predicted loss on each of `texts`, (n, n_texts), nats/token."""
        return np.asarray(self.estimator.predict(as_shares(mixtures, self.domains)), dtype=float)

    @on_one_thread
    def interval(self, mixtures: Any, *, level: float = 0.8) -> tuple[Floats, Floats]:
        """Bounds, (n,) each, that the target loss of a run of each mixture should fall in with a chance of `level`.

        CV+ from the held-out errors (see `regressors.interval`); infinite where the runs are too few for the level.
        """
        from regressors.evaluation.intervals import scaled_cv_plus

        predicted = self.objective.of(self.held_out.predicted)
        residual = self.objective.of(numbers(self.record["runs"]["losses"])) - predicted
        at_new = self.objective.of(self.held_out.at(as_shares(mixtures, self.domains)))
        return scaled_cv_plus(residual, predicted, self.held_out.fold, at_new, level)

    def nearest_run(self, mixtures: Any) -> tuple[list[str], Floats]:
        """The trained run nearest to each mixture, and the share of tokens that tells them apart, (n,)."""
        trained = self._trained
        found = [nearest(w, trained) for w in as_shares(mixtures, self.domains)]
        return [self.record["runs"]["run_id"][row] for row, _ in found], np.array([far for _, far in found])

    def outside(self, mixtures: Any) -> Floats:
        """Share of each mixture's tokens, (n,), that no blend of trained mixtures reaches: 0 inside their hull."""
        trained = self._trained
        return np.array([distance_to_hull(w, trained) for w in as_shares(mixtures, self.domains)])

    @property
    def _trained(self) -> Floats:
        weights = numbers(self.record["runs"]["weights"])
        return weights / weights.sum(axis=1, keepdims=True)


def record_of(fitted: Fitted, target: Target, *, made: Json, evidence: Json) -> Json:
    """What the file of a fit holds but for its checksum.

    made: how to make it again (files and their hashes, seed, options, versions). evidence: scores, and what follows.
    """
    table, held_out = fitted.table, fitted.held_out
    probes = table.weights[:PROBES]
    return {
        "kind": KIND,
        "format": FORMAT,
        "predictor": fitted.name,
        "target": {"weights": target.weights, "unit": target.unit},
        "domains": list(table.domains),
        "texts": list(table.targets),
        "made": dict(made),
        "evidence": dict(evidence),
        "model": fitted.estimator.to_dict(),
        "folds": {
            "fold": held_out.fold.tolist(),
            "models": [one.to_dict() for one in held_out.estimators],
            "rehearsal": held_out.repeated_holdout.to_dict() if held_out.repeated_holdout else None,
        },
        "runs": {
            "run_id": table.run_ids,
            "weights": table.weights.tolist(),
            "losses": nan_to_null(table.losses),
            "held_out": nan_to_null(held_out.predicted),
        },
        "probes": {"weights": probes.tolist(), "losses": nan_to_null(fitted.estimator.predict(probes))},
    }


def load_fit(path: str | Path) -> StoredFit:
    """A fit from its file: `mixopt fit RUNS.csv` writes it. Nothing in the file is run.

    Raises MixoptError for a file that is no fit, was changed, or that this version of mixopt would predict otherwise
    from than the one that wrote it.
    """
    record = read_fit(Path(path), KIND, FORMAT)
    with restoring(Path(path), "run `mixopt fit` again"):
        return stored(record, where=str(path))


def stored(record: Json, *, where: str = "the fit") -> StoredFit:
    """A fit from its record. Raises MixoptError, naming `where` it is from, when it can't be restored."""
    from regressors import HeldOut, from_dict
    from regressors.evaluation.cross_validation import RepeatedHoldout

    folds, version = record["folds"], record["made"]["versions"]["mixopt"]
    written_by = f"the {record['predictor']} that mixopt {version} wrote"
    try:
        estimator = from_dict(record["model"])
        models = [from_dict(model) for model in folds["models"]]
        rehearsal = RepeatedHoldout.from_dict(folds["rehearsal"]) if folds["rehearsal"] else None
        again = np.asarray(estimator.predict(np.array(record["probes"]["weights"])), dtype=float)
    except (KeyError, TypeError, ValueError) as error:
        raise MixoptError(f"{where}: {written_by} can't be restored ({error}): fit again") from None
    if not np.allclose(again, numbers(record["probes"]["losses"]), rtol=SAME, atol=0):
        raise MixoptError(f"{where}: {written_by} predicts otherwise in this version: fit again")
    held_out = HeldOut(numbers(record["runs"]["held_out"]), np.array(folds["fold"]), models, rehearsal)
    found = StoredFit(record, estimator, held_out)
    try:
        found.interval(record["probes"]["weights"])  # what it needs is there as well
        found.nearest_run(record["probes"]["weights"])
    except MixoptError as error:
        raise MixoptError(f"{where}: its parts don't fit ({error}): fit again") from None
    return found
