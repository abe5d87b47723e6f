"""A ladder's law: maps from rung to rung, what lies beyond the largest, exact slopes, storage."""

import json

import numpy as np
import pytest

from regressors import EffectiveDataRegressor, LadderRegressor, from_dict

DOMAINS, TARGETS = 3, 2
RUNGS = ((25e3, 250e3), (100e3, 500e3), (400e3, 1e6))


def shares(n, rng):
    return rng.dirichlet(np.ones(DOMAINS), size=n)


def smallest_loss(W):
    """On each validation set: the more of its own domain the better."""
    return np.stack([2.5 + 1.5 * np.exp(-3 * W[:, k]) for k in range(TARGETS)], axis=1)


def loss(W, params, tokens, *, slope=1.0):
    """Log-linear maps of the smallest rung's losses, with slope the power by the last rung."""
    x, y = np.log(params / RUNGS[0][0]), np.log(tokens / RUNGS[0][1])
    steps = (x + y) / (np.log(16) + np.log(4))
    centre = smallest_loss(np.full((1, DOMAINS), 1 / DOMAINS))
    logs = np.log(smallest_loss(W)) - np.log(centre)
    return centre * np.exp((1 + (slope - 1) * steps) * logs - 0.05 * x - 0.1 * y)


def rows(W, params, tokens, unique=np.inf):
    return np.column_stack([W, np.full(W.shape, unique), np.full((len(W), 2), (params, tokens))])


def made(*, slope=1.0, noise=0.0, seed=0, unique=np.inf):
    """X and Y of 20, 8 and 5 nested mixtures on three rungs, and one shorter run on each of the larger."""
    rng = np.random.default_rng(seed)
    W = shares(20, rng)
    X, Y = [], []
    for (params, tokens), n in zip(RUNGS, (20, 8, 5), strict=True):
        for part, length in ((W[:n], tokens), (W[:1], tokens / 2)):
            X.append(rows(part, params, length, unique))
            Y.append(loss(part, params, length, slope=slope))
    X, Y = np.concatenate(X), np.concatenate(Y)
    return X, Y * np.exp(noise * rng.standard_normal(Y.shape))


@pytest.fixture(scope="module")
def base():
    W = np.vstack([shares(40, np.random.default_rng(1)), np.eye(DOMAINS)])
    return EffectiveDataRegressor(random_state=0).fit(W, smallest_loss(W))


@pytest.fixture(scope="module")
def ladder(base):
    return LadderRegressor(base).fit(*made(slope=1.2, noise=0.002))


def test_mixtures_that_only_the_smallest_rung_trained_are_predicted_on_the_largest(base):
    law = LadderRegressor(base).fit(*made(slope=1.2))
    W = shares(30, np.random.default_rng(7))
    assert law.at(*RUNGS[-1]).predict(W) == pytest.approx(loss(W, *RUNGS[-1], slope=1.2), rel=0.01)


def test_a_rung_beyond_lies_in_its_range_and_differences_are_known_better_than_losses(base):
    law = LadderRegressor(base).fit(*made(noise=0.002))
    W = shares(10, np.random.default_rng(8))
    W[1] = 0.8 * W[0] + 0.2 / DOMAINS
    drawn = law.at(1.6e6, 2e6).drawn(W)
    low, high = np.quantile(drawn, [0.1, 0.9], axis=0)
    truth = loss(W, 1.6e6, 2e6)
    assert ((low <= truth) & (truth <= high)).mean() > 0.9
    gain = drawn[:, 0] - drawn[:, 1]
    assert np.ptp(np.quantile(gain, [0.1, 0.9], axis=0), axis=0).max() < (high - low).min()


def test_losses_fall_and_ranges_widen_with_the_distance(ladder):
    W = np.full((1, DOMAINS), 1 / DOMAINS)
    places = [(400e3, 1e6), (1.6e6, 2e6), (6.4e6, 8e6), (1e9, 20e9)]
    drawn = [ladder.at(*place).drawn(W)[:, 0, 0] for place in places]
    means, widths = [one.mean() for one in drawn], [np.ptp(np.quantile(one, [0.1, 0.9])) for one in drawn]
    assert means == sorted(means, reverse=True)
    assert widths == sorted(widths)
    assert min(one.min() for one in drawn) > 0


@pytest.mark.parametrize("place", [RUNGS[0], RUNGS[-1], (100e3, 2e6), (1e9, 20e9)])
@pytest.mark.parametrize("unique", [[None] * DOMAINS, [0.1, 0.2, None]])
def test_slopes_are_those_of_the_predictions(base, place, unique):
    X, Y = made(noise=0.01, unique=0.15)
    at = LadderRegressor(base).fit(X, Y).at(*place, unique)
    W, step = shares(4, np.random.default_rng(3)), 1e-6
    slopes = at.gradient(W)
    for j in range(DOMAINS):
        up, down = W.copy(), W.copy()
        up[:, j] += step
        down[:, j] -= step
        assert slopes[:, :, j] == pytest.approx((at.predict(up) - at.predict(down)) / (2 * step), rel=2e-4, abs=1e-5)


def test_the_order_of_domains_changes_nothing(base):
    X, Y = made(noise=0.01)
    order = [2, 0, 1]
    columns = [*order, *(DOMAINS + k for k in order), -2, -1]
    W = np.vstack([shares(40, np.random.default_rng(1)), np.eye(DOMAINS)])
    moved_base = EffectiveDataRegressor(random_state=0).fit(W[:, order], smallest_loss(W))
    moved = LadderRegressor(moved_base).fit(X[:, columns], Y).at(1e9, 20e9)
    plain = LadderRegressor(base).fit(X, Y).at(1e9, 20e9)
    probes = shares(5, np.random.default_rng(4))
    assert moved.predict(probes[:, order]) == pytest.approx(plain.predict(probes), rel=1e-6)
    assert moved.gradient(probes[:, order])[:, :, np.argsort(order)] == pytest.approx(plain.gradient(probes), rel=1e-4)


def test_what_is_stored_predicts_the_same(ladder):
    at = ladder.at(1e8, 1e9, [0.5, None, 0.1])
    again = from_dict(json.loads(json.dumps(at.to_dict())))
    W = shares(5, np.random.default_rng(5))
    assert again.drawn(W).tolist() == at.drawn(W).tolist()
    assert (again.params, again.tokens) == (1e8, 1e9)


def test_a_missing_loss_is_left_out_and_a_target_without_any_refused(base):
    X, Y = made()
    Y[3, 0] = np.nan
    assert np.isfinite(LadderRegressor(base).fit(X, Y).at(1e9, 1e10).predict(X[:2, :DOMAINS])).all()
    Y[:, 0] = np.nan
    with pytest.raises(ValueError, match=r"target column\(s\) \[0\]"):
        LadderRegressor(base).fit(X, Y)


def test_columns_that_can_not_be_a_ladders_are_refused(base):
    with pytest.raises(ValueError, match="shares, unique shares, parameters and tokens"):
        LadderRegressor(base).fit(np.ones((4, 5)), np.ones((4, 1)))


def test_a_predictor_without_slopes_has_none(base):
    class Flat:
        n_features_in_ = DOMAINS

        def predict(self, W):
            return smallest_loss(W)

    at = LadderRegressor(Flat()).fit(*made()).at(1e9, 1e10)
    assert getattr(at, "gradient", None) is None
