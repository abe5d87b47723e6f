"""Facts about fits to a table of runs: the commands, the file, and what can be asked of it."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mixopt
from mixopt.cli.options import target_weights
from mixopt.errors import MixoptError
from mixopt.mixture.report import fit_report
from mixopt.mixture.table import fit_table
from mixopt.report.markdown import render as markdown
from mixopt.runs.mixtures import as_shares, read_mixtures
from mixopt.runs.read import choice, column_or_count, read_runs
from mixopt.runs.stored import write_fit
from mixopt.search.simplex import searched
from mixopt.serialization import digest
from tests.factories.mixture_tables import DOMAINS, made_runs, write_table

TARGET = {"x": 0.7, "y": 0.3}


@pytest.fixture(autouse=True)
def short_search(monkeypatch):
    """Searches are tested elsewhere: here a few trials will do, the local search does the rest."""
    monkeypatch.setattr("mixopt.mixture.table.TRIALS", 70)


QUICK = ("--predictors", "regmix-linear,exponential-mixing", "--folds", "4")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a table and its fit."""
    folder = tmp_path_factory.mktemp("tables")
    write_table(folder / "runs.csv", *made_runs())
    table = read_runs(folder / "runs.csv")
    fit_table(table, TARGET, ["exponential-mixing", "regmix-linear"], folds=4).save(folder / "fit.json")
    return folder


# The file


def test_a_stored_fit_predicts_as_the_one_it_was_made_from(home):
    from regressors import PREDICTORS

    table, fit = read_runs(home / "runs.csv"), mixopt.load_fit(home / "fit.json")
    assert fit.predictor == "exponential-mixing"
    estimator = PREDICTORS[fit.predictor](0).fit(table.weights, table.losses)
    np.testing.assert_allclose(fit.losses(table), estimator.predict(table.weights), rtol=1e-9)
    np.testing.assert_allclose(fit.predict(table), estimator.predict(table.weights) @ [0.7, 0.3], rtol=1e-9)


def test_an_interval_holds_its_prediction_and_widens_with_its_level(home):
    fit, w = mixopt.load_fit(home / "fit.json"), made_runs(8, seed=1)[0]
    low, high = fit.interval(w)
    assert (low < fit.predict(w)).all() and (fit.predict(w) < high).all()
    wider = fit.interval(w, level=0.9)
    assert (wider[0] <= low).all() and (wider[1] >= high).all()


def test_mixtures_may_be_given_by_name_in_any_order(home):
    fit, w = mixopt.load_fit(home / "fit.json"), np.array([[0.2, 0.3, 0.5], [0.6, 0.1, 0.3]])
    rows = [dict(zip(reversed(DOMAINS), reversed(row), strict=True)) for row in w]
    frame = pd.DataFrame(rows)
    told = fit.predict(w)
    for named in (rows, frame, frame.add_prefix("w/"), {name: w[:, i] for i, name in enumerate(DOMAINS)}):
        np.testing.assert_array_equal(fit.predict(named), told)
    np.testing.assert_array_equal(fit.predict(rows[0]), told[:1])
    np.testing.assert_array_equal(fit.predict(w[0]), told[:1])


@pytest.mark.parametrize(
    ("mixtures", "said"),
    [
        ({"code": 0.5, "news": 0.4}, "lack 'web'"),
        ({"code": 0.5, "news": 0.2, "web": 0.2, "law": 0.1}, "have 'law', which it does not know"),
        ([{"code": 0.5, "news": 0.5}, {"code": 0.9}], "lack 'web'"),
        ([{"code": 0.5, "news": 0.5, "web": 0}, {"code": 0.9}], "0 or more"),
        ([[0.5, 0.5]], r"\(n, 3\)"),
        ([[0.5, 0.5, 0.5]], "sum to 1"),
        ([[1.5, -0.5, 0.0]], "0 or more"),
        ([[np.nan, 0.5, 0.5]], "0 or more"),
    ],
)
def test_mixtures_of_other_domains_are_refused(home, mixtures, said):
    with pytest.raises(MixoptError, match=said):
        mixopt.load_fit(home / "fit.json").predict(mixtures)


def test_domains_that_are_absent_have_a_share_of_0(home, tmp_path):
    fit = mixopt.load_fit(home / "fit.json")
    wanted = fit.predict([[1.0, 0, 0], [0.5, 0.5, 0]])
    for mixtures in (
        [{"code": 1}, {"code": 0.5, "news": 0.5}],
        pd.DataFrame({"code": [1, 0.5], "news": [np.nan, 0.5]}),
    ):
        np.testing.assert_array_equal(fit.predict(mixtures), wanted)
    (tmp_path / "m.csv").write_text("code,news\n1,\n.5,.5\n")
    read = read_mixtures(tmp_path / "m.csv", fit.domains)
    np.testing.assert_array_equal(fit.predict(read.shares), wanted)
    assert "no column for 'web': their share is 0" in read.notes[0]
    (tmp_path / "m.csv").write_text("code,news\n1,\n.5,.4\n")
    with pytest.raises(MixoptError, match="lack 'web'"):
        read_mixtures(tmp_path / "m.csv", fit.domains)


def test_a_fit_knows_its_best_mixture_and_finds_one_within_limits(home):
    fit = mixopt.load_fit(home / "fit.json")
    assert fit.optimise() == pytest.approx(fit.best, abs=1e-6)
    within = fit.optimise(max_weight={"code": 0.2}, fixed={"web": 0.4}, trials=50)
    assert within["code"] <= 0.2 + 1e-9 and within["web"] == pytest.approx(0.4)
    assert sum(within.values()) == pytest.approx(1) and fit.predict(within) > fit.predict(fit.best)
    with pytest.raises(MixoptError, match="max_weight"):
        fit.optimise(max_weight=0.2)
    assert repr(fit).startswith("StoredFit(") and len(repr(fit)) < 200


@pytest.mark.parametrize(("column", "unit"), [("arc_easy", ""), ("news_ppl", ""), ("loss_news", "nats/token")])
def test_a_unit_that_is_not_known_is_not_shown(run, tmp_path, column, unit):
    w, losses = made_runs()
    path = write_table(tmp_path / "runs.csv", w, {"x": losses["x"]})
    path.write_text(path.read_text().replace("loss_x", column, 1))
    words = ("runs.csv", "--losses", f"{column},", *QUICK)
    shown = run("fit", *words, "--html", "fit.html") + run("leaderboard", *words)
    shown += run("predict", "runs.fit.json", "runs.csv") + (tmp_path / "fit.html").read_text()
    fit = mixopt.load_fit(tmp_path / "runs.fit.json")
    shown += markdown(fit_report(fit.record, read_runs(path, losses=[column]).frame))
    assert ("nats/token" in shown) == bool(unit) and fit.record["target"]["unit"] == unit


def test_python_of_the_guide_runs(tmp_path, monkeypatch):
    """Every line on tables; what lines on studies call is tested with studies."""
    guide = (Path(__file__).parents[2] / "docs" / "guide.md").read_text(encoding="utf-8")
    code = guide.split("## From Python")[1].split("```python\n")[1].split("```")[0]
    lines = [line for line in code.splitlines() if "study.yaml" not in line]
    w, losses = made_runs()
    names = {"weights": w, "losses": np.column_stack(list(losses.values()))}
    monkeypatch.chdir(write_table(tmp_path / "runs.csv", w, losses).parent)
    monkeypatch.setattr("mixopt.mixture.table.fit_table.__defaults__", (["regmix-linear"],))
    exec("\n".join(lines), names)
    assert names["table"].domains == ("web", "code", "legal") and callable(mixopt.run)


def test_a_fit_from_arrays_is_that_from_the_table(home):
    w, losses = made_runs()
    table = mixopt.RunTable.from_arrays(w, np.column_stack(list(losses.values())), domains=DOMAINS, targets=["x", "y"])
    read = read_runs(home / "runs.csv")
    np.testing.assert_allclose(table.weights, read.weights)
    assert repr(table) == "RunTable(24 runs, 3 domains, 2 losses)"
    frames = mixopt.RunTable.from_arrays(pd.DataFrame(w, columns=list(DOMAINS)), pd.DataFrame(losses), params="7M")
    assert (frames.domains, frames.targets, frames.numbers("params")[0]) == (DOMAINS, ("x", "y"), 7e6)
    quick = ["regmix-linear"]
    alone = mixopt.fit_table(table, "x", quick)
    np.testing.assert_allclose(alone.predict(w), mixopt.fit_table(read, {"x": 1.0}, quick).predict(w))
    assert mixopt.fit_table(table, ["x", "y"], quick).target == {"x": 0.5, "y": 0.5}
    with pytest.raises(MixoptError, match="'z', which the runs have no loss on"):
        mixopt.fit_table(table, "z", quick)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w, y: (w[:-1], y), "weights have 23 rows and losses 24"),
        (lambda w, y: (w[:, :2], y), "names for 2 columns"),
        (lambda w, y: (w * 2, y), "a weight is a number between 0 and 1"),
        (lambda w, y: (w, y * 0), "a finite number above 0"),
        (lambda w, y: (w[:3], y[:3]), "at least 5"),
    ],
)
def test_arrays_that_are_no_runs_are_refused(change, message):
    w, losses = made_runs()
    with pytest.raises(MixoptError, match=message):
        mixopt.RunTable.from_arrays(*change(w, losses["x"]), domains=DOMAINS)


def test_a_table_of_other_domains_is_refused(home, tmp_path):
    w, losses = made_runs()
    other = read_runs(write_table(tmp_path / "other.csv", w, losses, domains=("code", "law", "web")))
    with pytest.raises(MixoptError, match="lack 'news' and have 'law'"):
        mixopt.load_fit(home / "fit.json").predict(other)


def changed(home, tmp_path, change):
    """The fit's file with its content changed, and a checksum that fits."""
    content = json.loads((home / "fit.json").read_text())
    content.pop("checksum")
    change(content)
    path = tmp_path / "changed.json"
    write_fit(path, content)
    return path


def test_a_fit_that_was_changed_is_refused(home, tmp_path):
    path = tmp_path / "fit.json"
    text = (home / "fit.json").read_text()
    path.write_text(text.replace('"flat": false', '"flat": true'))
    with pytest.raises(MixoptError, match="not as it was written"):
        mixopt.load_fit(path)
    path.write_text(text[: len(text) // 2])
    with pytest.raises(MixoptError, match="not JSON"):
        mixopt.load_fit(path)
    path.write_text("[" * 100_000)
    with pytest.raises(MixoptError, match="not JSON"):
        mixopt.load_fit(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["model"].update(estimator="os.system"), "no estimator is called 'os.system'"),
        (lambda c: c["model"]["options"].update(law="no-such-law"), "can't be restored"),
        (lambda c: c["model"].pop("learned"), "lacks"),
        (lambda c: c["probes"].update(losses=[[9.0, 9.0]] * 5), "predicts otherwise in this version: fit again"),
        (lambda c: c.update(format=99), "format 99"),
        (lambda c: c.update(kind="recipe"), "not a fit"),
    ],
)
def test_a_fit_that_this_version_would_read_otherwise_is_refused(home, tmp_path, change, said):
    with pytest.raises(MixoptError, match=said):
        mixopt.load_fit(changed(home, tmp_path, change))


def test_a_missing_fit_names_the_command_that_writes_one(tmp_path):
    with pytest.raises(MixoptError, match=r"mixopt fit RUNS\.csv"):
        mixopt.load_fit(tmp_path / "fit.json")


def test_a_fit_records_what_it_was_made_from(home):
    made = mixopt.load_fit(home / "fit.json").record["made"]
    table = read_runs(home / "runs.csv")
    assert made["seed"] == 0 and made["folds"] == 4 and "mixopt" in made["versions"]
    rows = [table.run_ids, list(table.domains), table.weights.tolist(), list(table.targets), table.losses.tolist()]
    assert made["table_sha256"] == digest(rows)
    assert made["objective"].endswith(".")


@given(st.permutations(range(3)), st.lists(st.floats(0.01, 1), min_size=3, max_size=3))
def test_shares_by_name_don_t_depend_on_their_order(order, parts):
    w = np.array(parts) / sum(parts)
    named = {DOMAINS[i]: w[i] for i in order}
    np.testing.assert_array_equal(as_shares(named, DOMAINS), w[None])


def test_a_domain_that_never_varied_keeps_its_share_in_the_search(tmp_path):
    w, losses = made_runs()
    w = np.column_stack([0.8 * w, np.full(len(w), 0.2)])
    allowed = searched(read_runs(write_table(tmp_path / "r.csv", w, losses, domains=(*DOMAINS, "same"))))
    assert allowed.low[3] == pytest.approx(0.2, abs=1e-3) and allowed.high[3] == allowed.low[3]
    assert (allowed.high[:3] > 0.7).all() and (allowed.low[:3] == 0).all()


# The commands


def test_fit_shows_the_leaderboard_and_the_best_mixtures_and_writes_the_fit(run, tmp_path):
    write_table(tmp_path / "runs.csv", *made_runs())
    told = run("fit", "runs.csv", "--target", "x=0.7,y=0.3", *QUICK, "--html", "fit.html")
    assert "exponential-mixing *" in told and "regmix-linear" in told and "Regret@1" in told
    assert "Best run" in told and "Recommended" in told and "80% interval" in told and "Train on " in told
    fit = mixopt.load_fit(tmp_path / "runs.fit.json")
    assert fit.target == TARGET and fit.texts == ("x", "y") and fit.domains == DOMAINS
    assert fit.record["made"]["files"][0]["name"] == "runs.csv"
    page = (tmp_path / "fit.html").read_text(encoding="utf-8")
    assert (
        "Fit to runs: exponential-mixing" in page
        and "mixopt fit runs.csv" in page
        and fit.record["made"]["table_sha256"]
    )
    again = run("fit", "runs.csv", "--target", "x=0.7,y=0.3", *QUICK)
    assert "as before" in again and "exponential-mixing *" in again
    told = run("fit", "runs.csv", "--target", "x", *QUICK)
    assert "held another fit, which this one has replaced" in " ".join(told.split())
    assert mixopt.load_fit(tmp_path / "runs.fit.json").texts == ("x",)


def test_a_fit_s_page_speaks_of_nothing_that_a_table_has_not(run, tmp_path):
    w, losses = made_runs(90)
    losses["x"] = 3 - w[:, 0]  # one domain is all that helps
    write_table(tmp_path / "many.csv", w, losses)
    shown = run("fit", "many.csv", "-t", "x", "--params", "1M", "--predictors", "regmix-linear", "--html", "page.html")
    page = re.sub(r"<(script|style).*?</\1>|<[^>]*>", "", (tmp_path / "page.html").read_text(), flags=re.S)
    assert "takes 100% of the tokens" in page and "rank mixtures for much larger models" in page
    for text in (page, shown):
        assert not re.search(r"natural|runs\.csv|search\.\w|full\.tokens|study file", text)


def test_permuted_columns_permute_the_answer_of_fit_and_predict(run, tmp_path):
    w, losses = made_runs()
    write_table(tmp_path / "one.csv", w, losses)
    order = [2, 0, 1]
    write_table(tmp_path / "other.csv", w[:, order], losses, domains=[DOMAINS[i] for i in order])
    told = {}
    for name in ("one", "other"):
        told[name] = json.loads(run("fit", f"{name}.csv", "--target", "x", *QUICK, "--json"))
    scores = [[row["rmse"] for row in told[name]["evidence"]["selection"]["scores"]] for name in told]
    assert scores[0] == pytest.approx(scores[1], rel=1e-6)
    best = [
        {row["domain"]: row["recommended"] for row in told[name]["evidence"]["recommendation"]["domains"]}
        for name in told
    ]
    # The search draws its trials domain by domain, so that two orders end near one another, not at one number.
    assert best[0] == pytest.approx(best[1], abs=0.01)
    one, other = (
        json.loads(run("predict", f"{fit}.fit.json", f"{table}.csv", "--json"))["mixtures"]
        for fit, table in (("one", "other"), ("other", "one"))
    )
    assert [row["loss"] for row in one] == pytest.approx([row["loss"] for row in other], rel=1e-6)


def test_json_is_all_that_goes_to_standard_output(run, tmp_path, capsys):
    write_table(tmp_path / "runs.csv", *made_runs())
    told = json.loads(run("fit", "runs.csv", "--target", "x", *QUICK, "--json"))
    assert told["predictor"] in ("exponential-mixing", "regmix-linear")
    assert told["target"] == {"weights": {"x": 1.0}, "unit": "nats/token"}


def test_a_file_that_is_no_fit_is_not_overwritten(run, tmp_path):
    write_table(tmp_path / "runs.csv", *made_runs())
    (tmp_path / "precious.json").write_text("{}")
    assert "precious.json is there already and no earlier output" in run(
        "fit", "runs.csv", "--target", "x", *QUICK, "--out", "precious.json", code=2
    )
    assert (tmp_path / "precious.json").read_text() == "{}"


def test_predict_scores_mixtures_that_the_fit_has_not_seen(run, home, tmp_path):
    w, losses = made_runs(12, seed=5)
    write_table(tmp_path / "new.csv", w, losses)
    told = run("predict", home / "fit.json", "new.csv", "--out", "predicted.csv")
    assert "12 measured losses of new mixtures: Spearman" in told
    found = pd.read_csv(tmp_path / "predicted.csv")
    assert list(found["mixture"]) == [f"r{i}" for i in range(12)]
    np.testing.assert_allclose(found["loss"], 0.7 * found["loss/x"] + 0.3 * found["loss/y"], rtol=1e-9)
    assert "3 measured losses of new" in run("predict", home / "fit.json", "new.csv", "--where", "run=r1,r5,r7")
    assert "24 measured losses of mixtures that the fit was" in run("predict", home / "fit.json", home / "runs.csv")


def test_predict_takes_columns_called_as_the_domains_and_renormalises_when_asked(run, home, tmp_path):
    (tmp_path / "m.csv").write_text("web,code,news\n20,50,30\n")
    assert "so these are percents" in run("predict", home / "fit.json", "m.csv", code=2)
    told = json.loads(run("predict", home / "fit.json", "m.csv", "--renormalise", "--json"))
    expected = mixopt.load_fit(home / "fit.json").predict({"code": 0.5, "news": 0.3, "web": 0.2})
    assert told["mixtures"][0]["loss"] == pytest.approx(expected[0])


HEAD = "run,w_a,w_b,loss_x,loss_y"
ROWS = [f"r{i},{i / 10},{1 - i / 10:.1f},{3 + i / 20},{4 - i / 30:.4f}" for i in range(11)]


@pytest.mark.parametrize(
    ("row", "options", "said"),
    [
        ("r99,0.5,0.4,3,3", (), "runs.csv, line 13: the weights .* sum to 0.9, not 1 .*`--renormalise`"),
        ("r3,0.5,0.5,3,3", (), "line 13, column 'run': 'r3' stands on line 5 already"),
        (
            "r99,0.5,0.5,inf,3",
            ("--target", "x"),
            "line 13, column 'loss_x': 'inf': a loss is a finite number.*`--losses`",
        ),
        ("r99,-0.5,1.5,3,3", (), "line 13, column 'w_a': '-0.5'"),
        ("r99,50,50,3,3", (), "line 13, column 'w_a': '50'.*percents or token counts.*`--renormalise`"),
        ("r99,,0.9,3,3", (), "line 13, column 'w_a': empty.*write 0 .*`--where`"),
        ("r99,0.5,0.5,3,3", ("--target", "z"), "no loss 'z': choose from 'x', 'y'"),
        ("r99,0.5,0.5,3,3", ("--target", "x=0.5,y=0.4"), "a sum of 1, not 0.9"),
        ("r99,0.5,0.5,3,3", ("--target", "x=much,y=1"), "'much' in 'x=much' is not a number"),
        ("r99,0.5,0.5,3,3", ("--target", "x,x"), "name each loss once"),
        ("r99,0.5,0.5,3,3", (), "--target is missing: name the loss.*choose from 'x', 'y'"),
        ("r99,0.5,0.5,3,3", ("--weights", "a=w_a,b="), "write name=column for every column"),
        ("r99,0.5,0.5,3,3", ("--weights", "a=w_z"), r"no column 'w_z' \(--weights\)"),
        ("r99,0.5,0.5,3,3", ("--predictors", "regmix-liner"), "did you mean 'regmix-linear'"),
        ("r99,0.5,0.5,3,3", ("--where", "run=r1,r2"), "2 usable runs of 2 different mixtures: at least 5"),
        ("r99,0.5,0.5,3,3", ("--last-step",), "`--last-step` needs a step column or a tokens column"),
        ("r99,0.5,0.5,3,3", ("--target", "x", "--also", "z"), "--also: the runs have no loss 'z'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_its_place_and_the_way_out(run, tmp_path, row, options, said):
    (tmp_path / "runs.csv").write_text("\n".join([HEAD, *ROWS, row]) + "\n")
    told = run("fit", "runs.csv", *options, code=2)
    assert told.count("\n") == 1 and told.startswith("mixopt: ") and "Traceback" not in told
    assert re.search(said, told), told


def test_options_of_tables_are_refused_beside_a_study_file(run, tmp_path):
    (tmp_path / "study.yaml").write_text("name: x\n")
    assert "--where goes with a table of runs" in run("fit", "study.yaml", "--where", "a=1", code=2)
    assert "give one study file" in run("fit", "study.yaml", "study.yaml", code=2)
    assert "neither a table of runs" in run("fit", "study.txt", code=2)


# Options


def test_columns_are_named_by_prefix_list_or_map():
    assert choice("w_", "--weights") == "w_" and choice(None, "--weights") is None
    assert choice("a, b", "--weights") == ["a", "b"]
    assert choice("web=share_of_web,code=cd", "--weights") == {"web": "share_of_web", "code": "cd"}


def test_a_number_of_parameters_may_have_a_suffix():
    assert (column_or_count("70M"), column_or_count("1e9"), column_or_count("size")) == (70e6, 1e9, "size")


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("a", {"a": 1.0}),
        ("a=0.25,b=0.75", {"a": 0.25, "b": 0.75}),
        ("a,b", {"a": 0.5, "b": 0.5}),
        ("all", {"a": 0.25, "b": 0.25, "c=d": 0.25, "e,f": 0.25}),
        ("c=d", {"c=d": 1.0}),
        ("e,f", {"e,f": 1.0}),
        ("c=d=0.5,a=0.5", {"c=d": 0.5, "a": 0.5}),
        ("a=1,b=0", {"a": 1.0}),
    ],
)
def test_a_target_is_a_loss_several_or_all(text, weights):
    assert target_weights(text, ["a", "b", "c=d", "e,f"]) == weights


def test_one_loss_needs_no_target():
    assert target_weights(None, ["only"]) == {"only": 1.0}


def test_published_runs_are_fitted_as_they_are(run, shared_data):
    path = Path(shared_data) / "mixing_scale" / "dmsl_122m_310m.csv"
    rows = ("--where", "model_size=122M", "--last-step")
    told = run("fit", path, "-t", "openhermes", *rows, "--predictors", "effective-data", "--folds", "5", "--json")
    score = json.loads(told)["evidence"]["selection"]["scores"][0]
    assert score["spearman"] > 0.9  # .967 in 16 folds
