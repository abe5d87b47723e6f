"""Predictors that know the slope of their predictions."""

from sklearn.utils.validation import check_is_fitted

from regressors.base import MixtureRegressor
from regressors.law import Array


class SlopedRegressor(MixtureRegressor):
    """A mixture regressor with exact slopes: a search then needs no trial moves."""

    def gradient(self, W: Array) -> Array:
        """Exact d loss / d share at W (n_points, n_domains): (n_points, n_domains), or (n_points, n_targets, n_domains)
        after a fit to 2-D Y. nats/token per unit of share, each domain by itself, not along the simplex."""
        check_is_fitted(self)
        W = self._checked_shares(W, reset=False)[:, self.order_]
        slopes = self._slopes(W)
        out = slopes[..., self.order_.argsort()]  # back from the fit's own order of domains
        return out[:, 0] if self.flat_ else out

    def _slopes(self, W: Array) -> Array:
        """(n_points, n_targets, n_domains), domains in the fit's own order as W's are."""
        raise NotImplementedError
