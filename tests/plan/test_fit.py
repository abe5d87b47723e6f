"""Facts about `mixopt plan --runs`: forms fitted to a user's own runs before they answer."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest

import mixopt
from mixopt.errors import MixoptError
from mixopt.plan import fit
from mixopt.plan.epochs import beyond, checked, loss_interval
from mixopt.plan.fit import ONCE, LawFit, of_chinchilla
from mixopt.plan.optimum import best_split
from mixopt.plan.presets import published
from mixopt.plan.report import fit_section, scale_document
from mixopt.plan.scale import Demand, influence, plan_scale
from mixopt.plan.surface import UNLIMITED, Run, Surface
from mixopt.report.document import Section
from mixopt.runs.scaling import Runs, read_plan_runs
from mixopt.study.progress import Progress
from regressors.estimators.repetition import overall_error
from regressors.laws.presets import PRESETS
from tests.factories.command import Command
from tests.factories.plan_tables import LAW, made_runs


@pytest.fixture(scope="module", autouse=True)
def few_refits():
    """Intervals are made of a few refits here: whether they are honest is tested with the regressors."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mixopt.plan.fit.DRAWS", 15)
        yield


@pytest.fixture(scope="module", autouse=True)
def fitted_once(few_refits):
    """One fit for all questions to a table; gives the function that fits."""
    fits, fitted = {}, fit.fitted

    def kept(runs, progress, *, seed=0):
        key = runs.X.tobytes(), runs.loss.tobytes(), seed
        return fits[key] if key in fits else fits.setdefault(key, fitted(runs, progress, seed=seed))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit, "fitted", kept)
        yield fitted


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    made_runs().to_csv(folder / "runs.csv", index=False)
    made_runs(repeats=False).to_csv(folder / "once.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def plan(home):
    return mixopt.plan_epochs(unique="2B", compute="1e20", runs=home / "runs.csv")


@pytest.fixture
def run(capsys, monkeypatch, home):
    """Runs a command in the folder with the tables and gives what it wrote."""
    return partial(Command(capsys, monkeypatch, home).output, "plan")


def test_runs_of_a_known_law_give_its_allocation_back(plan):
    truth = best_split(Surface("truth", LAW.loss, ""), 1e20, 2e9)
    assert plan["form"] == "average"
    assert plan["answer"]["params"] == pytest.approx(truth.params, rel=0.4)
    assert plan["answer"]["loss"] == pytest.approx(truth.loss, rel=0.02)
    low, high = plan["answer"]["interval"]["epochs"]
    assert low < plan["answer"]["epochs"] < high and high / low < 10


def test_the_fit_says_how_every_form_errs_on_runs_left_out(plan):
    judged = {row["form"]: row for row in plan["fit"]["judged"]}
    assert judged.keys() >= {"data-decay", "delayed-penalty", "data-constrained, published"}
    assert all(0 < row["errors"]["folds"] < 0.1 for row in judged.values())
    assert sum(row["weight"] or 0 for row in judged.values()) == pytest.approx(1)
    assert judged["data-constrained, published"]["errors"]["folds"] == pytest.approx(0.005, rel=0.4)  # it made them
    stars = plan["fit"]["r_star"]
    weights = [star["weight"] for star in stars]
    assert weights == sorted(weights, reverse=True) and all(judged[s["form"]]["weight"] == s["weight"] for s in stars)
    for star in stars[:1]:
        assert star["open_low"] or star["low"] is None or star["low"] < 15.4 * 3
        assert star["open_high"] or star["high"] is None or star["high"] > 15.4 / 3
        assert len(star["profile"]) > 5 and min(point["rise"] for point in star["profile"]) < 0.1


def test_forms_of_the_runs_stand_beside_the_published_one(plan):
    names = [row["form"] for row in plan["forms"]]
    assert names[0] == "average" and names[-1] == "data-constrained, published"
    assert all(row["interval"]["epochs"] for row in plan["forms"] if row["made"] == "runs" and row["form"] == "average")
    assert plan["interval"]["level"] == 0.8


def test_the_same_table_and_seed_give_the_same_plan(plan, home, fitted_once, monkeypatch):
    monkeypatch.setattr(fit, "fitted", fitted_once)
    again = mixopt.plan_epochs(unique=2e9, compute=1e20, runs=str(home / "runs.csv"))
    assert json.dumps(again["answer"]) == json.dumps(plan["answer"])


def test_runs_without_repeats_answer_scale_by_the_form_with_the_lower_held_out_error(home, run):
    told = mixopt.plan_scale(compute=1e20, runs=home / "once.csv")
    errors = {form["form"]: form for form in told["fit"]["judged"]}
    assert {tuple(form["errors"]) for form in errors.values()} == {("folds", "strain")}  # every form, the same splits
    overall = {name: overall_error(form["errors"]) for name, form in errors.items()}
    average = sum(form["weight"] * overall[name] for name, form in errors.items() if form["weight"])
    settled = "which they do." in told["fit"]["why"]
    assert told["form"] == (ONCE if overall[ONCE] <= average * (1.1 if settled else 1 / 1.1) else "average")
    assert told["fit"]["why"].startswith(told["form"]) and told["fit"]["repeats"] is False
    truth = best_split(Surface("truth", LAW.loss, ""), 1e20, UNLIMITED)
    low, high = told["answer"]["interval"]["params"]
    assert low < truth.params * 1.3 and truth.params < high * 1.3
    said = run("epochs", "--runs", "once.csv", "--unique", "2B", "--compute", "1e20", code=2)
    assert "no run has a token twice" in said and "mixopt plan scale" in said
    said = run("scale", "--runs", "once.csv", "--unique", "2B", "--compute", "1e20", code=2)
    assert "no run has a token twice" in said


def test_a_new_runs_loss_has_an_interval_that_says_whether_runs_so_far_off_checked_it(home, run, plan):
    told = mixopt.plan_scale(compute=1e20, runs=home / "once.csv")
    answer = told.answer
    low, high = answer.interval["loss"]
    truth = float(LAW.loss(answer.params, answer.tokens, UNLIMITED))
    assert low < answer.loss < high and low < truth < high
    assert {form.checked for form in told.forms if form.made == "runs"} <= {True, False}
    assert all(form.checked is None for form in told.forms if form.made != "runs")
    lead = fit.fitted(read_plan_runs(home / "once.csv"), Progress())[0][0]
    near, far = (Run(lead.fitted.highest.params * times, 1e10, UNLIMITED, 2.0) for times in (2, 11))
    assert checked(lead, near) and not checked(lead, far)
    ends = [np.ptp(np.log(loss_interval(lead, lead.fitted, one))) for one in (near, far)]
    assert ends[0] < ends[1]
    said = run("scale", "--runs", "once.csv", "--compute", "1e20")
    assert f"({'80% interval' if answer.checked else 'range, not checked at this distance'})" in said
    # none of the tables that intervals were checked on repeats its text
    assert plan.answer.epochs > 1.1 and plan.answer.checked is False


def test_tables_the_page_and_json_tell_of_the_fit(run, home):
    told = json.loads(
        run("epochs", "--runs", "runs.csv", "--unique", "2B", "--compute", "1e20", "--html", "plan.html", "--json")
    )
    assert told["made"]["files"][0]["name"] == "runs.csv" and told["fit"]["runs"] == len(made_runs())
    page = (home / "plan.html").read_text(encoding="utf-8")
    assert "Held-out errors" in page and "runs.csv: sha256" in page
    assert 'id="figure-r-star"' in page
    table, profiles = fit_section(LawFit.from_json(told["fit"])).blocks
    assert len(table.rows) == len(told["fit"]["judged"]) and len(profiles.plots) == len(profiles.choices)
    assert "R*, the epochs after which a repeat is worth 1/e" in table.note


# Reading


def test_columns_are_known_by_name_or_named(home, tmp_path):
    frame = made_runs()
    plain = read_plan_runs(home / "runs.csv")
    assert plain.repeats and len(plain.loss) == len(frame)
    frame["epochs"] = frame.D / frame.U
    other = frame.drop(columns="U").rename(columns={"N": "Width", "D": "n_tokens", "loss": "c4"})
    other["Width"] = [f"{size / 1e6:g}M" for size in other["Width"]]
    other.to_csv(tmp_path / "other.csv", index=False)
    named = read_plan_runs(tmp_path / "other.csv", columns={"params": "Width", "loss": "c4"})
    np.testing.assert_allclose(named.X, plain.X, rtol=1e-9)


def test_rows_are_chosen_and_those_without_a_loss_are_told(home, tmp_path):
    frame = made_runs()
    frame.loc[3, "loss"] = None
    frame.to_csv(tmp_path / "gap.csv", index=False)
    runs = read_plan_runs(tmp_path / "gap.csv")
    assert len(runs.loss) == len(frame) - 1 and "1 of" in runs.notes[0]
    small = read_plan_runs(home / "runs.csv", where=["N<=200M"])
    assert set(small.params) == {5e7, 1.5e8}
    assert small.within()["params"] == (5e7, 1.5e8)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda f: f.drop(columns="loss"), "no column for loss"),
        (lambda f: f.drop(columns="N"), "--columns params="),
        (lambda f: f.assign(D="much"), "line 2, column 'D': 'much'"),
        (lambda f: f.assign(loss=-1.0), "line 2, column 'loss': '-1.0'"),
        (lambda f: f.head(3), "a law needs 6"),
    ],
)
def test_tables_that_are_no_runs_are_refused_with_place_and_way_out(tmp_path, change, told):
    change(made_runs()).to_csv(tmp_path / "bad.csv", index=False)
    with pytest.raises(MixoptError) as refused:
        read_plan_runs(tmp_path / "bad.csv")
    assert told in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--runs none.csv", "no such file"),
        ("--runs runs.csv --columns size=N", "write name=column"),
        ("--runs runs.csv --columns params=M", "no column 'M'"),
        ("--columns params=N", "name it with --runs"),
        ("--runs runs.csv --preset chinchilla", "not among the forms"),
    ],
)
def test_options_about_runs_are_refused_with_a_way_out(run, words, told):
    said = run("epochs", "--unique", "2B", "--compute", "1e20", *words.split(), code=2)
    assert told in said and said.startswith("mixopt: ")


@pytest.mark.slow
def test_the_published_table_answers_and_its_interval_holds_the_average(shared_data):
    table = shared_data / "repetition" / "datablations_182.csv"
    told = mixopt.plan_epochs(unique="25B", compute="1e22", runs=table)
    low, high = told["answer"]["interval"]["epochs"]
    assert 3 < low < told["answer"]["epochs"] < high < 15
    errors = {row["form"]: row["errors"]["folds"] for row in told["fit"]["judged"]}
    assert min(errors.values()) < 0.054 < 0.11 == pytest.approx(errors["data-constrained, published"], abs=0.001)


def test_chinchillas_table_gives_the_refit_of_its_law(shared_data):
    runs = read_plan_runs(shared_data / "scaling" / "chinchilla_epoch.csv", where=["kept240=True"])
    told = mixopt.plan_scale(compute=1e22, runs=runs)
    refit = mixopt.plan_scale(compute=1e22)
    assert told["answer"]["params"] == pytest.approx(refit["answer"]["params"], rel=0.02)
    low, high = told["answer"]["interval"]["params"]
    assert low < refit["answer"]["params"] < high


def runs_of(sizes, *, noise, seed=0):
    """Runs without repeats that follow Chinchilla's published law."""
    params, per = (grid.ravel() for grid in np.meshgrid(sizes, (5, 10, 20, 40)))
    tokens, law = params * per, PRESETS[ONCE]
    rng = np.random.default_rng(seed)
    loss = law.loss(params, tokens, tokens) * np.exp(noise * rng.standard_normal(len(params)))
    return Runs("made", params, tokens, tokens, loss, False, (), ())


def test_chinchillas_law_leads_where_runs_settle_its_exponents_and_those_with_priors_elsewhere():
    assert fit.chosen_form(runs_of(np.geomspace(3e7, 3e9, 8), noise=0.002)).form == ONCE
    narrow = fit.chosen_form(runs_of((5e7, 6e7, 7e7), noise=0.01))
    assert narrow.form == "average" and "which they do not" in narrow.why


# Tables that no law describes


def test_runs_of_several_kinds_in_one_table_are_refused_with_the_columns_that_tell_them_apart(home):
    rows = pd.read_csv(home / "once.csv")
    two = pd.concat([rows.assign(val="web"), rows.assign(val="code", loss=rows["loss"] + 1)])
    two.to_csv(home / "two.csv", index=False)
    with pytest.raises(MixoptError, match=r"differ by up to 1\.00 nats/token.*--where.*val: "):
        read_plan_runs(home / "two.csv")
    assert len(read_plan_runs(home / "two.csv", where=["val=web"]).loss) == len(rows)


def test_a_gross_outlier_and_a_metric_that_rises_are_refused(home):
    rows = pd.read_csv(home / "once.csv")
    rows.assign(loss=rows["loss"].where(rows.index != 4, 1e308)).to_csv(home / "far.csv", index=False)
    with pytest.raises(MixoptError, match=r"line 6, column 'loss'.*far from the other losses"):
        read_plan_runs(home / "far.csv")
    rows.rename(columns={"loss": "accuracy"}).to_csv(home / "rises.csv", index=False)
    with pytest.raises(MixoptError, match=r"rises\.csv: 'accuracy' names a metric that rises.*rename its column"):
        read_plan_runs(home / "rises.csv", columns={"loss": "accuracy"})


def test_columns_that_are_not_used_are_named(home):
    pd.read_csv(home / "once.csv").assign(width=64).to_csv(home / "more.csv", index=False)
    assert any("not used: 'width'" in note for note in read_plan_runs(home / "more.csv").notes)


def test_an_answer_that_rests_on_few_runs_says_so_before_it(shared_data):
    """Besiroglu et al. 2024 (arXiv:2404.10102) leave out five runs of the published figure."""
    path, demand = shared_data / "scaling" / "chinchilla_epoch.csv", Demand(compute=5.76e23)
    for where, found in (((), ["few-runs"]), (("kept240=True",), [])):
        lead = of_chinchilla(read_plan_runs(path, where=where), seed=0)
        run = demand.best(lead)
        warnings = influence(demand, lead, run)
        assert [warning.code for warning in warnings] == found
        assert all("Without the 5 of 245 runs farthest from the law" in warning.text for warning in warnings)


def test_an_answer_far_outside_the_runs_says_so_before_it():
    plan = plan_scale(compute=1e22)
    shown = scale_document(
        replace(plan, beyond=["A, an extrapolation."], warning_codes=["far-outside"]), Section("", "", [])
    )
    assert shown.headline.startswith("This answer is far outside what the law was fitted to. Train ")
    lead = replace(published("chinchilla")[0], within={"params": (1e6, 1e7)})
    assert [one.code for one in beyond(lead, Run(1e12, 1e12, UNLIMITED, 2.0))] == ["far-outside"]
    assert [one.code for one in beyond(lead, Run(2e7, 1e12, UNLIMITED, 2.0))] == ["extrapolated-params"]


def test_tokens_follow_from_epochs_and_unique_tokens(home, tmp_path):
    frame = pd.read_csv(home / "runs.csv")
    frame = frame.assign(epochs=frame["D"] / frame["U"])
    frame.drop(columns="D").to_csv(tmp_path / "e.csv", index=False)
    np.testing.assert_allclose(read_plan_runs(tmp_path / "e.csv").X, read_plan_runs(home / "runs.csv").X)


@pytest.mark.parametrize("cell", ["2,345", "much", "-2"])
def test_a_loss_of_a_scaling_table_is_a_number_with_a_point(home, tmp_path, cell):
    frame = pd.read_csv(home / "runs.csv").astype(object)
    frame.loc[2, "loss"] = cell
    frame.to_csv(tmp_path / "e.csv", index=False)
    with pytest.raises(MixoptError, match=f"line 4, column 'loss': '{cell}' is not a "):
        read_plan_runs(tmp_path / "e.csv")
