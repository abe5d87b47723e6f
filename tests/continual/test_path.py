"""Studies of continued pretraining: their files, their bases and continuations, and the whole path on small text."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mixopt.continual.design import REPEAT
from mixopt.continual.fit import as_runs
from mixopt.continual.results import Interval, Intervals, LeftOut, Recommendation
from mixopt.continual.verify import judge
from mixopt.errors import MixoptError
from mixopt.runs.table import read_run
from mixopt.study import pipeline
from mixopt.study.loading import load_study
from proxies.record import RunRecord

pytestmark = pytest.mark.usefixtures("trained_here")

GOOD = """\
name: small
kind: continual
domains:
  a: {path: a.jsonl}
  b: {path: b.jsonl}
  c: {path: c.jsonl}
new: a
general: {b: 0.75, c: 0.25}
base: {sizes: [1, 4], tokens: 3K}
continuing: {learning_rate: 5e-3}
design: {shares: [0, 0.5, 1], tokens: [640, 1280], repeats: 1, looks: 2}
full: {tokens: 1280, tolerance: 0.5}
tokenizer: {vocab: 260}
prepare: {val_fraction: 0.2}
proxy: {layers: 1, width: 16, heads: 2, context: 16, batch: 4, validation_tokens: 320, device: cpu, workers: 1}
"""


def documents(seed: int, letters: str) -> str:
    """Text in which some letters follow each other more often than others."""
    rng = np.random.default_rng(seed)
    lines = ("".join(rng.choice(list(letters), 60)) for _ in range(60))
    return "\n".join(json.dumps({"text": line}) for line in lines)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("continual")
    for seed, (name, letters) in enumerate({"a": "xyz ", "b": "abcdef ", "c": "ghijkl "}.items()):
        (folder / f"{name}.jsonl").write_text(documents(seed, letters), encoding="utf-8")
    return folder


def written(place: Path, text: str = GOOD) -> Path:
    (place / "study.yaml").write_text(text, encoding="utf-8")
    return place / "study.yaml"


@pytest.fixture(scope="module")
def finished(place):
    """A finished study, and what it recommends."""
    session = pipeline.open_session(written(place), place / "out")
    return session, pipeline.run(session)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("new: a", "new: d", r"new: 'd' is none of the domains a, b, c"),
        ("{b: 0.75, c: 0.25}", "{b: 0.75, a: 0.25}", "general.a: is not a general domain; there are b, c"),
        ("{b: 0.75, c: 0.25}", "{b: 0.75, c: 0.5}", "general: its weights sum to 1.25"),
        ("[0, 0.5, 1]", "[0, 0.5, 0.5]", "design.shares: 0.5 stands there twice"),
        ("[0, 0.5, 1]", "[0, 1]", "design.shares"),
        ("[640, 1280]", "[32]", "32 tokens are less than one step of 64"),
        ("sizes: [1, 4]", "sizes: [1, 1.1]", "base.sizes: 1.1 and another size both come to a width of 16"),
        ("sizes: [1, 4]", "sizes: [1], checkpoint: x.npz", "base.sizes: has no use with base.checkpoint"),
        ("tolerance: 0.5", "tolerance: 0.5, compute: 1e12", "full.compute: leaves params and tokens free"),
        ("new: a", "new: a\ndomain_loss: z", "domain_loss: 'z' is none of the texts a, b, c"),
    ],
)
def test_a_study_that_says_nonsense_is_refused_by_its_key(place, old, new, message):
    with pytest.raises(MixoptError, match=message):
        load_study(written(place, GOOD.replace(old, new)))


def test_a_study_recommends_a_share_with_intervals(finished):
    session, found = finished
    run = found["answer"]
    assert found["kind"] == "continual"
    assert 0 <= run["share"] <= 1
    assert run["rise"] <= 0.5 + 1e-6
    assert run["ends"]["domain"]["low"] <= run["ends"]["domain"]["high"]
    assert json.loads(session.folder.recommendation.read_text())["answer"] == json.loads(json.dumps(run))


def test_continuations_of_a_size_start_from_one_base_and_general_text_keeps_its_proportions(finished):
    session, _ = finished
    plan, _ = pipeline.planned(session)
    assert len(plan.bases) == 2
    assert len(plan.jobs) == 2 * 3 * 2 + 1
    assert sorted(path.suffix for path in plan.store.iterdir()) == [".json", ".json", ".npz", ".npz"]
    for run, job in zip(plan.runs, plan.jobs, strict=True):
        assert sum(job.weights.values()) == pytest.approx(1)
        assert job.weights["a"] == run.share
        assert job.weights["b"] == pytest.approx(3 * job.weights["c"])
    assert len({job.init_from for job in plan.jobs}) == 2
    assert len({job.run_id for job in plan.jobs}) == len(plan.jobs)


def test_losses_are_taken_at_the_start_in_training_and_at_the_end(finished):
    session, _ = finished
    table = pipeline.finished_runs(session)
    assert table.frame.groupby("run_id")["point"].agg(list).map(tuple).unique().tolist() == [
        ("start", "look", "look", "end")
    ]
    starts = table.frame[table.frame["point"] == "start"]
    assert (starts.groupby("params")["general_loss"].nunique() == 1).all()
    mean = 0.75 * table.frame["loss/b"] + 0.25 * table.frame["loss/c"]
    assert np.allclose(table.frame["general_loss"], mean)
    assert len(table.ends) == 12
    assert REPEAT not in set(table.ends["role"])


def test_runs_are_given_to_the_plan_with_their_starts(finished):
    session, _ = finished
    table = pipeline.finished_runs(session)
    runs = as_runs(table, session.study)
    assert len(runs.share) == 12
    assert sorted(runs.starts) == sorted(set(runs.params))
    X, y = runs.table("general")
    assert (X[:2, 1] == 0).all() and np.isfinite(y).all()
    assert set(X[2:, 2]) == {0.0, 0.5, 1.0}


def test_a_finished_study_is_not_trained_again_and_says_the_same(finished, place):
    session, found = finished
    times = {path: path.stat().st_mtime_ns for path in session.folder.root.rglob("*.npz")}
    times |= {path: path.stat().st_mtime_ns for path in session.folder.runs.iterdir()}
    again = pipeline.run(pipeline.open_session(written(place), place / "out"))
    assert again == json.loads(json.dumps(found))
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_a_base_that_is_there_is_used_by_another_study_of_other_shares(finished, place):
    session, _ = finished
    store = session.folder.root / "bases"
    text = GOOD.replace("tokens: 3K}", f"tokens: 3K, store: {store}}}").replace("[0, 0.5, 1]", "[0, 0.2, 1]")
    other = pipeline.open_session(written(place, text), place / "other")
    plan, _ = _planned_anew(other)
    mine, _ = pipeline.planned(session)
    assert [job.run_id for job in plan.bases] == [job.run_id for job in mine.bases]
    assert plan.store == store


def _planned_anew(session):
    from mixopt.study.prepare import prepare

    shards = prepare(session.study, session.path, session.folder, session.progress)
    return session.kind.plan(session, shards), shards


def test_a_checkpoint_takes_the_place_of_a_base(finished, place):
    session, _ = finished
    base = sorted((session.folder.root / "bases").glob("*.npz"))[0]
    text = GOOD.replace("base: {sizes: [1, 4], tokens: 3K}", f"base: {{checkpoint: {base}}}")
    other = pipeline.open_session(written(place, text), place / "third")
    plan, _ = _planned_anew(other)
    assert plan.bases == []
    assert {job.init_from for job in plan.jobs} == {str(base)}
    with pytest.raises(MixoptError, match="isn't there: name a base"):
        _planned_anew(pipeline.open_session(written(place, text.replace(base.name, "no.npz")), place / "third"))


def test_a_base_whose_numbers_are_gone_is_trained_again(finished):
    session, _ = finished
    plan, shards = pipeline.planned(session)
    path = Path(plan.bases[0].save_to)
    before = path.read_bytes()
    path.unlink()
    session.kind.train(session, plan, shards)
    assert path.read_bytes() == before


@pytest.mark.parametrize("damage", ["another", "cut"])
def test_a_base_that_is_not_the_planned_one_is_refused_by_its_file(finished, damage):
    session, _ = finished
    plan, shards = pipeline.planned(session)
    path, other = (Path(job.save_to) for job in plan.bases)
    before = path.read_bytes()
    path.write_bytes(other.read_bytes() if damage == "another" else before[:-200])
    with pytest.raises(MixoptError, match=rf"{path.name}: .*delete it and it is trained again"):
        session.kind.train(session, plan, shards)
    path.write_bytes(before)


def test_a_checkpoint_is_known_by_what_it_holds_and_not_by_its_name(finished, place):
    session, _ = finished
    ids = []
    for base in sorted((session.folder.root / "bases").glob("*.npz")):
        (place / "base.npz").write_bytes(base.read_bytes())
        text = GOOD.replace("base: {sizes: [1, 4], tokens: 3K}", "base: {checkpoint: base.npz}")
        plan, _ = _planned_anew(pipeline.open_session(written(place, text), place / "fourth"))
        ids.append({job.run_id for job in plan.jobs})
    assert len(ids) == 2 and not ids[0] & ids[1]


def test_verify_trains_the_recommended_share_on_fresh_seeds(finished):
    session, found = finished
    verified = session.kind.verify(session)
    assert verified["share"] == found["answer"]["share"]
    assert len({run["seed"] for run in verified["runs"]}) == 3
    assert verified["domain"]["predicted"] == found["answer"]["domain"]
    pipeline.write_report(session)
    assert "Measured check" in session.folder.report.read_text()


def test_a_check_and_a_report_are_of_the_study_file_as_it_is(finished, place):
    session, _ = finished
    session.kind.verify(session)
    tighter = pipeline.open_session(written(place, GOOD.replace("tolerance: 0.5", "tolerance: 0.4")), place / "out")
    with pytest.raises(MixoptError, match=r"answers another state of .*study\.yaml.*`mixopt run` brings it up to date"):
        pipeline.write_report(tighter)
    pipeline.run(tighter)
    assert "Measured check" not in tighter.folder.report.read_text()
    pipeline.run(pipeline.open_session(written(place), place / "out"))
    assert "Measured check" in session.folder.report.read_text()


def test_a_fit_that_was_changed_by_hand_is_refused_by_its_file(finished, place):
    session, _ = finished
    path = session.folder.fits / "continual.json"
    before = path.read_text()
    path.write_text(before.replace('"study": "small"', '"study": "other"'))
    with pytest.raises(MixoptError, match=r"continual\.json: was changed after it was written"):
        pipeline.run(session)
    path.write_text(before)


def test_a_promise_is_kept_where_the_trained_losses_meet_the_interval(finished):
    session, found = finished
    plan, _ = pipeline.planned(session)
    record = read_run(next((session.folder.root / "verify").glob("*.json")))
    recommendation = Recommendation.from_json(found)
    three = [replace(record, seed=n) for n in range(3)]
    for low, kept in ((0.0, True), (90.0, False)):
        interval = Interval(low, 100.0)
        answer = replace(recommendation.answer, ends=Intervals(interval, interval, interval))
        assert judge(three, replace(recommendation, answer=answer), plan, session.study).kept is kept


def test_a_verifying_run_that_diverged_is_said_with_how_to_fix_it(finished):
    session, found = finished
    plan, _ = pipeline.planned(session)
    why = "loss is not finite on a"
    gone = RunRecord(run_id="r1", seed=1000, weights={"a": 1.0}, losses={}, diverged=True, reason=why)
    with pytest.raises(MixoptError, match=r"run r1 \(seed 1000\) diverged: .* lower continuing\.learning_rate"):
        judge([gone], Recommendation.from_json(found), plan, session.study)


def test_the_report_has_the_front_the_training_and_every_run(finished):
    session, _ = finished
    html = session.folder.report.read_text()
    for piece in ("Pareto front of both losses", "Losses during training", "Measured losses", "general text"):
        assert piece in html
    for run_id in pipeline.finished_runs(session).ends["run_id"]:
        assert run_id in html


def test_a_recommendation_that_is_not_whole_is_refused_by_its_file(finished, tmp_path):
    _, found = finished
    path = tmp_path / "recommendation.json"
    path.write_text(json.dumps({key: value for key, value in found.items() if key not in ("front", "checksum")}))
    with pytest.raises(
        MixoptError,
        match=r"recommendation\.json: not as this version of mixopt writes it \(front: Field required\).*mixopt run",
    ):
        Recommendation.read(path, made_by="run")


def test_runs_that_diverged_take_no_part(finished):
    session, _ = finished
    table = pipeline.finished_runs(session)
    frame = table.frame.copy()
    gone = table.ends["run_id"][0]
    frame.loc[frame["run_id"] == gone, ["diverged", "reason"]] = [True, "loss is not finite on a"]
    without = replace(table, frame=frame)
    assert gone not in set(without.ends["run_id"])
    assert without.left_out == [LeftOut(gone, "loss is not finite on a")]
