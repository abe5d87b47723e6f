"""A mixture law for runs with pools of their own: weight and repetition separated, R* fitted."""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from regressors.estimators.base import AtFixedInputs, check_stored, own_order
from regressors.estimators.effective_data import fit_skills, supported_skills
from regressors.estimators.law import LawRegressor
from regressors.fitting.posterior import Criterion
from regressors.law import Array, Law
from regressors.laws import LAWS
from regressors.laws.effective_tokens import UNLIMITED, checked_pools, repetition_aware, unique_shares
from regressors.laws.epochs import EPOCH_AWARE, EPOCH_AWARE_POOLS


class PoolRegressor(LawRegressor):
    """A law that sees repetition, fitted to runs with pools of their own.

    X is (n_runs, 2 n_domains): shares of training tokens, then every domain's unique tokens over the run's tokens, inf
    for an unlimited one. Domains are ordered by both of their columns.
    law: a name in `LAWS`, or a Law of w alone, which is shown effective tokens (`regressors.laws.effective_tokens`);
    the law epoch-aware sees epochs itself. per_domain: an R* for each domain, not one for all. harm: tokens that teach
    nothing new do harm, as they do to small models. skills: of the law effective-data, 1 or 2; None: by the runs, as in
    `EffectiveDataRegressor`. Everything else as in `LawRegressor`.
    After fit: as there, with R among values_ (n_targets,), and usual_ (n_domains,), the median of each domain's unique
    shares, in whose units the epoch-aware law counts.
    """

    def __init__(
        self,
        law="effective-data",
        *,
        per_domain=False,
        harm=True,
        skills=None,
        n_starts=1,
        huber=2.0,
        shared=True,
        random_state=None,
    ):
        super().__init__(law, n_starts=n_starts, huber=huber, shared=shared, random_state=random_state)
        self.per_domain = per_domain
        self.harm = harm
        self.skills = skills

    def _fit(self, W: Array, Y: Array) -> None:
        if self.skills not in (None, 1, 2):
            raise ValueError(f"skills = {self.skills!r} must be 1, 2 or None")
        domains = W.shape[1] // 2
        self.skills_ = self.skills or supported_skills(W[:, :domains])
        self.usual_ = np.median(bounded(W[:, domains:]), axis=0)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        criterion = Criterion(huber=self.huber)
        options = {"n_starts": self.n_starts, "rng": rng, "shared": self.shared}
        self._set_fit(*fit_skills(self._laws(), self._seen(W), Y, criterion, **options))

    def at(self, unique: Sequence[float | None] | Array) -> "AtPools":
        """A predictor of loss from shares alone, at fixed unique tokens over the run's tokens (n_domains,).

        None or inf: unlimited. Raises ValueError for another number of domains, or a share that isn't above 0.
        """
        check_is_fitted(self)
        return AtPools(self, unique)

    def _laws(self) -> list[Law]:
        """The law, after the one with fewer skills that its fit starts from, if there is one."""
        law = super()._law()
        if law is EPOCH_AWARE:
            return [EPOCH_AWARE_POOLS]
        laws = [law]
        if law is LAWS["effective-data"] and self.skills_ == 2:
            laws = [law, LAWS["effective-data-2"]]
        return [repetition_aware(law, per_domain=self.per_domain, harm=self.harm) for law in laws]

    def _law(self) -> Law:
        return self._laws()[-1]

    def _seen(self, W: Array) -> dict[str, Array]:
        """The law's inputs; W's columns are in the fit's own order: shares, then unique shares."""
        domains = W.shape[1] // 2
        w, unique = W[:, :domains], W[:, domains:]
        if self._law() is EPOCH_AWARE_POOLS:
            return {"w": w / self.usual_, "unique": bounded(unique) / self.usual_}
        return {"w": w, "unique": unique}

    def _own_order(self, W: Array) -> Array:
        """The domains' own order, the same in both halves."""
        domains = W.shape[1] // 2
        order = own_order(np.vstack([W[:, :domains], W[:, domains:]]))
        return np.concatenate([order, domains + order])

    def _checked_shares(self, W: Any, *, reset: bool) -> Array:
        W = np.array(W, dtype=float)
        if W.ndim == 2 and W.shape[1] % 2:
            raise ValueError(f"n_features = {W.shape[1]}: a share and the unique tokens of each domain make it even")
        return super()._checked_shares(checked_pools(W, slice(W.shape[-1] // 2, None)), reset=reset)

    def _learned(self) -> dict[str, Any]:
        return super()._learned() | {"skills": self.skills_, "usual": self.usual_.tolist()}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self.skills_, self.usual_ = learned["skills"], np.array(learned["usual"])
        super()._restore(learned)


class AtPools(AtFixedInputs):
    """A fitted law that sees repetition, at fixed pools."""

    unique: Array

    def __init__(self, law: PoolRegressor, unique: Sequence[float | None] | Array):
        self.law = law
        self.unique = unique_shares(list(unique), law.n_features_in_ // 2)
        super().__init__(law, self.unique, len(self.unique))

    def unique_gradient(self, W: Array) -> Array:
        """Exact d loss / d unique tokens over the run's tokens, in the shape of `gradient`: 0 or less where nothing
        does harm. 0 for unlimited domains. Where repetition begins, the slopes of both sides are the same."""
        return self._slopes(W, self._domains)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able numbers and text."""
        return {"estimator": "AtPools", "unique": self._stored_unique(), "law": self.law.to_dict()}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuilds what `to_dict` gave."""
        check_stored(stored, "AtPools", frozenset({"unique", "law"}))
        return cls(PoolRegressor.from_dict(stored["law"]), stored["unique"])


def bounded(unique: Array) -> Array:
    """Unlimited pools as ones that hold a run's tokens: what a law counts epochs with must be finite."""
    return np.where(np.real(unique) < UNLIMITED, unique, 1.0)
