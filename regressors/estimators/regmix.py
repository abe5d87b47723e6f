"""RegMix's two regressions (Liu et al. 2024, arXiv:2407.01492)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from regressors.estimators.base import MixtureRegressor
from regressors.law import Array

MAX_SMALL_SAMPLE = 128  # up to so many runs LightGBM's default of 20 rows a leaf can't split finely enough


class RegMixLinearRegressor(MixtureRegressor):
    """RegMix's linear regression (Liu et al. 2024, arXiv:2407.01492): least squares of each loss on the shares.

    With fewer runs than domains it's the least squares solution of smallest norm. After fit: coef_
    (n_targets, n_domains) and intercept_ (n_targets,), nats/token.
    """

    stored_name = "RegMixLinear"

    def _fit(self, W: Array, Y: Array) -> None:
        self.coef_ = np.empty((Y.shape[1], W.shape[1]))
        self.intercept_ = np.empty(Y.shape[1])
        for k, y in enumerate(Y.T):
            known = np.isfinite(y)
            w_mean, y_mean = W[known].mean(axis=0), y[known].mean()
            self.coef_[k] = np.linalg.lstsq(W[known] - w_mean, y[known] - y_mean, rcond=1e-10)[0]
            self.intercept_[k] = y_mean - self.coef_[k] @ w_mean

    def _predict(self, W: Array) -> Array:
        return W @ self.coef_.T + self.intercept_

    def _learned(self) -> dict[str, Any]:
        return {"coef": self.coef_.tolist(), "intercept": self.intercept_.tolist()}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        self.coef_, self.intercept_ = np.array(learned["coef"]), np.array(learned["intercept"])
        self.n_targets_ = len(self.intercept_)


class RegMixLightGBMRegressor(MixtureRegressor):
    """RegMix's gradient-boosted trees, one booster a target (Liu et al. 2024, arXiv:2407.01492).

    Published settings: 1,000 boosting rounds at learning rate 0.01, LightGBM's defaults besides. Two departures: no
    early stopping, as the published code stops on the rows that it is tested on; and 5 runs a leaf, not 20, up to 128
    runs.
    After fit: boosters_ [n_targets].
    """

    stored_name = "RegMixLightGBM"

    def __init__(self, *, n_estimators=1000, learning_rate=0.01, random_state=None):
        self.n_estimators = n_estimators
        self.learning_rate = learning_rate
        self.random_state = random_state

    def _fit(self, W: Array, Y: Array) -> None:
        import lightgbm

        settings = {
            "objective": "regression",
            "learning_rate": self.learning_rate,
            "seed": int(check_random_state(self.random_state).randint(2**31)),
            "deterministic": True,
            "force_row_wise": True,  # else timing decides, and with it the order of sums
            "num_threads": 1,  # the tables are small: threads only wait for each other
            "verbosity": -1,
        }
        self.boosters_ = []
        for y in Y.T:
            known = np.isfinite(y)
            if known.sum() <= MAX_SMALL_SAMPLE:
                settings["min_data_in_leaf"] = settings["min_data_in_bin"] = 5
            data = lightgbm.Dataset(W[known], label=y[known])
            self.boosters_.append(lightgbm.train(settings, data, num_boost_round=self.n_estimators))

    def _predict(self, W: Array) -> Array:
        return np.column_stack([np.asarray(b.predict(W, num_threads=1)) for b in self.boosters_])

    def _learned(self) -> dict[str, Any]:
        return {"boosters": [booster.model_to_string() for booster in self.boosters_]}

    def _restore(self, learned: Mapping[str, Any]) -> None:
        import lightgbm

        self.boosters_ = [lightgbm.Booster(model_str=text) for text in learned["boosters"]]
        self.n_targets_ = len(self.boosters_)
