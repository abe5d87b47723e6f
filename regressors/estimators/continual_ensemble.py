"""The default predictor of continued pretraining: laws and interpolation, weighted by their held-out errors."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from regressors.estimators.continual import BASELINES, ContinualRegressor
from regressors.estimators.continual_base import BaseContinualRegressor
from regressors.evaluation.cross_validation import Split, by_length, by_share, by_size
from regressors.law import Array

MEMBERS = ("d-cpt", "shift", "interpolation")
POWER = 2.0  # weights go with the mean absolute held-out error to minus this: twice the error, a quarter of the weight
ORIGINS = (0.4, 0.6, 0.8)  # of the most tokens: what came later is predicted from what came before
AHEAD = 2.0  # times the tokens fitted: how far ahead predictions are judged


def splits_of(X: Array) -> list[Split]:
    """Each share left out; later tokens; the largest size: each where enough others stay."""
    later = by_length(X[:, 1], cuts=ORIGINS, counts=2, ahead=AHEAD)
    return [*by_share(X[:, 2]), *later, *by_size(X[:, 0])]


def extrapolation(split: Split, X: Array) -> Array:
    """How far the predicted rows lie outside what was fitted, (n_predicted,): shares 1 outside and 0 within, tokens in
    doublings, sizes 1."""
    fitted, predicted = X[split.fitted], X[split.predicted]
    if split.kind == "tokens":
        return np.log2(predicted[:, 1] / fitted[:, 1].max())
    if split.kind == "share":
        share = predicted[:, 2]
        return ((share < fitted[:, 2].min()) | (share > fitted[:, 2].max())).astype(float)
    return np.ones(len(predicted))


class ContinualEnsembleRegressor(BaseContinualRegressor):
    """The default: measured curves that laws carry on between and beyond the trained shares, sizes and tokens.

    The mean of D-CPT and the shift law, both with what they miss at the trained runs carried on (`carry`), and of
    interpolation, which after the last checkpoint is persistence; weighted by held-out errors: shares left out, later
    checkpoints predicted from earlier ones, and the largest of three sizes or more. What predicts worse counts less,
    and at a trained run the prediction is what was measured. Without a loss before continuing the shift law stays out.
    Where runs allow no such test, all weigh the same. n_starts: of each fit; random_state draws those after the first.
    After fit: weights_ {member: share of the mean}, heldout_ {"share", "tokens" or "size": {member: mean absolute
    error, nats/token}} where the member "blend" is the mean with these weights; members_; cautions_; why_, a sentence.
    Draws take one member each, by weight, and are moved together by as much as held-out errors exceed their spread: an
    interval from them is meant to hold the loss of one more run.
    """

    stored_name = "ContinualBlend"

    def __init__(self, *, n_starts=1, random_state=0):
        self.n_starts = n_starts
        self.random_state = random_state

    def _learn(self) -> None:
        names = [name for name in MEMBERS if self.start_ or name != "shift"]
        found: dict[str, list[Array]] = {}
        beyond: dict[str, list[Array]] = {}
        for split in splits_of(self.X_):
            fitted, points = self._members(names, split.fitted), self.X_[split.predicted]
            off = [member._predicted(points) - self.y_[split.predicted] for member in fitted.values()]
            found.setdefault(split.kind, []).append(np.stack(off))
            beyond.setdefault(split.kind, []).append(extrapolation(split, self.X_))
        errors = {kind: np.concatenate(parts, axis=1) for kind, parts in found.items()}
        weights = weigh(errors, len(names))
        self.members_ = self._members(names, np.full(len(self.X_), True))
        self.weights_ = dict(zip(names, weights.tolist(), strict=True))
        self.heldout_, self.spread_ = {}, {}
        for kind, error in errors.items():
            each = np.abs(np.vstack([error, weights @ error])).mean(axis=1)
            self.heldout_[kind] = dict(zip([*names, "blend"], each.tolist(), strict=True))
            self.spread_ |= spread(kind, weights @ error, np.concatenate(beyond[kind]))

    @property
    def why_(self) -> str:
        """A sentence: of what the mean is made, and how well it did on what it hadn't seen."""
        parts = ", ".join(f"{weight:.0%} {name}" for name, weight in self.weights_.items())
        words = {"share": "on shares left out", "tokens": "on later checkpoints", "size": "on the largest size"}
        tests = [f"{self.heldout_[kind]['blend']:.4f} {text}" for kind, text in words.items() if kind in self.heldout_]
        return f"{parts}; mean absolute error, nats/token: {', '.join(tests) or 'nothing could be left out'}."

    def _members(self, names: list[str], rows: Array) -> dict[str, ContinualRegressor]:
        """The members fitted to these rows, (n_rows,) bool, and all starts."""
        out = {name: self._member(name, rows) for name in names}
        for member in out.values():
            member._learn()
        return out

    def _member(self, name: str, rows: Array) -> ContinualRegressor:
        made = ContinualRegressor(
            name, carry=name not in BASELINES, n_starts=self.n_starts, random_state=self.random_state
        )
        made.start_, made.X_, made.y_ = self.start_, self.X_[rows], self.y_[rows]
        return made

    def _predicted(self, X: Array) -> Array:
        return np.sum([self.weights_[name] * member._predicted(X) for name, member in self.members_.items()], axis=0)

    def _drawn(self, X: Array, n: int, rng: np.random.Generator) -> Array:
        losses = self._bootstrap_losses(n, rng)
        taken = rng.choice(len(self.weights_), size=n, p=list(self.weights_.values()))
        centre = self._predicted(X)
        out = np.empty((n, len(X)))
        for k, member in enumerate(self.members_.values()):
            mine = taken == k
            if mine.any():
                again = member._refitted(losses[:, [0, *(1 + np.flatnonzero(mine))]], X)
                out[mine] = (member._predicted(X) - centre) + (again[:, 1:] - again[:, [0]]).T
        lacking = np.sqrt(np.maximum(self._held_out_variance(X) - out.var(axis=0), 0.0))
        return out + rng.standard_normal((n, 1)) * lacking

    def _held_out_variance(self, X: Array) -> Array:
        """Mean squared error of predictions like these when they were held out, (n_points,).

        Outside the trained shares it is that of the outermost shares left out; with the tokens it grows as a random
        walk does, by their doublings.
        """
        shares = self.X_[:, 2]
        within = (X[:, 2] >= shares.min()) & (X[:, 2] <= shares.max())
        square = {kind: self.spread_.get(kind, 0.0) ** 2 for kind in ("within", "without", "tokens", "size")}
        doublings = np.maximum(np.log2(X[:, 1] / self.X_[:, 1].max()), 0.0)
        larger = X[:, 0] > 1.01 * self.X_[:, 0].max()
        return (
            np.where(within, square["within"], square["without"])
            + doublings * square["tokens"]
            + larger * square["size"]
        )

    def _smooth(self) -> tuple[Array, float]:
        """The law of the largest weight."""
        laws = [name for name in self.members_ if name not in BASELINES]
        return self.members_[max(laws, key=lambda name: self.weights_[name])]._smooth()

    def _cautions(self) -> list[str]:
        return [*super()._cautions(), *self.law_cautions()]

    def law_cautions(self) -> list[str]:
        """What the members' fitted laws say that no such loss should."""
        laws = {name: member for name, member in self.members_.items() if name not in BASELINES}
        return [f"{name}: {text}" for name, member in laws.items() for text in member.law_cautions()]

    def _learned(self) -> dict[str, Any]:
        return {
            "weights": self.weights_,
            "heldout": self.heldout_,
            "spread": self.spread_,
            "members": {name: member._learned() for name, member in self.members_.items()},
        }

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self.weights_, self.heldout_, self.spread_ = learned["weights"], learned["heldout"], learned["spread"]
        every = np.full(len(self.X_), True)
        self.members_ = {name: self._member(name, every) for name in learned["members"]}
        for name, member in self.members_.items():
            member._restore(learned["members"][name])


def spread(kind: str, error: Array, beyond: Array) -> dict[str, float]:
    """Root mean square of held-out errors (n_rows,), by what decides how far they reach.

    beyond (n_rows,): for shares whether they were the outermost ones, for tokens the doublings ahead.
    """
    square = error**2
    if kind == "share":
        inner = square[beyond == 0] if (beyond == 0).any() else square
        outer = square[beyond == 1] if (beyond == 1).any() else square
        return {"within": float(np.sqrt(inner.mean())), "without": float(np.sqrt(outer.mean()))}
    if kind == "tokens":
        return {kind: float(np.sqrt(square.mean() / beyond.mean()))}
    return {kind: float(np.sqrt(square.mean()))}


def weigh(errors: Mapping[str, Array], members: int) -> Array:
    """Weights (n_members,) that sum to 1, from held-out errors (n_members, n_rows) by kind of test.

    Every kind counts alike, however many rows it has. An error that's no number weighs nothing.
    """
    if not errors:
        return np.full(members, 1 / members)
    size = np.mean([np.abs(error).mean(axis=1) for error in errors.values()], axis=0)
    size = np.where(np.isfinite(size), size, np.inf)
    lowest = max(float(size.min()), np.finfo(float).tiny)
    weights = (np.maximum(size, lowest) / lowest) ** -POWER
    return weights / weights.sum()
