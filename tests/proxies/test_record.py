"""The record of a finished run, on disk and back."""

import json
import math

import pytest

from proxies.record import Evaluation, Loss, RunRecord, read_record, write_record

RUN = RunRecord(
    run_id="r1",
    role="dirichlet",
    seed=3,
    params=1000,
    tokens=640,
    weights={"a": 0.25, "b": 0.75},
    pools={"a": 600, "b": None},
    losses={"a": Loss(2.5, 1.25), "b": Loss(3.0, 1.5)},
    trajectory=[{"step": 1, "tokens": 64, "train_loss": 4.0}],
    eval_history=[Evaluation(0, 0, {"a": 5.0, "b": 5.5})],
    init_from="b1",
    versions={"torch": "2"},
    recipe={"vocab": 64},
)


def test_a_record_reads_back_as_it_was_written(tmp_path):
    write_record(tmp_path / "r1.json", RUN)
    assert read_record(tmp_path / "r1.json") == RUN
    assert [path.name for path in tmp_path.iterdir()] == ["r1.json"]


def test_a_file_has_the_keys_that_earlier_versions_wrote(tmp_path):
    write_record(tmp_path / "r1.json", RUN)
    content = json.loads((tmp_path / "r1.json").read_text())
    assert content["along"] == [{"step": 0, "tokens": 0, "losses": {"a": 5.0, "b": 5.5}}]
    assert content["begin"] == "b1"
    assert content["losses"]["a"] == {"nats_per_token": 2.5, "bits_per_byte": 1.25}
    assert "starts" not in content


def test_a_loss_that_is_not_finite_is_null_on_disk_and_nan_when_read(tmp_path):
    lost = RunRecord(run_id="r2", weights={"a": 1.0}, losses={"a": Loss(math.inf, math.nan)}, diverged=True)
    write_record(tmp_path / "r2.json", lost)
    assert json.loads((tmp_path / "r2.json").read_text())["losses"]["a"]["nats_per_token"] is None
    assert math.isnan(read_record(tmp_path / "r2.json").losses["a"].nats_per_token)


def test_a_file_of_the_required_keys_alone_is_a_run():
    run = RunRecord.from_json({"run_id": "r3", "weights": {"a": 1}, "losses": {}, "of_a_later_version": 1})
    assert (run.diverged, run.tokens, run.eval_history) == (False, None, [])


@pytest.mark.parametrize("key", ["run_id", "weights", "losses"])
def test_a_file_without_a_required_key_is_refused_by_file_and_key(tmp_path, key):
    content = {k: value for k, value in RUN.to_json().items() if k != key}
    (tmp_path / "r4.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=rf"^\S*r4\.json: {key} is missing .*: delete it, and .* again$"):
        read_record(tmp_path / "r4.json")


def test_a_file_that_was_changed_after_it_was_written_is_refused(tmp_path):
    path = tmp_path / "r1.json"
    write_record(path, RUN)
    path.write_text(path.read_text().replace("2.5", "25.0"))
    with pytest.raises(ValueError, match=r"r1\.json: was changed after .*: delete it, and `mixopt train`"):
        read_record(path)


def test_an_evaluation_that_lacks_its_losses_is_refused():
    with pytest.raises(ValueError, match=r"along is not whole .*losses"):
        RunRecord.from_json(RUN.to_json() | {"along": [{"step": 0, "tokens": 0}]})
