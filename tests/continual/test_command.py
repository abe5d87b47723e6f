import ast
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from mixopt.continual.figures import front_figure
from mixopt.continual.fit import fit_continual
from mixopt.continual.question import CptQuestion, StudyQuestion, budget_of
from mixopt.continual.recommend import plan_cpt
from mixopt.continual.report import plan_document
from mixopt.continual.results import Plan
from mixopt.continual.summary import headline
from mixopt.errors import MixoptError
from mixopt.report.html import render
from mixopt.runs.continual import read_continual
from tests.factories.continual_tables import (
    SIZE,
    exact_fit,
    general_share_at,
    made_runs,
    start,
    write_runs,
)

LONGEST = 8e9
SEVERAL = (3e7, 1e8, 3e8, 1e9)


def asked(**question):
    return CptQuestion(**question)


def answer(fit=None, **question):
    return plan_cpt(fit or exact_fit(), asked(**question), trials=0, draws=20)


# Reading


def test_a_table_is_read_by_the_usual_names_and_starts_are_rows_of_no_tokens(tmp_path):
    made = made_runs(SEVERAL[:2])
    runs = read_continual(write_runs(tmp_path / "runs.csv", made))
    assert runs.starts == made.starts
    np.testing.assert_allclose(runs.domain, made.domain)
    assert runs.sizes == made.sizes and len(set(runs.run)) == 10


def test_columns_are_named_counts_have_suffixes_and_starts_may_be_a_column(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(
        "N,seen,code,code loss,prose loss,before\n70M,1B,0.2,2.0,3.0,2.9\n70M,2B,.5,1.9,3.1,2.9\n160M,2B,.5,1.8,3,2.8\n"
    )
    named = {"params_column": "N", "tokens_column": "seen", "share": "code", "domain_loss": "code loss"}
    runs = read_continual(path, columns=named | {"general_loss": "prose loss", "general_start": "before"})
    assert runs.sizes == [7e7, 1.6e8]
    assert {size: general for size, (_, general) in runs.starts.items()} == {7e7: 2.9, 1.6e8: 2.8}
    assert len(set(runs.run)) == 3, "without ids a run is a size and a share"


def test_rows_of_one_id_but_several_shares_are_several_runs(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("run,tokens,r_d,L_d,L_g,L_g0\na,1B,.5,2,3,3\na,2B,.5,1.9,3,3\na,1B,.6,2,3,3\na,2B,.6,1.9,3,3\n")
    assert len(set(read_continual(path).run)) == 2


def test_a_given_start_stands_in_for_one_that_the_table_lacks(tmp_path):
    path = write_runs(tmp_path / "runs.csv", made_runs(), starts=False)
    assert read_continual(path, general_start=2.0).starts[SIZE][1] == 2.0
    with pytest.raises(MixoptError, match="general loss before continuing isn't known"):
        read_continual(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("domain_share,domain_loss\n.5,2\n", "no column of the general loss"),
        ("r_d,L_d,L_g,L_g0\n50,2,3,3\n60,2,3,3\n", "is not a share from 0 to 1 .percents"),
        ("r_d,L_d,L_g,L_g0\n.5,2,3,3\n.6,-2,3,3\n", "line 3, column 'L_d': '-2' is not a loss above 0"),
        ("tokens,r_d,L_d,L_g,L_g0\n1B,.5,2,3,3\n,.6,2,3,3\n", "line 3, column 'tokens': empty"),
        ("tokens,r_d,L_d,L_g,L_g0\n0,.5,2,3,3\n0,.6,2,3,3\n", "all rows have 0 tokens"),
        ("r_d,L_d,L_g,L_g0\n.5,2,,3\n.6,2,,3\n", "fewer than 2 losses"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path, text, message):
    path = tmp_path / "runs.csv"
    path.write_text(text)
    with pytest.raises(MixoptError, match=message):
        read_continual(path)


# Questions that runs can't answer


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"compute": 1e19}, "best size can't be known"),
        ({"params": 1e9}, "all runs have 100M"),
        ({"domain_tokens": 1e12}, "say how long to train with --tokens"),
        ({"passes": 2.0}, "--passes"),
        ({"compute": 1e19, "params": 1e8, "tokens": 1e9}, "redundant together"),
        ({"tolerance": -1.5}, "can't fall below 0"),
    ],
)
def test_questions_beyond_the_runs_are_refused(question, message):
    with pytest.raises(MixoptError, match=message):
        answer(**question)


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ({"params": 1e9}, "leave full.params out"),
        ({"compute": 1e19}, "full.compute: all runs have 100M parameters.* or give full.tokens 1.67e.10 in its place"),
        ({"domain_tokens": 1e12}, "say how long to train with full.tokens"),
    ],
)
def test_a_study_is_pointed_to_its_own_keys(question, message):
    with pytest.raises(MixoptError, match=message):
        budget_of(exact_fit().runs, StudyQuestion(**question))


def test_runs_of_one_length_allow_no_other_length_and_no_repetition():
    fit = exact_fit(steps=(4e9,))
    for question in ({"tokens": 8e9}, {"domain_tokens": 1e9}, {"domain_tokens": 1e9, "tokens": 4e9}):
        with pytest.raises(MixoptError, match="can't be known"):
            answer(fit, **question)
    assert answer(fit).curves.tokens is None


def test_runs_of_one_share_allow_no_plan():
    with pytest.raises(MixoptError, match="all runs have 50% domain text"):
        answer(exact_fit(shares=(0.5,)))


def test_unknown_laws_and_samplers_are_refused():
    with pytest.raises(MixoptError, match="no such law: choose from blend"):
        fit_continual(made_runs(), law="x")
    with pytest.raises(MixoptError, match="choose from nsga2, tpe"):
        plan_cpt(exact_fit(), sampler="x")


# The command and its page


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    from mixopt.cli import main

    write_runs(tmp_path / "runs.csv", made_runs())

    def call(*options):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["mixopt", "plan", "cpt", *options])
        with pytest.raises(SystemExit) as end:
            main.main()
        printed = capsys.readouterr()
        return end.value.code or 0, printed.out, printed.err

    return call


def test_the_command_answers_as_json_and_writes_a_page_that_needs_no_network(command, tmp_path):
    code, out, _ = command(
        "--runs", "runs.csv", "--law", "interpolation", "--trials", "40", "--json", "--html", "page.html"
    )
    assert code == 0
    plan = json.loads(out)
    by_hand = general_share_at(1.03 * start(SIZE), SIZE, LONGEST)
    assert plan["answer"]["general_share"] == pytest.approx(by_hand, abs=0.01)
    page = (tmp_path / "page.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page)
    assert all(f'id="figure-{name}"' in page for name in ("front", "shares", "tokens"))
    read = Plan.from_json(plan)
    assert headline(read) in page and "mixopt plan cpt --runs runs.csv" in page
    again = plan_document(read)
    assert render(again) == render(plan_document(read)), "equal plans give equal pages"
    sections = re.findall(r'<section id="(.*?)"', page)
    assert sections == [section.key for section in again.sections] + ["reproduce"]


def test_every_point_of_the_front_tells_its_share_and_both_losses():
    plan = answer()
    lines = [trace for trace in front_figure(plan)["data"] if trace["name"].startswith("Pareto front")]
    texts = [text for trace in lines for text in trace["text"]]
    assert len(texts) >= len(plan.front)
    assert all(re.search(r"% general text.*domain loss \d.*general loss \d.*\(", text) for text in texts)
    dashes = {trace["name"]: trace["line"]["dash"] for trace in lines}
    assert dashes == {"Pareto front, extrapolated": "dot", "Pareto front": "solid"}


def test_planning_imports_optuna_and_plotly_only_when_they_are_asked():
    code = "import sys, mixopt.continual.recommend, mixopt.cli.plan; print([m for m in sys.modules if '.' not in m])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"optuna", "plotly", "pandas", "sklearn", "scipy"} & set(ast.literal_eval(out))


def test_the_terminal_says_the_answer_first(command):
    code, out, _ = command("--runs", "runs.csv", "--law", "interpolation", "--trials", "0", "--tolerance", "1%")
    assert code == 0
    assert out.index("Keep ") < out.index("Pareto front of both losses")
    assert "+1.0%" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "--runs is missing"),
        (["--runs", "no.csv"], "no.csv: no such file"),
        (["--runs", "runs.csv", "--share", "w"], "no column 'w' (--share)"),
        (["--runs", "runs.csv", "--start-column", "w"], "no column 'w' (--start-column)"),
        (["--runs", "runs.csv", "--tolerance", "3"], "write how much the general loss may rise as 3% or 0.03"),
        (["--runs", "runs.csv", "--tokens", "many"], "--tokens many: write a count above 0"),
        (["--runs", "runs.csv", "--law", "interpolation", "--tolerance", "-50%"], "no share from 0.0% to 100%"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence_and_exit_2(command, options, message):
    code, _, err = command(*options)
    assert code == 2
    last = err.strip().splitlines()[-1]
    assert last.startswith("mixopt: ") and message.replace("0.0%", "0%") in last
