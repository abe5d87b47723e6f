"""Stored joint laws of mixture, parameters and tokens: one JSON file each. Loading it runs no code."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixopt.errors import MixoptError
from mixopt.runs.extrapolation import loss_intervals
from mixopt.runs.mixtures import as_shares
from mixopt.runs.pools import full_unique
from mixopt.runs.stored import SAME, Stored, numbers, read_fit
from mixopt.scaling.results import Interval, ScaleEvidence
from mixopt.serialization import Json, restoring
from mixopt.threads import on_one_thread

if TYPE_CHECKING:
    from mixopt.search.simplex import Floats
    from regressors.estimators.joint import AtScale, JointRegressor

KIND, FORMAT = "mixopt scale", 1  # a file says both; the latter rises when older mixopts could no longer read it


@dataclass(frozen=True, eq=False, repr=False)
class StoredScale(Stored):
    """A fitted joint law of a target, with the evidence for it."""

    joint: JointRegressor

    @cached_property
    def evidence(self) -> ScaleEvidence:
        """How the law was chosen, what the exponents are known to be, the best mixture, and what limits it."""
        return ScaleEvidence.from_json(self.record["evidence"])

    @property
    def law(self) -> str:
        return str(self.record["law"])

    @property
    def best(self) -> dict[str, float]:
        """The mixture predicted to be best at the scale that was asked for, share by domain."""
        return dict(self.evidence.best.mixtures["best"].weights)

    def at(self, params: float | None = None, tokens: float | None = None) -> AtScale:
        """A predictor of `texts` from shares, at a size and a token count; None: those that were asked for.

        With pools, longer runs repeat them more.
        """
        size = self.record["at"]["params"] if params is None else params
        length = self.record["at"]["tokens"] if tokens is None else tokens
        for name, count in {"params": size, "tokens": length}.items():
            if not (np.isfinite(count) and count > 0):
                raise MixoptError(f"{name} = {count:g}: give a number above 0")
        unique = full_unique(self.domains, self.record["pools"], length) if self.joint.pools else None
        return self.joint.at(size, length, unique)

    @on_one_thread
    def predict(self, mixtures: Any, *, params: float | None = None, tokens: float | None = None) -> Floats:
        """Predicted target loss, (n,), nats/token, of mixtures as `as_shares` takes them, at a scale as in `at`.

        Raises MixoptError for mixtures of other domains and for scales that aren't above 0.
        """
        return self.objective.of(self.losses(mixtures, params=params, tokens=tokens))

    @on_one_thread
    def intervals(self, mixtures: Any, *, params: float | None = None, tokens: float | None = None) -> list[Interval]:
        """80 % intervals of the target loss of new runs, one a mixture, as for `predict`.

        Raises MixoptError for a fit that holds none: of an older version, or without a run that has all losses.
        """
        if (fitted := self.evidence.fitted) is None:
            raise MixoptError("this fit holds no intervals: run `mixopt scale` again")
        shares = as_shares(mixtures, self.domains)
        rows = self.at(params, tokens).rows(shares / shares.sum(axis=1, keepdims=True))
        return loss_intervals(fitted, lambda X: self.objective.of(self.joint.predict(X)), rows)

    @on_one_thread
    def losses(self, mixtures: Any, *, params: float | None = None, tokens: float | None = None) -> Floats:
        """Predicted loss on each of `texts`, (n, n_texts), nats/token."""
        shares = as_shares(mixtures, self.domains)
        return self.at(params, tokens).predict(shares / shares.sum(axis=1, keepdims=True))


def load_scale(path: str | Path) -> StoredScale:
    """A joint law from its file: `mixopt scale RUNS.csv` writes it. Nothing in the file is run.

    Raises MixoptError for a file that is none, was changed, or that this version of mixopt predicts otherwise from.
    """
    record = read_fit(Path(path), KIND, FORMAT)
    with restoring(Path(path), "run `mixopt scale` again"):
        return restored(record, where=str(path))


def restored(record: Json, *, where: str = "the fit") -> StoredScale:
    """From its record. Raises MixoptError, naming `where` it is from, when it can't be restored."""
    from regressors.estimators.joint import JointRegressor

    what = f"{where}: the {record['law']} that mixopt {record['made']['versions']['mixopt']} wrote"
    try:
        joint = JointRegressor.from_dict(record["model"])
        again = joint.predict(np.array(record["probes"]["inputs"]))
    except (KeyError, TypeError, ValueError) as error:
        raise MixoptError(f"{what} can't be restored ({error}): run `mixopt scale` again") from None
    if not np.allclose(again, numbers(record["probes"]["losses"]), rtol=SAME, atol=0):
        raise MixoptError(f"{what} predicts otherwise in this version: run `mixopt scale` again")
    found = StoredScale(record, joint)
    found.predict(np.full(len(found.domains), 1 / max(len(found.domains), 1)))  # what it needs is there as well
    _ = found.best
    return found
