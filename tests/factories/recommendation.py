"""A made-up law whose best mixture is known, runs of it, and recommendations from them."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from mixopt.mixture.recommend import recommend
from mixopt.runs.table import RunTable
from mixopt.search.simplex import feasible
from regressors.evaluation.cross_validation import RepeatedHoldout

DOMAINS = ("books", "code", "news")
TEXTS = ("quotes", "spanish")
BEST = {"quotes": np.array([0.5, 0.3, 0.2]), "spanish": np.array([0.1, 0.2, 0.7])}
NATURAL = np.array([0.1, 0.1, 0.8])
POOLS = {"books": 3e9, "code": 6e9, "news": None}


@dataclass
class Bowl:
    """Loss on each text: 2 nats/token at that text's best mixture, more elsewhere; `bias` everywhere."""

    bias: float = 0.0

    def predict(self, W):
        W = np.asarray(W)
        return np.stack([2.0 + self.bias + ((W - BEST[text]) ** 2).sum(axis=1) for text in TEXTS], axis=1)


class SmoothBowl(Bowl):
    def gradient(self, W):
        return np.stack([2.0 * (W - BEST[text]) for text in TEXTS], axis=1)


@dataclass
class Held:
    """Held-out predictions off by known amounts."""

    predicted: np.ndarray
    fold: np.ndarray
    estimators: list = field(default_factory=lambda: [SmoothBowl() for _ in range(5)])
    repeated_holdout: RepeatedHoldout | None = None

    def at(self, W):
        return np.stack([estimator.predict(W) for estimator in self.estimators])


def made_runs(n=40, *, seed=0, noise=0.0, concentration=1.0, **columns):
    """Runs of the bowls at Dirichlet mixtures, natural and uniform first; and a perfect predictor's held-out view."""
    rng = np.random.default_rng(seed)
    w = np.vstack([NATURAL, np.full(3, 1 / 3), rng.dirichlet(np.full(3, concentration), n - 2)])
    losses = Bowl().predict(w) + rng.normal(0, noise, (n, 2))
    frame = pd.DataFrame(
        {"run_id": [f"r{i:02d}" for i in range(n)], "params": 30e6, "tokens": 1e6, "seed": 0}
        | {f"w/{name}": w[:, i] for i, name in enumerate(DOMAINS)}
        | {f"loss/{text}": losses[:, j] for j, text in enumerate(TEXTS)}
        | columns
    )
    kept = ~np.asarray(columns.get("diverged", np.zeros(n, dtype=bool)))
    held = Held(predicted=Bowl().predict(w[kept]), fold=np.arange(kept.sum()) % 5)
    return RunTable(frame=frame, domains=DOMAINS, targets=TEXTS), held


def made(table=None, held=None, *, space=None, estimator=None, **options):
    """A recommendation for the quotes, as JSON has it."""
    runs = made_runs()
    settled = {"target": {"quotes": 1.0}, "natural": NATURAL, "pools": POOLS, "full_tokens": 10e9, "trials": 60}
    return recommend(
        table or runs[0],
        estimator or SmoothBowl(),
        held or runs[1],
        space or feasible(DOMAINS),
        study="made",
        predictor="bowl",
        **(settled | options),
    ).to_json()


def warned(recommendation, code):
    """The sentences of the warnings with this code."""
    pairs = zip(recommendation["warning_codes"], recommendation["warnings"], strict=True)
    return [text for found, text in pairs if found == code]


def shares(recommendation, key="recommended"):
    return np.array([row[key] for row in recommendation["domains"]])
