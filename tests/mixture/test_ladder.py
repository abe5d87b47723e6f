"""Studies with a ladder: larger rungs planned after the smallest, the full run's loss, what is refused."""

import json

import numpy as np
import pytest

from mixopt.errors import MixoptError
from mixopt.mixture.ladder import most_telling, rounded
from mixopt.mixture.results import Recommendation
from mixopt.mixture.summary import recommendation_document
from mixopt.report.markdown import render
from mixopt.serialization import write_json
from mixopt.study import pipeline
from mixopt.study.loading import load_study
from mixopt.study.pipeline import open_session, run, verify
from proxies.record import read_record
from tests.factories.progress import Recorder
from tests.factories.small_study import STUDY, write_small_study

pytestmark = pytest.mark.usefixtures("trained_here")

LADDER = """\
ladder:
  - {params: 4, tokens: 1.5, mixtures: 5, repetition_runs: 1}
  - {params: 16, tokens: 2, mixtures: 4, repetition_runs: 0, repeats: 0}
"""
CHANGED = STUDY.replace("repetition_runs: 0, shorter_runs: 0", "repetition_runs: 2, shorter_runs: 1").replace(
    "verify: {seeds: 2}", "verify: {seeds: 2, params_scale: 4, tokens_scale: 1}"
)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    path = write_small_study(folder)
    path.write_text(CHANGED)
    return folder


@pytest.fixture(scope="module")
def done(home):
    """A study trained on one rung, and then with a ladder: (session, recommendation)."""
    run(open_session(home / "study.yaml", home / "out", Recorder()))
    before = {path.name for path in (home / "out/runs").glob("*.json")}
    (home / "study.yaml").write_text(CHANGED + LADDER)
    session = open_session(home / "study.yaml", home / "out", Recorder())
    found = run(session)  # without consent to training again: no run of the smallest rung may be lost
    return session, found, before


def records(session):
    return [read_record(path) for path in session.folder.runs.glob("*.json")]


def test_runs_trained_before_are_the_smallest_rung_and_larger_ones_are_added(done):
    session, _, before = done
    runs = records(session)
    assert before < {f"{one.run_id}.json" for one in runs}
    sizes = sorted({one.params for one in runs})
    assert [size / sizes[0] for size in sizes] == [1, 4, 16]
    larger = [one for one in runs if one.params > sizes[0]]
    assert {one.role for one in larger} == {"larger"}


def test_larger_rungs_are_nested_and_hold_uniform_natural_and_the_one_predicted_best(done):
    session, _, _ = done
    runs = records(session)
    by_size = {}
    for one in runs:
        by_size.setdefault(one.params, set()).add(tuple(round(one.weights[name], 6) for name in session.study.domains))
    smallest, middle, largest = (by_size[size] for size in sorted(by_size))
    assert largest <= middle <= smallest
    assert (len(middle), len(largest)) == (5, 4)
    assert tuple(np.round(np.full(3, 1 / 3), 6)) in largest
    chosen = json.loads(session.folder.ladder.read_text())["mixtures"]
    natural = next(one for one in runs if one.role == "natural")
    assert [one.role for one in runs if one.weights == chosen[1]].count("near-best") == 1
    assert natural.weights == chosen[2]


def test_repetition_is_matched_on_every_rung_and_another_is_trained_on_one(done):
    session, _, _ = done
    runs = records(session)
    sizes = sorted({one.params for one in runs})

    def repetition(kept):
        return {tuple(round(one.pools[name] / one.tokens, 2) for name in one.pools) for one in runs if kept(one)}

    matched = repetition(lambda one: one.role == "natural")
    assert all(matched <= repetition(lambda one, size=size: one.params == size) for size in sizes)
    assert len(repetition(lambda one: one.params == sizes[1])) > 1


def test_the_full_runs_loss_is_predicted_with_a_range_that_is_no_interval_so_far_away(done):
    _, found, _ = done
    predicted = found["full"]["predicted"]
    assert set(predicted) == {"recommended", "natural", "uniform", "smallest_rung"}
    for row in predicted.values():
        assert 0 < row["low"] < row["loss"] < row["high"]
        assert row["checked"] is False
        assert row["bits_per_byte"] > 0
    assert predicted["recommended"]["loss"] <= min(row["loss"] for row in predicted.values()) + 1e-9
    assert found["full"]["gains"]["uniform"]["low"] <= found["full"]["gains"]["uniform"]["loss"]
    assert [rung["runs"] > 0 for rung in found["full"]["rungs"]] == [True] * 3
    held = found["full"]["held_out"]
    assert held["beyond"]["params"] == pytest.approx(4)
    assert 0 <= held["inside"] <= 1


def test_the_page_says_the_loss_the_distance_and_what_changes_with_scale(done):
    session, found, _ = done
    text = render(recommendation_document(Recommendation.from_json(found)))
    assert "Predicted target loss of the full run, 10M parameters and 1M tokens" in text
    assert "range, not checked at this distance" in text
    assert "Left out of the fit, that rung" in text
    assert "Smallest rung's best" in text
    assert "of the full run is not predicted" not in (session.folder.report).read_text()


def test_nothing_is_trained_or_chosen_again(done):
    session, found, _ = done
    before = {path: path.stat().st_mtime_ns for path in session.folder.runs.glob("*.json")}
    chosen = session.folder.ladder.read_text()
    assert run(open_session(session.path, session.folder.root, Recorder())) == found
    assert {path: path.stat().st_mtime_ns for path in session.folder.runs.glob("*.json")} == before
    assert session.folder.ladder.read_text() == chosen


def test_a_design_before_any_training_says_that_larger_rungs_follow(home, done, tmp_path):
    session = open_session(home / "study.yaml", tmp_path / "other", Recorder())
    shards = pipeline.prepare(session.study, session.path, session.folder, session.progress)
    plan = session.kind.plan(session, shards)
    assert {job.role for job in plan.jobs}.isdisjoint({"larger", "near-best"})
    assert "larger rungs" in plan.notes[-1]


@pytest.mark.slow
def test_the_recommendation_is_trained_a_rung_above_and_held_against_its_prediction(done):
    session, _, _ = done
    verified = verify(session)
    above = verified["sizes"][-1]
    assert above["params_scale"] == pytest.approx(64)
    assert set(above["arms"]) == {"recommended", "natural", "uniform", "smallest_rung"}
    assert above["predicted"]["predicted"]["recommended"]["checked"] is True
    assert "The ladder had predicted these losses with a mean error of" in verified["conclusions"][-1]
    assert verified["sizes"][0]["predicted"] is None


@pytest.mark.parametrize(
    ("ladder", "words"),
    [
        ("ladder: [{params: 4}, {params: 2}]", "no more parameters"),
        ("ladder: [{params: 4, tokens: 4}, {params: 16, tokens: 2}]", "fewer tokens"),
        ("ladder: [{params: 4, mixtures: 5}, {params: 16, mixtures: 6}]", "6 are more than the 5 of the rung below"),
        ("ladder: [{params: 1.2}]", "width"),
        ("ladder: [{params: 4, mixtures: 2}]", "ladder"),
        ("ladder: [{parameters: 4}]", "parameters"),
    ],
)
def test_rungs_that_can_not_be_are_refused(tmp_path, ladder, words):
    path = write_small_study(tmp_path)
    path.write_text(STUDY + ladder + "\n")
    with pytest.raises(MixoptError, match=words):
        load_study(path)


def test_finished_runs_of_ones_own_have_no_use_for_a_ladder(tmp_path):
    (tmp_path / "runs.csv").write_text("a,b\n")
    (tmp_path / "study.yaml").write_text("name: x\ntarget: t\nruns: runs.csv\nladder: [{params: 4}]\n")
    with pytest.raises(MixoptError, match=r"ladder.*no use with runs"):
        load_study(tmp_path / "study.yaml")


def test_the_most_telling_mixtures_are_spread_and_near_the_best():
    rng = np.random.default_rng(0)
    W = rng.dirichlet(np.ones(4), size=60)
    predicted = W[:, 0]  # the less of the first domain the better
    first = np.full((1, 4), 0.25)
    rows = most_telling(W, predicted, first, count=9)
    assert len(set(rows)) == 8
    assert predicted[rows].mean() < predicted.mean()
    assert W[rows].std(axis=0)[1:].min() > 0.5 * W.std(axis=0)[1:].min()
    assert most_telling(W, predicted, W[rows[:1]], count=5)[0] != rows[0]


def test_rounded_shares_sum_to_one():
    for seed in range(20):
        w = rounded(np.random.default_rng(seed).dirichlet(np.ones(7)))
        assert w.sum() == pytest.approx(1, abs=1e-12)
        assert np.allclose(w, np.round(w, 3))


@pytest.mark.parametrize(
    "edit",
    [
        lambda kept: kept.pop("mixtures"),
        lambda kept: kept["mixtures"][0].pop("law"),
        lambda kept: kept["mixtures"][0].update(law="a third"),
    ],
)
def test_a_choice_that_is_not_whole_is_refused_by_the_name_of_its_file(done, tmp_path, edit):
    session, _, _ = done
    kept = json.loads(session.folder.ladder.read_text())
    before = session.folder.ladder.read_bytes()
    edit(kept)
    write_json(session.folder.ladder, kept)  # under a checksum that fits
    try:
        with pytest.raises(MixoptError, match=r"ladder\.json: .*mixopt run"):
            pipeline.planned(session)
    finally:
        session.folder.ladder.write_bytes(before)
