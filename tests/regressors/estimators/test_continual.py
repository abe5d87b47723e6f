"""What a planner of continued pretraining builds on: estimators, their draws, and the shares read off them."""

import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone

import regressors
from regressors.estimators.continual import BASELINES, ContinualRegressor
from regressors.estimators.continual_baselines import interpolation, persistence
from regressors.estimators.continual_ensemble import ContinualEnsembleRegressor, splits_of, weigh
from regressors.evaluation.critical_share import crossings, least_share, with_effective_tokens
from regressors.laws.continual import shift
from tests.factories.continual_runs import RISING, N, arrays, domain_runs, general_runs, grid


def test_repeated_text_counts_as_the_new_text_that_it_is_worth():
    X = np.array([(N, 1e9, 0.5), (N, 1e9, 0.2), (N, 0.0, np.nan)])
    seen = with_effective_tokens(X, 2.5e8, r_star=15.0)
    worth = 2.5e8 * (1 + 15 * (1 - np.exp(-1 / 15)))  # 5e8 tokens of 2.5e8 unique ones: one pass more
    assert seen[0] == pytest.approx([N, 5e8 + worth, worth / (5e8 + worth)])
    assert (seen[1] == X[1]).all()  # 2e8 tokens are all new
    assert seen[2, 1] == 0 and np.isnan(seen[2, 2])
    other = with_effective_tokens(X, 2.5e8, own=False, r_star=15.0)
    assert other[0, 1] == pytest.approx(seen[0, 1]) and other[0, 2] == pytest.approx(5e8 / other[0, 1])
    assert with_effective_tokens(X[:2], np.inf) == pytest.approx(X[:2])


def test_the_blend_says_of_what_it_is_made():
    fitted = ContinualEnsembleRegressor().fit(*general_runs(noise=0.003))
    assert "% shift" in fitted.why_ and "on shares left out" in fitted.why_


def test_what_all_runs_share_cannot_be_moved():
    X, y = domain_runs()
    fitted = ContinualRegressor("d-cpt").fit(X, y)
    assert any("parameters" in caution for caution in fitted.cautions_)
    with pytest.raises(ValueError, match=r"all runs have 7e\+07 parameters.*train a second"):
        fitted.predict([[2 * N, 1e9, 0.3]])
    assert "alpha" in [
        n for n, bad in zip(fitted.identify().names, fitted.identify().unidentified[0], strict=True) if bad
    ]
    one = X[:, 1] == 1e9
    with pytest.raises(ValueError, match="tokens"):
        ContinualEnsembleRegressor().fit(X[one], y[one]).predict([[N, 2e9, 0.3]])
    two = ContinualRegressor("d-cpt").fit(*domain_runs(sizes=(N, 3 * N)))
    assert two.cautions_ == () and np.isfinite(two.predict([[2 * N, 1e9, 0.3]])).all()


def test_larger_models_are_predicted_from_three_sizes():
    X, y = domain_runs(sizes=(N, 2 * N, 4 * N, 8 * N), start=False, shares=(0.2, 0.3, 0.5), checkpoints=4)
    largest = X[:, 0] == 8 * N
    fitted = ContinualEnsembleRegressor().fit(X[~largest], y[~largest])
    held = y[X[:, 0] == 4 * N]  # the same runs at the largest size that was trained
    error = np.abs(fitted.predict(X[largest]) - y[largest]).mean()
    assert error < 0.5 * np.abs(held - y[largest]).mean() and fitted.heldout_["size"]["d-cpt"] > 0
    assert fitted.outside(X).tolist() == largest.tolist()


@pytest.mark.parametrize(
    "make", [lambda: ContinualRegressor("d-cpt", carry=True), ContinualEnsembleRegressor], ids=["carry", "blend"]
)
def test_at_a_trained_run_the_prediction_is_what_was_measured(make):
    X, y = general_runs(noise=0.01)
    assert make().fit(X, y).predict(X) == pytest.approx(y, abs=1e-9)


@pytest.mark.parametrize("name", ["persistence", "interpolation", "trend"])
def test_a_baseline_reads_weights_that_sum_to_one(name):
    X, points = grid(sizes=(N, 3 * N)), grid(sizes=(N / 2, 2 * N), shares=(0.0, 0.2, 0.9), checkpoints=20)
    weights = persistence(X, points) if name == "persistence" else interpolation(X, points, trend=name == "trend")
    assert weights.shape == (len(points), len(X)) and weights.sum(axis=1) == pytest.approx(1)


def test_persistence_never_reads_a_later_checkpoint():
    X = grid()
    rng = np.random.default_rng(0)
    points = np.column_stack([np.full(50, N), rng.uniform(1e9, 2e10, 50), rng.uniform(0, 1, 50)])
    weights = persistence(X, points)
    assert ((weights > 0) <= (X[None, :, 1] <= points[:, [1]])).all()
    assert ((weights > 0).sum(axis=1) == 1).all()


def test_interpolation_is_exact_on_lines_of_its_own_scales():
    X = grid()
    y = 1 + 0.2 * np.log(X[:, 1]) - 0.3 * np.log(X[:, 2] + 0.1)
    inside = np.array([(N, 2.5e9, 0.2), (N, 1e9, 0.45), (N, 7.5e9, 0.8)])
    truth = 1 + 0.2 * np.log(inside[:, 1]) - 0.3 * np.log(inside[:, 2] + 0.1)
    assert ContinualRegressor("interpolation").fit(X, y).predict(inside) == pytest.approx(truth)
    later = np.array([(N, 3e10, 0.2)])
    assert ContinualRegressor("trend").fit(X, y).predict(later) == pytest.approx(
        1 + 0.2 * np.log(3e10) - 0.3 * np.log(0.3)
    )
    held = ContinualRegressor("interpolation").fit(X, y)
    assert held.predict(later) == pytest.approx(held.predict([[N, 8e9, 0.2]]))


@given(order=st.permutations(range(16)), name=st.sampled_from(["d-cpt", "shift", *BASELINES]))
@settings(max_examples=15)
def test_the_order_of_rows_changes_nothing(order, name):
    X, y = general_runs(noise=0.003, checkpoints=3)
    asked = np.array([(N, 2.5e9, 0.2), (N, 6e9, 0.35)])
    make = ContinualRegressor(name, carry=name not in BASELINES, n_starts=1)
    straight = make.fit(X, y).predict(asked)
    # descents stop within a tolerance, and sums in another order round otherwise
    assert make.fit(X[list(order)], y[list(order)]).predict(asked) == pytest.approx(straight, abs=1e-5)


def test_the_blend_trusts_what_predicts_unseen_runs():
    X, y = domain_runs(noise=0.002)
    fitted = ContinualEnsembleRegressor().fit(X, y)
    assert sum(fitted.weights_.values()) == pytest.approx(1)
    assert fitted.weights_["interpolation"] < 0.1 and fitted.heldout_["tokens"]["interpolation"] > 0.01
    flat = 2.5 - 0.2 * np.log(X[:, 2] + 0.1)  # a loss that tokens don't move
    known = X[:, 1] > 0
    rng = np.random.default_rng(0)
    still = ContinualEnsembleRegressor().fit(X[known], flat[known] + 0.002 * rng.standard_normal(known.sum()))
    assert still.weights_["interpolation"] > 0.3 and "shift" not in still.weights_  # no start is known


def test_where_nothing_can_be_left_out_all_members_weigh_the_same():
    X, y = domain_runs(shares=(0.2, 0.4), checkpoints=1)
    fitted = ContinualEnsembleRegressor().fit(X, y)
    assert fitted.heldout_ == {} and set(fitted.weights_.values()) == {1 / 3}
    assert fitted.draws([[N, 1e9, 0.3]], 5).shape == (5, 1)


def test_splits_never_predict_what_they_were_fitted_to():
    X = grid(sizes=(N, 2 * N, 3 * N))
    found = splits_of(X)
    assert {split.kind for split in found} == {"share", "tokens", "size"} and len(found) == 5 + 3 + 1
    for split in found:
        assert not (split.fitted & split.predicted).any() and split.predicted.any()
        if split.kind == "tokens":
            assert X[split.fitted, 1].max() < X[split.predicted, 1].min()


def test_weights_count_every_kind_of_test_alike():
    errors = {"share": np.array([[0.1], [0.2]]), "tokens": np.array([[0.2] * 50, [0.1] * 50])}
    assert weigh(errors, 2) == pytest.approx([0.5, 0.5])
    assert weigh({"share": np.array([[0.1], [np.nan]])}, 2) == pytest.approx([1.0, 0.0])
    assert weigh({"share": np.zeros((2, 3))}, 2) == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize(
    "make", [ContinualEnsembleRegressor, *(lambda n=n: ContinualRegressor(n) for n in ("shift", *BASELINES))]
)
def test_draws_lie_around_the_prediction_and_repeat_with_their_seed(make):
    X, y = general_runs(noise=0.004)
    asked = np.array([(N, 6e9, 0.2), (N, 1.6e10, 0.35), (N, 0.0, 0.3)])
    fitted = make().fit(X, y)
    draws = fitted.draws(asked, 300, random_state=3)
    assert draws.shape == (300, 3) and (draws == fitted.draws(asked, 300, random_state=3)).all()
    assert draws.mean(axis=0) == pytest.approx(fitted.predict(asked), abs=0.006)
    assert (draws[:, 2] == 2.8).all()  # before it is continued nothing is in doubt
    assert (draws[:, :2].std(axis=0) > 1e-4).all()


def test_intervals_widen_beyond_the_last_checkpoint():
    fitted = ContinualEnsembleRegressor().fit(*general_runs(noise=0.004))
    width = fitted.draws([[N, 8e9, 0.2], [N, 3.2e10, 0.2]], 300, random_state=0).std(axis=0)
    assert width[1] > 1.5 * width[0]


@pytest.mark.slow
def test_eighty_percent_intervals_hold_most_shares_that_were_not_trained():
    held = []
    for seed in range(4):
        X, y = (domain_runs if seed % 2 else general_runs)(noise=0.004, seed=seed)
        out = X[:, 2] == 0.3
        draws = ContinualEnsembleRegressor().fit(X[~out], y[~out]).draws(X[out], 200, random_state=0)
        low, high = np.quantile(draws, [0.1, 0.9], axis=0)
        held.append(((low <= y[out]) & (y[out] <= high)).mean())
    assert 0.6 < np.mean(held) < 0.98  # 4 tables of 8 rows that err together


@pytest.mark.parametrize(
    "make", [ContinualEnsembleRegressor, *(lambda n=n: ContinualRegressor(n) for n in ("d-cpt", *BASELINES))]
)
def test_a_stored_fit_predicts_draws_and_answers_as_before(make):
    X, y = general_runs(noise=0.004)
    fitted = make().fit(X, y)
    again = type(fitted).from_dict(json.loads(json.dumps(fitted.to_dict())))
    asked = np.array([(N, 6e9, 0.2), (N, 0.0, 0.35), (N, 1.6e10, 0.35)])
    assert (again.predict(asked) == fitted.predict(asked)).all() and again.cautions_ == fitted.cautions_
    assert again.draws(asked, 20, random_state=1) == pytest.approx(fitted.draws(asked, 20, random_state=1), abs=1e-9)
    if getattr(fitted, "law", None) == "d-cpt":
        assert again.profile("beta").low == pytest.approx(fitted.profile("beta").low, rel=1e-6)
    with pytest.raises(ValueError, match="these are numbers of"):
        type(fitted).from_dict({**fitted.to_dict(), "estimator": "Scheffe"})
    with pytest.raises(ValueError, match="lacks"):
        type(fitted).from_dict({"estimator": fitted.stored_name})


def test_estimators_are_cloned_and_pickled_as_scikit_learns_are():
    made = ContinualRegressor("shift", carry=True, n_starts=3)
    assert clone(made).get_params() == made.get_params()
    X, y = general_runs()
    fitted = pickle.loads(pickle.dumps(made.fit(X, y)))
    assert (fitted.predict(X) == made.predict(X)).all()
    assert regressors.ContinualEnsembleRegressor is ContinualEnsembleRegressor and regressors.least_share is least_share


def test_the_least_share_is_where_the_general_loss_ends_at_its_start():
    X, y = general_runs()
    fitted = ContinualEnsembleRegressor().fit(X, y)
    found = least_share(fitted, params=N, tokens=8e9)
    at = shift(np.ones(1), np.array([2.0]), np.array([found.share]), np.array([2.8]), **arrays(RISING))
    assert at == pytest.approx(2.8, abs=1e-3) and found.low <= found.share <= found.high and not found.at_edge
    looser = least_share(fitted, params=N, tokens=8e9, tolerance=0.005, draws=0)
    assert looser.share < found.share and looser.limit == pytest.approx(2.8 * 1.005) and np.isnan(looser.low)
    assert least_share(fitted, params=N, tokens=8e9, tolerance=1.0, draws=0).at_edge
    never = least_share(fitted, params=N, tokens=8e9, tolerance=-0.2, draws=20)
    assert np.isnan(never.share) and np.isnan(never.high) and not never.at_edge


def test_a_crossing_is_the_last_one():
    shares = np.array([0.0, 0.1, 0.2, 0.3])
    over = np.array([[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, 1.0, 1.0], [-1.0, -1.0, -1.0, -1.0], [3.0, -1.0, -1.0, -1.0]])
    np.testing.assert_allclose(crossings(shares, over), [0.25, np.nan, 0.0, 0.075])


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        ([[N, 1e9]], [2.0], r"X must be \(n, 3\): params, tokens, r"),
        ([[0, 1e9, 0.5], [N, 1e9, 0.5]], [2.0, 2.0], "number of parameters, above 0"),
        ([[N, -1, 0.5], [N, 1e9, 0.5]], [2.0, 2.0], "0 or more"),
        ([[N, 1e9, 1.5], [N, 1e9, 0.5]], [2.0, 2.0], "a share from 0 to 1"),
        ([[N, 1e9, 0.5], [N, 1e9, 0.6]], [2.0], "one loss for each row"),
        ([[N, 1e9, 0.5], [N, 0, 0.6]], [2.0, 2.0], "2 rows or more"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_a_reason(X, y, message):
    with pytest.raises(ValueError, match=message):
        ContinualEnsembleRegressor().fit(X, y)


def test_missing_losses_are_left_out():
    X, y = general_runs()
    y[3] = np.nan
    kept = np.isfinite(y)
    whole, part = ContinualRegressor("d-cpt").fit(X, y), ContinualRegressor("d-cpt").fit(X[kept], y[kept])
    assert (whole.predict(X) == part.predict(X)).all()


def test_starts_of_two_sizes_tell_that_of_a_third():
    X, y = general_runs(sizes=(1e7, 1e9))
    y[(X[:, 1] == 0) & (X[:, 0] == 1e7)] = 4.0
    y[(X[:, 1] == 0) & (X[:, 0] == 1e9)] = 1.0
    fitted = ContinualRegressor("interpolation").fit(X, y)
    assert fitted.start_at([1e7, 1e8, 1e9, 1e10]) == pytest.approx([4.0, 2.0, 1.0, 0.5])  # a line in logs


def pythia(shared_data, loss, share):
    import pandas as pd

    table = pd.read_csv(shared_data / "continual" / "pythia70m_pile_python.csv")
    return table[["N_nonemb", "tokens", share]].to_numpy(float), table[loss].to_numpy(), table["step"].to_numpy()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "share", "later", "left_out"),
    [("loss_python", "w_Python", 0.0073, 0.0027), ("loss_full", "w_Pile", 0.00582, 0.0068)],
)
def test_the_default_is_no_worse_than_laws_and_baselines_on_published_runs(shared_data, loss, share, later, left_out):
    X, y, step = pythia(shared_data, loss, share)
    early = step <= 5000
    assert np.abs(ContinualEnsembleRegressor().fit(X[early], y[early]).predict(X[~early]) - y[~early]).mean() <= later
    errors = []
    for ratio in np.unique(X[step > 0, 2]):
        out = (X[:, 2] == ratio) & (step > 0)
        errors.append(np.abs(ContinualEnsembleRegressor().fit(X[~out], y[~out]).predict(X[out]) - y[out]).mean())
    assert np.mean(errors) <= left_out


def test_the_critical_share_of_published_runs_is_the_measured_crossing(shared_data):
    X, y, _ = pythia(shared_data, "loss_full", "w_Pile")
    found = least_share(ContinualEnsembleRegressor().fit(X, y), params=X[0, 0], tokens=X[:, 1].max())
    assert found.share == pytest.approx(0.279, abs=0.01) and found.low < 0.279 < found.high


def test_the_published_chemistry_share_raises_the_general_loss_by_three_percent(shared_data):
    import pandas as pd

    table = pd.read_csv(shared_data / "continual" / "dcpt_usage1_chemistry_1.8B_10B.csv")
    X = np.column_stack([np.full(len(table), 1.8e9), np.full(len(table), 1e10), 1 - table.r_d])
    X, y = np.vstack([X, [1.8e9, 0.0, np.nan]]), np.append(table.L_g, table.L_g0.iloc[0])
    for make in (ContinualEnsembleRegressor, ContinualRegressor):
        found = least_share(make().fit(X, y), params=1.8e9, tokens=1e10, tolerance=0.03, draws=0)
        assert 1 - found.share == pytest.approx(0.924, abs=0.002)
