"""Log-linear maps from the smallest rung of a ladder to larger sizes and longer runs, carried on beyond the largest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from regressors.estimators.base import BaseRegressor, check_stored, own_order
from regressors.law import Array
from regressors.laws.effective_tokens import unique_shares
from regressors.registry import from_dict

# Priors, normal, of what is linear in x = ln N and y = ln D, counted from the largest rung. Local elasticities of the
# loss at uniform shares lie around these on small proxies and on published runs alike; a rung or two can't tell more.
ELASTICITY = ((-0.06, 0.05), (-0.10, 0.06))  # of loss by parameters and by tokens: mean, sd
INTERACTION = 0.02  # sd of the coefficient of x y: size matters more to longer runs
CURVATURE = 0.015  # sd of those of x^2 and y^2
SLOPE_CHANGE = 0.1  # sd by which, per unit of x or y, the map's slope moves from 1
DOMAIN_CHANGE = 0.05  # sd by which, per unit, a domain's share moves ln loss otherwise than the smallest rung says
REPETITION_CHANGE = 0.05  # the same, of the share-weighted ln of epochs: larger models memorise what is repeated
MISFIT = 0.015  # sd of ln loss by which, per unit of distance from the largest rung, a run says less of it
MIN_SHARE = 0.5  # of the lowest loss measured: a smallest rung's prediction below, as straight lines give, counts as it
MIN_NOISE = 0.003  # sd of ln loss between runs; less would make a fit sure of what a few runs happen to show
MAX_FLOOR = 0.6  # of the loss at the largest rung: its irreducible part lies between 0 and this, nobody knows where
# Of the elasticities at the largest rung: those within TREND of it lie between the first two, for very short runs fall
# faster and faster, and those far beyond between the last two, for young runs fall faster than old ones.
NEAR, LATE = (0.6, 1.4), (0.4, 1.0)
SCATTER = 0.2  # sd by which a validation set's own elasticities beyond differ from that, as a factor
TILT = 0.1  # sd by which, per unit of x and y beyond, differences between mixtures grow or shrink, as a factor
TREND = np.log(4.0)  # units of x or y beyond the largest rung over which what changes with scale goes on changing
LEARNED = ("theta", "covariance", "noise", "top", "base", "order", "lowest", "reference", "reference_unique")
LEVELS = 6  # features of the level alone, the first ones
ROUNDS = 5  # of noise and coefficients in turn
DRAWS = 64


@dataclass(frozen=True)
class Draws:
    """What scale may do beyond the largest rung: S draws.

    theta (S, n_targets, n_features), floor (S,) a share of the loss at the largest rung, trend (S,) how much of the
    maps' change goes on, near and late (S,) factors on the elasticities near the largest rung and far beyond,
    own (S, n_targets) factors on them, tilt (S, n_targets) by how much differences between mixtures grow per unit.
    """

    theta: Array
    floor: Array
    trend: Array
    near: Array
    late: Array
    own: Array
    tilt: Array


class LadderRegressor(BaseRegressor):
    """Loss at any size and length from a predictor of the smallest rung and a few runs of larger ones.

    X is (n_runs, 2 n_domains + 2): shares, each domain's unique tokens over the run's tokens (inf: unlimited),
    parameters, training tokens. estimator: fitted to the smallest rung, of shares alone or of shares and unique shares.
    Up to the largest rung, ln loss is linear: in ln of the smallest rung's prediction, with a slope that changes with
    size and length, in the shares, in the share-weighted ln of epochs, and quadratic in x = ln N, y = ln D (Bayesian
    linear regression with the priors above). Beyond it, what lies above an irreducible loss falls as a power of
    N and D with the elasticities at the largest rung, and by the same factor for all mixtures but for what is left of
    the maps' trend. The irreducible loss isn't identified: draws of it, of the coefficients and of the trend are
    averaged, and their spread is the range.
    After fit: theta_ (n_targets, n_features), covariance_ (n_targets, n_features, n_features), noise_ (n_targets,) a
    share of the loss, top_ and base_ (parameters, tokens) of the largest and the smallest rung, reference_ (n_domains,)
    the shares at which levels are meant, order_ (n_domains,) that of domains among the features.
    """

    stored_keys = frozenset({"options", "learned"})

    def __init__(self, estimator: Any = None, *, random_state: int = 0):
        self.estimator = estimator
        self.random_state = random_state

    def fit(self, X: Array, Y: Array) -> Self:
        """X (n_runs, 2 n_domains + 2), Y (n_runs, n_targets) nats/token, nan where missing."""
        X, Y = np.asarray(X, dtype=float), np.asarray(Y, dtype=float)
        if empty := np.flatnonzero(~np.isfinite(Y).any(axis=0)).tolist():
            raise ValueError(f"no run has a loss for target column(s) {empty}: leave them out")
        if X.ndim != 2 or X.shape[1] < 6 or X.shape[1] % 2:
            raise ValueError(f"X has {X.shape}: shares, unique shares, parameters and tokens are 2 n_domains + 2")
        self.n_domains_ = (X.shape[1] - 2) // 2
        self.order_ = own_order(np.vstack([X[:, : self.n_domains_], X[:, self.n_domains_ : -2]]))
        scales = X[:, -2:]
        self.top_ = scales[np.lexsort((scales[:, 1], scales[:, 0]))[-1]]
        self.base_ = scales[np.lexsort((scales[:, 1], scales[:, 0]))[0]]
        self.lowest_ = MIN_SHARE * np.nanmin(np.where(np.isnan(Y), np.inf, Y), axis=0)
        self.reference_ = np.full(self.n_domains_, 1 / self.n_domains_)
        usual = np.median(np.where(np.isfinite(X[:, self.n_domains_ : -2]), X[:, self.n_domains_ : -2], 1e9), axis=0)
        self.reference_unique_ = usual
        centre = self._seen(self.reference_[None], usual[None])
        self.centre_ = centre[0][0], float(centre[1][0])
        F, distance = self._features(X)
        mean, sd = self._prior()
        self.theta_ = np.empty((Y.shape[1], len(mean)))
        self.covariance_ = np.empty((Y.shape[1], len(mean), len(mean)))
        self.noise_ = np.empty(Y.shape[1])
        for t, losses in enumerate(Y.T):
            known = np.isfinite(losses)
            offset = self._offset(X[known], t)
            fitted = _regression(F[known, :, t], np.log(losses[known]) - offset, distance[known], mean, sd)
            self.theta_[t], self.covariance_[t], self.noise_[t] = fitted
        return self

    # Features: levels in x and y from the largest rung; changes of the map in x' and y' from the smallest.

    def _seen(self, W: Array, unique: Array) -> tuple[Array, Array]:
        """ln of the smallest rung's prediction (n, n_targets), and the share-weighted ln of epochs (n,)."""
        own = self.estimator
        inputs = W if own.n_features_in_ == self.n_domains_ else np.column_stack([W, unique])
        return np.log(np.maximum(own.predict(inputs), self.lowest_)), _repetition(W, unique)

    def _offset(self, X: Array, t: int) -> Array:
        W, unique = X[:, : self.n_domains_], X[:, self.n_domains_ : -2]
        return self._seen(W, unique)[0][:, t] - self.centre_[0][t]

    def _features(self, X: Array) -> tuple[Array, Array]:
        """(n, n_features, n_targets), and each run's distance from the largest rung in x and y, (n,)."""
        d = self.n_domains_
        W, unique = X[:, :d], X[:, d:-2]
        x, y = np.log(X[:, -2:] / self.top_).T
        logs, repetition = self._seen(W, unique)
        grown = np.log(X[:, -2:] / self.base_)
        return self._columns(W, logs, repetition, x, y, grown), np.hypot(x, y)

    def _columns(self, W: Array, logs: Array, repetition: Array, x: Array, y: Array, grown: Array) -> Array:
        targets = logs.shape[1]
        level = np.stack([np.ones_like(x), x, y, x * y, x**2, y**2], axis=1)
        shares = (W - self.reference_)[:, self.order_]
        repeated = (repetition - self.centre_[1])[:, None]
        own = np.hstack([k[:, None] * part for k in grown.T for part in (shares, repeated)])
        common = np.hstack([level, own])
        by_target = [grown[:, [k]] * (logs - self.centre_[0]) for k in (0, 1)]
        return np.concatenate(
            [np.repeat(common[:, :, None], targets, axis=2), *(one[:, None, :] for one in by_target)], axis=1
        )

    def _prior(self) -> tuple[Array, Array]:
        """Means and sds of the coefficients, in the order of `_columns`."""
        (p, p_sd), (q, q_sd) = ELASTICITY
        changes = [DOMAIN_CHANGE] * self.n_domains_ + [REPETITION_CHANGE]
        sd = [10.0, p_sd, q_sd, INTERACTION, CURVATURE, CURVATURE, *changes, *changes, SLOPE_CHANGE, SLOPE_CHANGE]
        mean = np.zeros(len(sd))
        mean[1:3] = p, q
        return mean, np.array(sd)

    # Draws of what the runs don't decide

    @cached_property
    def draws_(self) -> Draws:
        rng = np.random.default_rng(self.random_state)
        targets, size = self.theta_.shape
        half = rng.standard_normal((DRAWS // 2, size))
        normal = np.concatenate([half, -half])
        theta = np.empty((DRAWS, targets, size))
        for t in range(targets):
            root = np.linalg.cholesky(self.covariance_[t] + 1e-14 * np.eye(size))
            theta[:, t] = self.theta_[t] + normal @ root.T
        even = (np.arange(DRAWS) + 0.5) / DRAWS
        floor, trend, near, late = (rng.permutation(even) for _ in range(4))
        near, late = (low + (high - low) * part for (low, high), part in ((NEAR, near), (LATE, late)))
        own, tilt = (np.concatenate([half, -half]) for half in rng.standard_normal((2, DRAWS // 2, targets)))
        own = np.maximum(1 + SCATTER * own, 0.0)
        return Draws(theta, MAX_FLOOR * floor, trend, near, late, own, TILT * tilt)

    def at(self, params: float, tokens: float, unique: Sequence[float | None] | Array | None = None) -> "AtRung":
        """A predictor from shares alone at a size and length. unique: each domain's unique tokens over the tokens
        (n_domains,), None or inf for unlimited ones."""
        check_is_fitted(self, "theta_")
        return AtRung(self, params=params, tokens=tokens, unique=unique)

    def predict(self, X: Array) -> Array:
        """Mean loss over the draws, (n, n_targets), at X (n, 2 n_domains + 2)."""
        X = np.asarray(X, dtype=float)
        out = np.empty((len(X), len(self.theta_)))
        keys = [tuple(row) for row in X[:, self.n_domains_ :]]
        for key in dict.fromkeys(keys):
            rows = [i for i, one in enumerate(keys) if one == key]
            place = self.at(key[-2], key[-1], list(key[:-2]))
            out[rows] = place.predict(X[rows, : self.n_domains_])
        return out

    def to_dict(self) -> dict[str, Any]:
        """The fitted estimator as JSON-able numbers and text."""
        check_is_fitted(self, "theta_")
        learned = {name: np.asarray(getattr(self, f"{name}_")).tolist() for name in LEARNED}
        options = {"random_state": self.random_state, "estimator": self.estimator.to_dict()}
        return {"estimator": "LadderRegressor", "options": options, "learned": learned}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuilds what `to_dict` gave. Raises ValueError for other or incomplete numbers."""
        check_stored(stored, "LadderRegressor", cls.stored_keys)
        options = stored["options"]
        self = cls(from_dict(options["estimator"]), random_state=options["random_state"])
        for name, value in stored["learned"].items():
            setattr(self, f"{name}_", np.array(value))
        self.n_domains_ = len(self.reference_)
        logs, repetition = self._seen(self.reference_[None], self.reference_unique_[None])
        self.centre_ = logs[0], float(repetition[0])
        return self


class AtRung:
    """A fitted ladder at one size and length: a predictor of loss from shares, to search with."""

    def __init__(
        self,
        ladder: LadderRegressor,
        *,
        params: float,
        tokens: float,
        unique: Sequence[float | None] | Array | None = None,
    ):
        domains = ladder.n_domains_
        self.ladder, self.params, self.tokens = ladder, float(params), float(tokens)
        self.unique = unique_shares([None] * domains if unique is None else list(unique), domains)
        self.n_features_in_ = domains
        beyond = np.log([self.params, self.tokens] / ladder.top_)
        self._inside, self._out = np.minimum(beyond, 0.0), np.maximum(beyond, 0.0)  # in x and y, (2,) each
        self._grown = np.log(ladder.top_ / ladder.base_) + self._inside
        self._near = TREND * (1 - np.exp(-self._out / TREND))  # of the way beyond: where trends and near factors hold

    def predict(self, W: Array) -> Array:
        """Mean loss over the draws, (n, n_targets), nats/token."""
        return self.drawn(W).mean(axis=0)

    def drawn(self, W: Array, *, scatter: bool = False) -> Array:
        """Losses of every draw, (S, n, n_targets). scatter: as single runs measure them, with the noise of each."""
        eta, floor, factor = self._parts(np.asarray(W, dtype=float))
        losses = floor + (np.exp(eta) - floor) * factor
        if not scatter:
            return losses
        rng = np.random.default_rng([self.ladder.random_state, 1])
        half = rng.standard_normal((DRAWS // 2, len(eta[0]), 1))  # one a run: what a seed does, it does to all sets
        return losses * np.exp(self.ladder.noise_ * np.concatenate([half, -half]))

    def _parts(self, W: Array) -> tuple[Array, Array, Array]:
        """ln loss at the largest rung or below it (S, n, n_targets); the irreducible loss and the factor by which what
        lies above it falls from there, (S, 1, n_targets) each."""
        ladder, draws = self.ladder, self.ladder.draws_
        logs, repetition = ladder._seen(W, np.broadcast_to(self.unique, W.shape))
        ones = np.ones(len(W))

        def columns(x: float, y: float, grown: Array) -> Array:
            return ladder._columns(W, logs, repetition, x * ones, y * ones, np.outer(ones, grown))

        eta = (
            np.einsum("nft,stf->snt", columns(self._inside[0], self._inside[1], self._grown), draws.theta)
            + logs
            - ladder.centre_[0]
        )
        if self._out.any():  # what is left of the maps' change: it has no level of its own
            trend = columns(0.0, 0.0, self._near)
            trend[:, :LEVELS] = 0.0
            eta = eta + draws.trend[:, None, None] * np.einsum("nft,stf->snt", trend, draws.theta)
            eta = eta + (self._near.sum() * draws.tilt)[:, None] * (logs - ladder.centre_[0])
        level = np.exp(draws.theta[:, :, 0])  # (S, n_targets) of the reference at the largest rung
        floor = draws.floor[:, None] * level
        followed = draws.near[:, None] * self._near + draws.late[:, None] * (self._out - self._near)  # (S, 2)
        elasticity = (np.minimum(draws.theta[:, :, 1:3], 0.0) * followed[:, None, :]).sum(axis=2) * draws.own
        factor = np.exp(elasticity * level / (level - floor))
        return eta, floor[:, None], factor[:, None]

    @available_if(lambda self: self._has_gradient)
    def gradient(self, W: Array) -> Array:
        """Exact d loss / d share, (n, n_targets, n_domains), each domain by itself. nats/token per unit of share."""
        W = np.asarray(W, dtype=float)
        ladder, draws = self.ladder, self.ladder.draws_
        eta, _, factor = self._parts(W)
        amount = self._grown + draws.trend[:, None] * self._near  # (S, 2) how far the maps have changed, in x and y
        d = ladder.n_domains_
        changes = draws.theta[:, :, LEVELS : LEVELS + 2 * (d + 1)].reshape(DRAWS, -1, 2, d + 1)
        by_share, by_repetition = changes[..., :d], changes[..., d]
        shares = np.einsum("sk,stkd->std", amount, by_share)[..., ladder.order_.argsort()]
        repeated = np.einsum("sk,stk->st", amount, by_repetition)
        slope = 1 + np.einsum("sk,stk->st", amount, draws.theta[:, :, -2:]) + self._near.sum() * draws.tilt
        weight = np.exp(eta) * factor / DRAWS  # (S, n, n_targets)
        own = self._base.predict(W)[..., None]
        by_base = np.where(own > ladder.lowest_[:, None], self._base.gradient(W) / own, 0.0)
        return (
            np.einsum("snt,st->nt", weight, slope)[..., None] * by_base
            + np.einsum("snt,std->ntd", weight, shares)
            + np.einsum("snt,st->nt", weight, repeated)[..., None] * _repetition_slopes(W, self.unique)[:, None, :]
        )

    @cached_property
    def _base(self) -> Any:
        own = self.ladder.estimator
        return own if own.n_features_in_ == self.ladder.n_domains_ else own.at(self.unique)

    @property
    def _has_gradient(self) -> bool:
        return getattr(self._base, "gradient", None) is not None

    def to_dict(self) -> dict[str, Any]:
        """JSON-able numbers and text."""
        unique = [float(u) if np.isfinite(u) else None for u in self.unique]
        return {"estimator": "AtRung", "params": self.params, "tokens": self.tokens, "unique": unique,
                "ladder": self.ladder.to_dict()}  # fmt: skip

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuilds what `to_dict` gave."""
        check_stored(stored, "AtRung", frozenset({"params", "tokens", "unique", "ladder"}))
        ladder = LadderRegressor.from_dict(stored["ladder"])
        return cls(ladder, params=stored["params"], tokens=stored["tokens"], unique=stored["unique"])


def _repetition(W: Array, unique: Array) -> Array:
    """sum_j w_j ln(epochs_j), of what is repeated, (n,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.where((unique < W) & np.isfinite(unique), np.log(W / unique), 0.0)
    return (W * logs).sum(axis=1)


def _repetition_slopes(W: Array, unique: Array) -> Array:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((unique < W) & np.isfinite(unique), np.log(W / unique) + 1.0, 0.0)


def _regression(F: Array, y: Array, distance: Array, mean: Array, sd: Array) -> tuple[Array, Array, float]:
    """Posterior mean and covariance of linear coefficients with normal priors, and the noise's sd.

    F (n, n_features), y (n,). Noise is what is left at the largest rung; runs further from it say less.
    """
    noise = 0.01
    theta = covariance = None
    for _ in range(ROUNDS):
        precision = 1 / (noise**2 + (MISFIT * distance) ** 2)
        covariance = np.linalg.inv(np.diag(sd**-2.0) + (F.T * precision) @ F)
        covariance = (covariance + covariance.T) / 2
        theta = covariance @ ((F.T * precision) @ y + mean / sd**2)
        off = y - F @ theta
        used = np.einsum("if,fg,ig->i", F, covariance, F) * precision  # each run's leverage
        share = noise**2 * precision  # of the variance that is noise
        left = float((share * off**2).sum() / max(float((share * (1 - used)).sum()), 1.0))
        noise = max(MIN_NOISE, left**0.5)
    assert theta is not None and covariance is not None
    return theta, covariance, noise
