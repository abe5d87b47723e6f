"""Fitting runs whose pools differ: what is learnt from which runs, and whether seeing repetition earned its place."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mixopt.errors import MixoptError
from mixopt.mixture import fit
from mixopt.mixture.fit import fit_runs, judge_all
from mixopt.mixture.leaderboard import leaderboard
from mixopt.mixture.pool_ablation import runs_of, without_other_pools
from mixopt.runs.pools import common_unique, full_unique, pool_shares
from mixopt.runs.table import RunTable
from mixopt.study.progress import Progress
from regressors import EPOCH_AWARE, from_dict
from regressors.estimators.pool_aware import AtPools
from regressors.laws.effective_tokens import effective_shares

DOMAINS, TEXTS = ("books", "code", "news"), ("quotes", "spanish")
OWN = np.array([0.05, 0.1, 0.5])  # unique tokens over a run's tokens
TOKENS = 1e6
TARGET = {"quotes": 1.0}
QUICK = ("effective-data", EPOCH_AWARE)


def made(*, ordinary=24, separating=6, repeats=2, shorter=2, repeated=True, seed=0):
    """Runs of every role; the losses of made ones follow effective tokens, or weights alone."""
    rng = np.random.default_rng(seed)
    w = rng.dirichlet(np.ones(3), ordinary).round(4)
    w[:, 2] = 1 - w[:, :2].sum(axis=1)
    rows = [("dirichlet", w[i], 1.0) for i in range(ordinary)]
    rows += [("repeat", w[0], 1.0)] * repeats
    rows += [("repetition", w[i], (1 / 3, 3.0)[i % 2]) for i in range(separating)]
    rows += [("shorter", w[i], 1.0) for i in range(shorter)]
    W, unique = np.array([w for _, w, _ in rows]), OWN * np.array([[scale] for *_, scale in rows])
    seen = effective_shares(W, unique, 3.0) if repeated else W
    waste = (W - seen).sum(axis=1) ** 2
    losses = 2 + 0.3 * (seen[:, [0, 1]] + 0.2 * seen[:, [2]] + 0.02) ** -0.4 + 0.5 * waste[:, None]
    losses = losses + 0.003 * rng.standard_normal(losses.shape)
    half = np.array([0.5 if role == "shorter" else 1.0 for role, *_ in rows])
    losses += np.where(half < 1, 0.4, 0.0)[:, None]
    frame = pd.DataFrame(
        {"run_id": [f"r{i:02d}" for i in range(len(rows))], "role": [role for role, *_ in rows]}
        | {"tokens": TOKENS * half, "params": 1e5, "seed": 0, "diverged": False}
        | {f"w/{name}": W[:, j] for j, name in enumerate(DOMAINS)}
        | {f"pool/{name}": unique[:, j] * TOKENS * half for j, name in enumerate(DOMAINS)}
        | {f"loss/{text}": losses[:, j] for j, text in enumerate(TEXTS)}
    )
    return RunTable(frame=frame, domains=DOMAINS, targets=TEXTS)


class Notes(Progress):
    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


@pytest.fixture(scope="module", autouse=True)
def one_rehearsal():
    """Rehearsals are judged elsewhere, and take most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "HOLDOUTS", 1)
        yield


@pytest.fixture(scope="module")
def found():
    return fit_runs(made(), TARGET, QUICK, folds=4)


def test_runs_are_told_apart_by_their_roles():
    table = made()
    assert len(runs_of(table).kept) == 24 and len(runs_of(table, role="repetition").kept) == 6
    assert set(without_other_pools(table).kept["role"]) == {"dirichlet", "repeat"}
    plain = replace(table, frame=table.frame.drop(columns="role"))
    assert runs_of(plain) is plain and len(runs_of(plain, role="repetition").kept) == 0


def test_all_predictors_are_judged_on_the_ordinary_runs(found):
    assert set(found.selection["held_out"]["role"]) == {"dirichlet"}
    assert found.selection["runs"] == 24
    assert found.held_out.predicted.shape == (24, 2)


def test_runs_of_other_pools_or_lengths_are_no_noise(found):
    assert found.selection["noise"][0]["repeats"] == 3
    assert found.selection["floor"] < 0.01  # the made noise is .003; other pools move losses by tenths


def test_seeing_repetition_earns_its_place_where_losses_follow_it(found):
    told = found.selection["repetition"]
    assert found.name == EPOCH_AWARE == told["aware"] and told["plain"] == "effective-data"
    assert told["runs"] == 6 and told["earned"] is True
    assert told["with"] < 0.3 * told["without"] and told["why"].endswith("earns its place.")
    assert set(told["by_text"]) == set(TEXTS)
    interval = told["r_star"]["by_text"]
    assert set(interval) == {"quotes"}  # the target's texts
    assert interval["quotes"]["identified"] is True
    assert interval["quotes"]["low"] < interval["quotes"]["value"] < interval["quotes"]["high"]


def test_seeing_repetition_earns_nothing_where_losses_follow_weights_alone():
    told = judge_all(made(repeated=False), TARGET, QUICK, folds=4).selection["repetition"]
    assert told["runs"] == 6 and told["earned"] is False


def test_after_the_fit_everything_predicts_from_shares_at_the_full_run_s_pools():
    full = full_unique(DOMAINS, {"books": 2e9, "news": 5e9, "code": None}, 10e9)
    np.testing.assert_array_equal(full, [0.2, np.inf, 0.5])
    there = fit_runs(made(), TARGET, [EPOCH_AWARE], folds=2, unique=full)
    table = there.table
    for model in (there.estimator, *there.held_out.estimators):
        assert isinstance(model, AtPools)
        np.testing.assert_array_equal(model.unique, full)
        assert model.predict(table.weights).shape == (24, 2)
        assert model.unique_gradient(table.weights).shape == (24, 2, 3)
        np.testing.assert_array_equal(from_dict(model.to_dict()).predict(table.weights), model.predict(table.weights))
    assert there.held_out.at(table.weights[:5]).shape == (2, 5, 2)


def test_without_a_full_run_the_runs_common_pools_are_taken(found):
    np.testing.assert_allclose(found.estimator.unique, OWN)


def test_what_sees_weights_alone_learns_from_ordinary_runs_alone():
    alone = made(separating=0, shorter=0, repeats=0)
    one, other = (judge_all(table, TARGET, ["exponential-mixing"], folds=4) for table in (made(), alone))
    np.testing.assert_array_equal(
        one.judged["exponential-mixing"].predicted, other.judged["exponential-mixing"].predicted
    )


def test_the_repetition_runs_decide_what_the_aware_predictor_learns(found):
    with_them, without = found, fit_runs(made(separating=0), TARGET, [EPOCH_AWARE], folds=2)
    assert with_them.selection["repetition"]["runs"] == 6
    assert without.selection["repetition"]["runs"] == 0 and without.selection["repetition"]["earned"] is None
    other = OWN * 3
    truth = made(seed=1, separating=0).weights
    guesses = [fit.estimator.law.at(other).predict(truth) for fit in (with_them, without)]
    seen = effective_shares(truth, other, 3.0)
    measured = 2 + 0.3 * (seen[:, [0, 1]] + 0.2 * seen[:, [2]] + 0.02) ** -0.4
    measured += 0.5 * ((truth - seen).sum(axis=1) ** 2)[:, None]
    errors = [np.sqrt(np.mean((guess - measured) ** 2)) for guess in guesses]
    assert errors[0] < 0.05 and errors[0] < errors[1]


def differing():
    """A table as a user might bring: no roles, every run from pools of its own."""
    table = made(ordinary=30, separating=0, repeats=0, shorter=0)
    frame = table.frame.drop(columns="role")
    scale = np.random.default_rng(0).choice([0.5, 1.0, 2.0], len(frame))
    pools = frame[[f"pool/{name}" for name in DOMAINS]].to_numpy() * scale[:, None]
    seen = effective_shares(table.weights, pools / TOKENS, 3.0)
    losses = 2 + 0.3 * (seen[:, [0, 1]] + 0.2 * seen[:, [2]] + 0.02) ** -0.4
    frame = frame.assign(**{f"pool/{name}": pools[:, j] for j, name in enumerate(DOMAINS)})
    return replace(table, frame=frame.assign(**{f"loss/{text}": losses[:, j] for j, text in enumerate(TEXTS)}))


def test_pools_that_differ_from_run_to_run_are_seen_where_the_full_run_s_are_known():
    table = differing()
    assert common_unique(table) is None and pool_shares(table).shape == (30, 3)
    told = fit_runs(table, TARGET, QUICK, folds=2, unique=OWN)
    assert told.name == EPOCH_AWARE
    assert told.selection["repetition"]["runs"] == 30 and told.selection["repetition"]["earned"] is True


def test_pools_that_differ_need_a_full_run_to_predict_for():
    progress = Notes()
    assert fit_runs(differing(), TARGET, QUICK, folds=4, progress=progress).name == "effective-data"
    assert any("full.tokens" in note and EPOCH_AWARE in note for note in progress.notes)
    with pytest.raises(MixoptError, match=r"full\.tokens and domains"):
        fit_runs(differing(), TARGET, [EPOCH_AWARE])


def test_a_leaderboard_judges_on_pools_that_differ():
    board = leaderboard(differing(), ["exponential-mixing", EPOCH_AWARE], folds=2)
    assert board["refused"] == {}
    assert board["board"][0]["predictor"] == EPOCH_AWARE


def test_runs_without_pools_leave_nothing_to_see():
    frame = made().frame
    table = replace(made(), frame=frame.drop(columns=[f"pool/{name}" for name in DOMAINS]))
    assert pool_shares(table) is None
    found = judge_all(table, TARGET, QUICK, folds=4)
    assert list(found.judged) == ["effective-data"] and found.selection["repetition"] is None


def test_an_empty_pool_is_an_unlimited_one():
    table = made()
    table = replace(table, frame=table.frame.assign(**{"pool/news": np.nan}))
    assert np.isinf(pool_shares(table)[:, 2]).all()
    assert np.isinf(common_unique(runs_of(table))[2])
