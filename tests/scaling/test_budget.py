"""Facts about pools and compute budgets in `mixopt scale`: how often text is read, and the size to train."""

import sys

import numpy as np
import pandas as pd
import pytest

from mixopt.cli.main import main
from mixopt.cli.scaling import pool_counts
from mixopt.errors import MixoptError
from mixopt.runs.read import Reading
from mixopt.runs.scales import read_scales
from mixopt.scaling.budget import TRAINING, Budget, check_budget
from mixopt.scaling.fit import fit_scale
from mixopt.scaling.stored import load_scale
from mixopt.study.progress import Progress
from regressors.laws.effective_tokens import effective_shares
from tests.factories.scaling_tables import made_runs

LAW = "joint-log-linear"
HALF = {"a": 0.5, "b": 0.5}


@pytest.fixture(autouse=True)
def short_search(monkeypatch):
    """Searches are tested elsewhere: here a few trials will do, the local search does the rest."""
    monkeypatch.setattr("mixopt.scaling.fit.TRIALS", 40)


def read(path):
    return read_scales(Reading([path]), Progress())


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("budget") / "runs.csv"
    made_runs(tokens=(4e9, 8e9, 1.6e10), mixtures=7).to_csv(path, index=False)
    return read(path)


def best(fitted):
    return fitted.record["evidence"]["best"]


def test_a_budget_is_spent_whole_on_the_size_that_predicts_the_lowest_loss(table):
    fitted = fit_scale(table, HALF, [LAW], compute=1e21)
    at = fitted.record["at"]
    assert TRAINING * at["params"] * at["tokens"] == pytest.approx(1e21)
    low, high = fitted.record["evidence"]["size"]["as_good"]
    assert low < at["params"] < high
    here = best(fitted)["mixtures"]["best"]["loss"]
    for size in (0.5, 0.8, 1.25, 2.0):
        params = size * at["params"]
        other = fitted.predict(fitted.best, params=params, tokens=1e21 / (TRAINING * params))[0]
        assert other > here
        assert (other < 1.001 * here) == (low < params < high)


def test_scarce_text_makes_the_best_model_larger_and_is_read_more_than_once(table):
    plenty = fit_scale(table, HALF, [LAW], compute=1e21)
    scarce = fit_scale(table, HALF, [LAW], compute=1e21, pools={"code": 1e9, "news": 1e9, "web": 1e9})
    assert scarce.record["at"]["params"] > 1.2 * plenty.record["at"]["params"]
    assert best(scarce)["mixtures"]["best"]["loss"] > best(plenty)["mixtures"]["best"]["loss"]
    epochs = best(scarce)["epochs"]
    for name, share in scarce.best.items():
        assert epochs[name] == pytest.approx(share * scarce.record["at"]["tokens"] / 1e9)
    assert max(epochs.values()) > 2
    assert best(plenty)["epochs"] == dict.fromkeys(plenty.best)


def test_a_scarce_domain_gets_less_and_others_without_limit_more(table):
    free, scarce = (fit_scale(table, HALF, [LAW], at_params=1e9, at_tokens=6e10, pools=p) for p in ({}, {"code": 2e9}))
    assert scarce.best["code"] < free.best["code"] - 0.02
    assert best(scarce)["epochs"]["news"] is None


def test_without_repetition_in_the_runs_the_published_constant_stands_and_is_said_to(table):
    fitted = fit_scale(table, HALF, [LAW], at_tokens=6e10, pools={"code": 5e9})
    known = fitted.record["evidence"]["repetition"]
    assert known["from"] == "published" and known["most"] is None
    assert known["r_star"] == {"a": pytest.approx(15.387756, rel=1e-3), "b": pytest.approx(15.387756, rel=1e-3)}
    assert any("no run repeated anything" in warning for warning in fitted.record["evidence"]["warnings"])
    plain = fit_scale(table, HALF, [LAW], at_tokens=6e10)
    assert fitted.predict(plain.best, tokens=8e9)[0] == pytest.approx(
        plain.predict(plain.best, tokens=8e9)[0], rel=1e-4
    )


def test_runs_that_repeat_tell_how_fast_text_wears_out(tmp_path):
    """Runs whose text wears out much faster than the published constant says."""
    frame = made_runs(sizes=(5e7, 1.5e8, 4.5e8), tokens=(4e9, 1.6e10), mixtures=9)
    names = ["code", "news", "web"]
    w = frame[[f"w_{name}" for name in names]].to_numpy()
    unique = np.where(np.arange(len(frame)) % 5 < 2, 0.05, 0.5)[:, None] * np.ones(3)
    kept = effective_shares(w, unique, 2.0).sum(axis=1)
    rise = 0.4 * (frame["tokens"] * kept / 1e10) ** -0.35 - 0.4 * (frame["tokens"] / 1e10) ** -0.35
    frame = frame.assign(**{f"loss_{text}": frame[f"loss_{text}"] + rise for text in "ab"})
    pools = pd.DataFrame(unique * frame["tokens"].to_numpy()[:, None], columns=[f"pool_{name}" for name in names])
    pd.concat([frame, pools], axis=1).to_csv(tmp_path / "runs.csv", index=False)
    fitted = fit_scale(read(tmp_path / "runs.csv"), HALF, [LAW], pools={"code": 5e9})
    known = fitted.record["evidence"]["repetition"]
    assert known["from"] == "runs"
    assert max(known["most"].values()) > 10
    assert all(1 < value < 6 for value in known["r_star"].values())


def test_a_fit_with_pools_reads_back_and_repeats_more_in_longer_runs(table, tmp_path):
    fitted = fit_scale(table, HALF, [LAW], at_params=1e9, at_tokens=6e10, pools={"code": 2e9})
    fitted.save(tmp_path / "fit.json")
    again = load_scale(tmp_path / "fit.json")
    mixture = {"code": 0.5, "news": 0.4, "web": 0.1}
    assert again.predict(mixture)[0] == fitted.predict(mixture)[0]
    plain = fit_scale(table, HALF, [LAW], at_params=1e9, at_tokens=6e10)
    costs = [again.predict(mixture, tokens=n)[0] - plain.predict(mixture, tokens=n)[0] for n in (6e10, 2.4e11)]
    assert 0 < costs[0] < costs[1]


def test_one_of_size_and_tokens_with_a_budget_settles_the_other(table):
    fitted = fit_scale(table, HALF, [LAW], at_params=1e9, compute=6e20)
    assert fitted.record["at"] == {"params": 1e9, "tokens": pytest.approx(1e11)}
    assert fitted.record["evidence"]["size"] is None
    with pytest.raises(MixoptError, match="two of them settle the third"):
        fit_scale(table, HALF, [LAW], at_params=1e9, at_tokens=1e10, compute=6e20)


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        (Budget({"legal": 1e9}), "no such domain; they mix code, news, web"),
        (Budget({"code": 0.0}), "above 0"),
        (Budget({}, compute=1e12), "so few FLOPs train nothing near"),
        (Budget({}, compute=1e40), "more FLOPs than there are"),
    ],
)
def test_budgets_that_make_no_sense_are_refused(table, budget, said):
    with pytest.raises(MixoptError, match=said):
        check_budget(budget, table)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["math"], "write domain=count"),
        (["=5B"], "write domain=count"),
        (["math=5B", "math=6B"], "given twice"),
        (["math=lots"], "--pool math lots: write a count above 0"),
        (["math=-5"], "write a count above 0"),
    ],
)
def test_pools_that_make_no_sense_are_refused(given, said):
    with pytest.raises(MixoptError, match=said):
        pool_counts(given)


def test_pools_are_read_with_suffixes():
    assert pool_counts(["web=1T", "math = 5B"]) == {"web": 1e12, "math": 5e9}
    assert pool_counts(None) == {}


def test_the_command_tells_size_epochs_and_where_r_star_is_from(tmp_path, monkeypatch, capsys):
    made_runs(tokens=(4e9, 1.6e10), mixtures=7).to_csv(tmp_path / "runs.csv", index=False)
    monkeypatch.chdir(tmp_path)
    words = ["mixopt", "scale", "runs.csv", "-t", "a=0.5,b=0.5", "--pool", "code=2B", "--compute", "1e21", "--laws"]
    monkeypatch.setattr(sys, "argv", [*words, LAW])
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with pytest.raises(SystemExit) as stopped:
        main()
    said = " ".join(capsys.readouterr().out.split())
    assert not stopped.value.code
    assert "Best use of 1e+21 FLOPs (6 N D): " in said
    assert "come within 0.1% of its loss." in said
    assert "published R* = 15.4 epochs" in said
    assert "no limit" in said
    assert "starts agree; no bound on other mixtures is known: " in said


def test_a_joint_law_without_repetition_has_a_duality_gap_for_all_mixtures(table):
    found = best(fit_scale(table, HALF, [LAW], at_tokens=6e10))["search"]["certificate"]
    assert found["scope"] is None
    assert 0 <= found["gap"] < 1e-5
