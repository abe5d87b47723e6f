"""Facts about `mixopt scale`: joint laws judged on held-out scales, and the best mixture for larger ones."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mixopt
from mixopt.errors import MixoptError
from mixopt.report.markdown import render
from mixopt.runs.objective import target_of
from mixopt.runs.read import Reading
from mixopt.runs.scales import read_scales
from mixopt.runs.stored import write_fit
from mixopt.scaling.fit import fit_scale, unusual_exponents
from mixopt.scaling.results import RollingOrigin
from mixopt.scaling.rolling_origin import DEFAULT, Held, asked_of, choose, judge, paired_error, rolling_origins
from mixopt.scaling.stored import StoredScale
from mixopt.scaling.summary import scale_document
from mixopt.study.progress import Progress
from tests.factories.scaling_tables import SIZES, made_runs

LAWS = f"{DEFAULT},joint-log-linear"


def truth(code, n, d, text="a"):
    own = code if text == "a" else 0.9 - code
    return 1.6 + 0.5 * (n / 2e8) ** -0.28 + 0.4 * (d / 1e10) ** -0.35 + 0.3 / (0.4 + own**0.4)


@pytest.fixture(autouse=True)
def short_search(monkeypatch):
    """Searches are tested elsewhere: here a few trials will do, the local search does the rest."""
    monkeypatch.setattr("mixopt.scaling.fit.TRIALS", 40)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a table of checkpoints."""
    folder = tmp_path_factory.mktemp("scale")
    made_runs().to_csv(folder / "runs.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def fitted(home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mixopt.scaling.fit.TRIALS", 40)
        table = read_scales(Reading([home / "runs.csv"]), Progress())
        return fit_scale(table, {"a": 0.5, "b": 0.5}, LAWS.split(","), at_params=2e9, at_tokens=3e10)


# The fit


def test_larger_scales_are_predicted_within_the_range(fitted):
    for code in (0.2, 0.5, 0.8):
        mixture = {"code": code, "news": 0.9 - code, "web": 0.1}
        real = np.mean([truth(code, 2e9, 3e10, text) for text in "ab"])
        spread = fitted.record["evidence"]["judged"]["spread"]
        assert fitted.predict(mixture)[0] == pytest.approx(real, rel=max(3 * spread, 0.02))


def test_the_best_mixture_is_the_balanced_one_and_still_domains_stay(fitted):
    assert fitted.best["web"] == pytest.approx(0.1)
    assert abs(fitted.best["code"] - fitted.best["news"]) < 0.15
    w = np.array([list(fitted.best.values())])
    assert fitted.predict(w)[0] <= fitted.predict([0.2, 0.7, 0.1])[0]
    assert fitted.predict(w)[0] == pytest.approx(fitted.record["evidence"]["best"]["mixtures"]["best"]["loss"])


def test_laws_are_judged_beside_persistence_on_sizes_and_tokens(fitted):
    judged = fitted.record["evidence"]["judged"]
    errors = {row["law"]: row["error"] for row in judged["laws"]}
    assert errors.keys() == {*LAWS.split(","), "persistence"}
    assert errors[judged["chosen"]] < errors["persistence"]
    assert {origin["kind"] for origin in judged["origins"]} == {"size", "tokens", "both"}
    assert 0 < judged["spread"] < 0.1


def test_exponents_are_told_with_their_errors_and_where_they_come_from(fitted):
    told = {one["name"]: one for one in fitted.record["evidence"]["exponents"]}
    assert told.keys() == {"alpha", "beta"}
    assert all(one["standard_error"] > 0 and one["from"] for one in told.values())
    assert {prior["kind"] for prior in fitted.record["evidence"]["priors"]} == {"size", "tokens"}


def test_two_sizes_leave_their_exponent_to_the_prior_and_say_so(tmp_path):
    made_runs(sizes=SIZES[:2]).to_csv(tmp_path / "two.csv", index=False)
    table = read_scales(Reading([tmp_path / "two.csv"]), Progress())
    record = fit_scale(table, {"a": 1.0}, [DEFAULT], at_params=1.5e8 * 20).record
    assert {one["name"]: one["from"] for one in record["evidence"]["exponents"]}["alpha"] == "the prior"
    warnings = " ".join(record["evidence"]["warnings"])
    assert "don't identify alpha" in warnings and "20 times the parameters" in warnings


def test_nothing_is_warned_of_at_the_largest_trained_scale_inside_the_runs(home):
    table = read_scales(Reading([home / "runs.csv"]), Progress())
    record = fit_scale(table, {"a": 0.5, "b": 0.5}, [DEFAULT]).record
    assert record["at"] == record["trained"] == {"params": 4.5e8, "tokens": 1.6e10}
    assert record["evidence"]["warnings"] == []
    assert "best_at_trained" not in record["evidence"]["best"]["mixtures"]


def test_intervals_are_of_new_runs_and_are_called_checked_only_as_far_as_they_were(fitted):
    best, at = fitted.evidence.best, {"params": 2e9, "tokens": 3e10}
    for name, row in best.mixtures.items():
        real = np.mean([truth(row.weights["code"], 2e9, 3e10, text) for text in "ab"])
        assert row.checked and row.low < row.loss < row.high
        assert row.low < real < row.high
        [same] = fitted.intervals(row.weights, **at)
        assert (same.low, same.high) == pytest.approx((row.low, row.high))
        if name != "best":
            gain = best.gains[name]
            assert gain.low <= row.loss - best.mixtures["best"].loss <= gain.high
    [far] = fitted.intervals(best.mixtures["best"].weights, params=4.5e8 * 11)
    assert not far.checked


def test_a_range_that_nothing_checked_is_not_called_an_interval(fitted):
    assert "80% interval" in (said := render(scale_document(fitted))) and "not checked" not in said
    record = json.loads(json.dumps(fitted.record).replace('"checked": true', '"checked": false'))
    said = render(scale_document(StoredScale(record, fitted.joint)))
    assert "range, not checked at this distance" in said and "80% interval" not in said


# Origins and the choice


def test_no_origin_fits_what_it_predicts_or_anything_later():
    frame = made_runs()
    params, tokens, groups = frame.params.to_numpy(), frame.tokens.to_numpy(), frame.w_code.rank().to_numpy(int)
    found = rolling_origins(params, tokens, frame[["loss_a"]].to_numpy(), groups)
    # a quarter leaves two token counts: too few
    assert [split.kind for split in found] == ["size", "size", "tokens", "both"]
    for split in found:
        assert not (split.fitted & split.predicted).any()
        for counts in {"size": [params], "tokens": [tokens], "both": [params, tokens]}[split.kind]:
            assert counts[split.fitted].max() < counts[split.predicted].min()


def origin(kind, sizes):
    return RollingOrigin(kind, 9, 9, up_to=1e8, then=3e8, beyond=3.0, sizes=sizes)


def test_a_fit_to_one_size_is_no_evidence_of_what_size_does():
    origins = [origin("size", 1), origin("size", 2), origin("tokens", 1), origin("both", 2)]
    assert asked_of(origins, ["size"]) == [1]
    assert asked_of(origins, ["tokens"]) == [2]
    assert asked_of(origins, ["size", "tokens"]) == [3]
    assert asked_of(origins, []) == [1, 2, 3]
    assert asked_of(origins[:1], ["size"]) == asked_of(origins[:3], ["size", "tokens"]) == []


def held(*errors):
    return [Held(np.array(each), np.array(each), np.nan) for each in errors]


def test_a_law_that_is_better_by_less_than_its_standard_error_leaves_the_default():
    usual, near = held([0.010, 0.020, 0.030]), held([0.015, 0.010, 0.034])
    assert choose({DEFAULT: usual, "other": near})[0] == DEFAULT
    clear = held([0.005, 0.014, 0.025])
    assert choose({DEFAULT: usual, "other": clear})[0] == "other"
    steady = held([0.009, 0.018, 0.027])  # by a tenth, whatever the mixture: too little for a few origins
    assert choose({DEFAULT: usual, "other": steady})[0] == DEFAULT
    assert choose({"one": near, "other": clear})[0] == "other"


def test_origins_that_disagree_widen_the_standard_error():
    usual = held([0.02, 0.021, 0.022], [0.02, 0.021, 0.022])
    steady, split = held(*[[0.01, 0.011, 0.0125]] * 2), held([0.0, 0.001, 0.0025], [0.02, 0.021, 0.0225])
    assert paired_error(usual, split) > 5 * paired_error(usual, steady)


def test_the_choice_goes_by_origins_of_the_kind_that_the_question_extrapolates(home):
    table = read_scales(Reading([home / "runs.csv"]), Progress())
    target, laws = target_of({"a": 0.5, "b": 0.5}, table), LAWS.split(",")
    for kind in ("size", "tokens"):
        found = judge(table, target, laws, beyond=[kind], progress=Progress())
        best = min(laws, key=lambda law: found.error(law, kind))
        assert found.chosen in (DEFAULT, best)
    one_size = replace(table, frame=table.frame[table.frame.params == table.frame.params.min()])
    kept = judge(one_size, target, laws, beyond=["size"], progress=Progress())
    assert kept.origins and kept.chosen == DEFAULT and kept.why.startswith("No larger size could be held out")


# The file


def test_a_stored_fit_predicts_as_the_one_it_was_made_from_at_any_scale(fitted, tmp_path):
    fitted.save(tmp_path / "x.scale.json")
    again = mixopt.load_scale(tmp_path / "x.scale.json")
    w = np.array([[0.3, 0.6, 0.1], [0.7, 0.2, 0.1]])
    for scale in ({}, {"params": 1e9}, {"params": 1e9, "tokens": 1e11}):
        np.testing.assert_allclose(again.predict(w, **scale), fitted.predict(w, **scale), rtol=1e-12)
    assert (again.predict(w, params=1e10) < again.predict(w, params=1e9)).all()
    with pytest.raises(MixoptError, match="above 0"):
        again.predict(w, tokens=0)


def test_a_changed_file_is_refused(fitted, tmp_path):
    path = tmp_path / "x.scale.json"
    fitted.save(path)
    path.write_text(path.read_text().replace('"a": 0.5', '"a": 0.6', 1))
    with pytest.raises(MixoptError, match="checksum"):
        mixopt.load_scale(path)
    changed = json.loads(json.dumps(dict(fitted.record)))
    changed["model"]["learned"]["values"]["E"][0] += 0.1
    write_fit(path, changed)
    with pytest.raises(MixoptError, match="predicts otherwise"):
        mixopt.load_scale(path)
    path.write_text('{"kind": "other"}')
    with pytest.raises(MixoptError, match="mixopt scale"):
        mixopt.load_scale(path)


# The command


def test_the_command_shows_laws_exponents_and_the_mixture_and_writes_the_fit(run, home, tmp_path):
    words = (home / "runs.csv", "--target", "all", "--laws", LAWS, "--at-params", "2B", "--at-tokens", "30B")
    said = run("scale", *words)
    for text in ("persistence", "alpha, parameters", "Best mixture at 2B parameters, 30B tokens", "runs.scale.json"):
        assert text in said
    made = mixopt.load_scale(tmp_path / "runs.scale.json")
    assert made.record["at"] == {"params": 2e9, "tokens": 3e10}
    told = json.loads(run("scale", *words, "--json"))
    assert told["evidence"] == made.record["evidence"]
    assert "load_scale" in run("predict", "runs.scale.json", home / "runs.csv", code=2)


def test_a_file_that_is_something_else_is_not_replaced(run, home, tmp_path):
    (tmp_path / "mine.json").write_text("{}")
    said = run("scale", home / "runs.csv", "-t", "a", "--out", "mine.json", code=2)
    assert "--out" in said and (tmp_path / "mine.json").read_text() == "{}"


def test_sizes_and_lengths_may_stand_in_columns_of_any_name(home, tmp_path):
    frame = pd.read_csv(home / "runs.csv").rename(columns={"params": "width", "tokens": "seen"})
    frame.to_csv(tmp_path / "other.csv", index=False)
    table = read_scales(Reading([tmp_path / "other.csv"], params="width", tokens="seen"), Progress())
    assert len(table.frame) == 120 and table.numbers("params").max() == 4.5e8
    last = read_scales(Reading([tmp_path / "other.csv"], params="width", tokens="4B", where=("seen=4B",)), Progress())
    assert len(last.frame) == 30 and set(last.numbers("tokens")) == {4e9}


def test_checkpoints_may_stand_in_a_second_file_beside_a_mixture_a_row(home, tmp_path):
    frame = pd.read_csv(home / "runs.csv")
    weights = [name for name in frame if name.startswith("w_")]
    frame.drop_duplicates("run")[["run", *weights]].to_csv(tmp_path / "mixtures.csv", index=False)
    frame.drop(columns=weights).sample(frac=1, random_state=0).to_csv(tmp_path / "losses.csv", index=False)
    pair = read_scales(Reading([tmp_path / "mixtures.csv", tmp_path / "losses.csv"]), Progress()).frame
    one = read_scales(Reading([home / "runs.csv"]), Progress()).frame
    order = ["run_id", "tokens"]
    same = [frame.sort_values(order, ignore_index=True) for frame in (pair, one)]
    pd.testing.assert_frame_equal(same[0], same[1])


def test_last_steps_alone_can_be_asked_for(home):
    table = read_scales(Reading([home / "runs.csv"], last_step=True), Progress())
    assert len(table.frame) == 30 and set(table.numbers("tokens")) == {1.6e10}
    assert not any("noise" in note for note in table.notes)


@pytest.mark.parametrize(
    ("change", "words", "way_out"),
    [
        (lambda f: f.drop(columns="params"), (), "--params COLUMN"),
        (lambda f: f.drop(columns="tokens"), (), "--tokens COLUMN"),
        (lambda f: f[(f.params == 5e7) & (f.tokens == 2e9)], (), "mixopt fit"),
        (lambda f: f.assign(tokens=f.tokens.where(f.tokens > 2e9)), (), "30 of 120 rows"),
        (lambda f: f, ("--at-params", "big"), "--at-params big"),
        (lambda f: f, ("--at-tokens", "0"), "above 0"),
        (lambda f: f, ("--laws", "zipf"), DEFAULT),
        (lambda f: f, ("--params", "1B", "--where", "tokens=2B"), "larger scales"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line_with_the_way_out(run, tmp_path, change, words, way_out):
    change(made_runs()).to_csv(tmp_path / "runs.csv", index=False)
    said = run("scale", "runs.csv", "-t", "a", *words, code=2)
    assert way_out in said and said.count("\n") == 1


def test_an_estimator_at_a_scale_can_be_restored(fitted):
    from regressors import AtScale, JointRegressor, from_dict

    w = np.array([[0.3, 0.6, 0.1]])
    at = from_dict(json.loads(json.dumps(fitted.at(1e9).to_dict())))
    assert isinstance(at, AtScale)
    np.testing.assert_allclose(at.predict(w), fitted.losses(w, params=1e9), rtol=1e-12)
    assert isinstance(from_dict(fitted.joint.to_dict()), JointRegressor)
    with pytest.raises(ValueError, match="lacks"):
        from_dict({"estimator": "AtScale"})


def test_exponents_far_from_published_ones_are_warned_of():
    from regressors import JointRegressor

    frame = made_runs()
    X = frame[["w_code", "w_news", "w_web", "params", "tokens"]].to_numpy()
    joint = JointRegressor(strength=0).fit(X, frame[["loss_a"]].to_numpy())
    joint.exponents_ = [replace(one, value=(1.0,)) if one.name == "beta" else one for one in joint.exponents_]
    joint.exponents_ = [replace(one, value=(0.28,)) if one.name == "alpha" else one for one in joint.exponents_]
    [warning] = unusual_exponents(joint)
    assert warning.text.startswith("beta = 1.00 is far from the 0.35")
