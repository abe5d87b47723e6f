"""A mixture law where pools differ from run to run: weight and repetition told apart, and R* fitted."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from regressors.estimators.base import MixtureRegressor, own_order, plain_seed
from regressors.estimators.effective_data import bearable_skills, fit_skills
from regressors.estimators.law import LawRegressor
from regressors.fitting.posterior import Criterion
from regressors.law import Array, Law
from regressors.laws import LAWS
from regressors.laws.effective_tokens import UNLIMITED, checked_pools, repetition_aware, unique_shares
from regressors.laws.epochs import EPOCH_AWARE, EPOCH_AWARE_POOLS

STEP = 1e-30  # of complex derivatives


class PoolRegressor(LawRegressor):
    """Fits a law that sees repetition to runs with pools of their own.

    X is (n_runs, 2 n_domains): shares of training tokens, then every domain's unique tokens over the run's tokens, inf
    for an unlimited one. Domains are told apart by both of their columns.
    law: a name in `LAWS`, or a Law of w alone, which is shown effective tokens (`regressors.laws.repeated`); the law
    epoch-aware sees epochs itself. per_domain: an R* for each domain, not one for all. harm: tokens that teach nothing
    new do harm, as they do to small models. skills: of the law effective-data, 1 or 2; None: by the runs, as in
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
        starts=1,
        huber=2.0,
        shared=True,
        random_state=None,
    ):
        super().__init__(law, starts=starts, huber=huber, shared=shared, random_state=random_state)
        self.per_domain = per_domain
        self.harm = harm
        self.skills = skills

    def _fit(self, W: Array, Y: Array) -> None:
        if self.skills not in (None, 1, 2):
            raise ValueError(f"skills = {self.skills!r} must be 1, 2 or None")
        domains = W.shape[1] // 2
        self.skills_ = self.skills or bearable_skills(W[:, :domains])
        self.usual_ = np.median(bounded(W[:, domains:]), axis=0)
        rng = np.random.default_rng(check_random_state(self.random_state).randint(2**31))
        criterion = Criterion(huber=self.huber)
        found = fit_skills(self._laws(), self._seen(W), Y, criterion, starts=self.starts, rng=rng, shared=self.shared)
        self._keep(*found)

    def at(self, unique: Sequence[float | None] | Array) -> "AtPools":
        """A predictor of loss from shares alone, at fixed unique tokens over the run's tokens (n_domains,).

        None or inf: unlimited. Raises ValueError for another number of domains, or a share that isn't above 0.
        """
        check_is_fitted(self)
        return AtPools(self, unique)

    def _laws(self) -> list[Law]:
        """The law, after the one with fewer skills that its fit starts from, if there is one."""
        law = LAWS.get(self.law) if isinstance(self.law, str) else self.law
        if not isinstance(law, Law):
            raise ValueError(f"no law is called {self.law!r}: choose from {sorted(LAWS)}")
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

    def to_dict(self) -> dict[str, Any]:
        """The fitted estimator as JSON-able numbers and text; its law must be one of `LAWS`, which goes by name."""
        name = self.law.name if isinstance(self.law, Law) else self.law
        if isinstance(self.law, Law) and LAWS.get(name) != self.law:
            raise ValueError(f"only laws of LAWS can be stored, {name!r} is another: its formula is code")
        out = MixtureRegressor.to_dict(self)
        out["options"] |= {"law": name, "random_state": plain_seed(self.random_state)}
        return out

    def _learned(self) -> dict[str, Any]:
        return super()._learned() | {"skills": self.skills_, "usual": self.usual_.tolist()}

    def _restore(self, learned: dict[str, Any]) -> None:
        self.skills_, self.usual_ = learned["skills"], np.array(learned["usual"])
        super()._restore(learned)


class AtPools:
    """A fitted law that sees repetition, at fixed pools: a predictor of loss from shares, to search with."""

    def __init__(self, law: PoolRegressor, unique: Sequence[float | None] | Array):
        self.law = law
        self.unique = unique_shares(list(unique), law.n_features_in_ // 2)

    def predict(self, W: Array) -> Array:
        """Loss at shares W (n_points, n_domains): (n_points,) or (n_points, n_targets). nats/token."""
        return self.law.predict(self._whole(W))

    def gradient(self, W: Array) -> Array:
        """Exact d loss / d share at W (n_points, n_domains): (n_points, n_domains), or (n_points, n_targets, n_domains)
        after a fit to 2-D Y. nats/token per unit of share, each domain by itself, not along the simplex."""
        return self._slopes(W, 0)

    def unique_gradient(self, W: Array) -> Array:
        """Exact d loss / d unique tokens over the run's tokens, of the same shape: 0 or less where nothing does harm.

        0 for unlimited domains. Where repetition begins, the slopes of both sides are the same.
        """
        return self._slopes(W, 1)

    def _whole(self, W: Array) -> Array:
        W = np.asarray(W, dtype=float)
        return np.column_stack([W, np.broadcast_to(self.unique, W.shape)])

    def _slopes(self, W: Array, half: int) -> Array:
        """The slopes by the columns of one half of X."""
        law, domains = self.law, len(self.unique)
        X = law._checked_shares(self._whole(W), reset=False)
        slopes = np.empty((len(X), len(law.noise_), domains))
        for k in range(domains):
            moved = X.astype(complex)
            moved[:, half * domains + k] += STEP * 1j
            slopes[..., k] = np.imag(law._losses(moved[:, law.order_])).T / STEP
        return slopes[:, 0] if law.flat_ else slopes

    def to_dict(self) -> dict[str, Any]:
        """JSON-able numbers and text."""
        unique = [float(u) if np.isfinite(u) else None for u in self.unique]
        return {"estimator": "AtPools", "unique": unique, "law": self.law.to_dict()}

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Self:
        """Rebuilds what `to_dict` gave."""
        return cls(PoolRegressor.from_dict(stored["law"]), stored["unique"])


def bounded(unique: Array) -> Array:
    """Unlimited pools as ones that hold a run's tokens: what a law counts epochs with must be finite."""
    return np.where(np.real(unique) < UNLIMITED, unique, 1.0)
