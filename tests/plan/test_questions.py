"""Facts about `mixopt plan`: the best run for a budget, what one more epoch is worth, and what is refused."""

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from hypothesis import strategies as st

import mixopt
from mixopt.errors import MixoptError
from mixopt.plan.epochs import EpochsPlan
from mixopt.plan.marginal import marginal, prices, repeat_value, turning
from mixopt.plan.optimum import balanced, best_split, cheapest_to_use
from mixopt.plan.presets import REFITS, averaged, published, stored
from mixopt.plan.questions import count
from mixopt.plan.report import epochs_document
from mixopt.plan.surface import INFERENCE, UNLIMITED, Surface, losses, run_at
from mixopt.report.document import Section
from tests.factories.command import Command

CASE = {"unique": "25B", "compute": "1e22"}
FORMS = {surface.name: surface for surface in published()}
SEEING = [name for name in FORMS if not name.startswith("chinchilla")]
compute = st.floats(19.0, 24.0).map(lambda power: 10**power)


@pytest.fixture(scope="module")
def plan():
    return mixopt.plan_epochs(**CASE)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """Runs a command in an empty folder and gives what it wrote."""
    return partial(Command(capsys, monkeypatch, tmp_path).output, "plan")


# The published case


def test_the_published_constants_give_the_published_allocation(plan):
    assert f"{plan['answer']['params']:.5e}" == "7.02616e+09"
    assert f"{plan['answer']['epochs']:.5f}" == "9.48835"


def test_the_allocation_of_the_published_case_is_an_interval(plan):
    ends = plan["answer"]["interval"]
    assert ends["epochs"] == pytest.approx([7.8, 26], rel=0.02)
    assert ends["params"] == pytest.approx([2.5e9, 8.6e9], rel=0.02)
    inside = [ends[name][0] <= plan["answer"][name] <= ends[name][1] for name in ("params", "tokens", "epochs", "loss")]
    assert all(inside)
    assert ends["compute"] is None  # given, so certain


def test_every_form_answers_and_the_output_says_how_far_they_are_apart(plan):
    assert {row["form"] for row in plan["forms"]} == FORMS.keys() and len(FORMS) >= 6
    between = plan["disagreement"]
    seeing = [row for row in plan["forms"] if row["form"] in SEEING]
    assert between["epochs"] == [min(r["epochs"] for r in seeing), max(r["epochs"] for r in seeing)]
    assert between["epochs"][1] > 1.5 * between["epochs"][0]
    assert [row["sees_repetition"] for row in plan["forms"]] == [row["form"] in SEEING for row in plan["forms"]]
    assert all(row["regret"] > 0 for row in seeing if row["form"] != plan["form"])


def test_the_published_savings_of_a_model_that_is_used_come_out():
    """Sardana et al.: 2T tokens of use, 13B of Chinchilla's quality: train 7B instead and save 1.7e22 FLOPs, 17%."""
    law = Surface("sardana", lambda n, d, u: 1.69 + 406.4 / n**0.336 + 410.7 / d**0.283, "arXiv:2401.00448")
    plain = balanced(law, UNLIMITED, params=13e9)
    cheap = cheapest_to_use(law, plain, 2e12)
    before, after = (run.compute + INFERENCE * run.params * 2e12 for run in (plain, cheap))
    assert cheap.params == pytest.approx(7e9, rel=0.01)
    assert before - after == pytest.approx(1.7e22, rel=0.01)
    assert 1 - after / before == pytest.approx(0.17, abs=0.005)


# What one more epoch is worth


def test_one_more_epoch_is_worth_the_difference_it_makes():
    surface = FORMS["data-constrained"]
    run = best_split(surface, 1e22, 25e9)
    told = marginal(surface, run)
    after = run_at(surface, run.params, run.tokens + 25e9, 25e9)
    assert told.change == pytest.approx(after.loss - run.loss, rel=1e-9)
    fresh = told.fresh_tokens
    assert run_at(surface, run.params, run.tokens + fresh, 25e9 + fresh).loss == pytest.approx(after.loss, abs=1e-9)
    assert 0 < told.fresh_share < 1


def test_the_prices_of_one_more_epoch_buy_what_it_brings():
    surface = FORMS["data-constrained"]
    run = best_split(surface, 1e22, 25e9)
    after = run_at(surface, run.params, run.tokens + 25e9, 25e9)
    told = prices(surface, run, best=True)
    assert told.epoch_compute == pytest.approx(6 * run.params * 25e9)
    best = best_split(surface, run.compute + told.equivalent_compute, 25e9)
    assert best.loss == pytest.approx(after.loss, abs=1e-7)
    assert told.equivalent_compute <= told.epoch_compute
    larger = run.params + told.bigger_model_compute / 6 / run.tokens
    assert run_at(surface, larger, run.tokens, 25e9).loss == pytest.approx(after.loss, abs=1e-9)


def test_a_token_seen_once_is_new_and_later_ones_are_worth_less():
    surface = FORMS["data-constrained"]
    worth = repeat_value(surface, 7e9, np.array([0.5, 1.5, 3, 6, 12, 24]) * 25e9, 25e9)
    assert worth[0] == pytest.approx(1)
    assert (np.diff(worth) < 0).all() and worth[-1] > 0


def test_turning_points_are_where_the_scales_tip():
    surface = FORMS["data-constrained"]
    run = best_split(surface, 1e22, 25e9)
    told = turning(surface, run)
    assert told.bigger_model == pytest.approx(run.epochs, rel=1e-9)
    for times in (2, 5, 10):
        at = getattr(told, f"new_text_{times}")
        assert repeat_value(surface, run.params, at * 25e9, 25e9) == pytest.approx(1 / times, rel=1e-6)
    assert told.harm is None


def test_a_penalty_form_says_from_when_on_repeating_harms():
    surface = FORMS["bounded-penalty"]
    run = best_split(surface, 1e22, 25e9)
    harm = turning(surface, run).harm
    assert 1 < harm < 1e4
    near = losses(surface, run.params, np.array([0.9, 1, 1.1]) * harm * 25e9, 25e9)
    assert near.argmin() == 1
    far = run_at(surface, run.params, 2 * harm * 25e9, 25e9)
    value = marginal(surface, far)
    assert (value.fresh_tokens, value.fresh_share) == (0.0, 0.0) and value.change > 0
    assert prices(surface, far, best=False).equivalent_compute is None


def test_twice_the_compute_is_best_split_best(plan):
    change = {row["step"]: row["change"] for row in plan["next"]}
    split = change["twice the compute, split best"]
    assert split < change["twice the compute, in epochs"] < change["one more epoch"] < 0
    assert split < change["twice the compute, in parameters"] < 0
    assert change["twice the text, same compute"] < 0


# Other questions


def test_a_model_of_given_size_is_trained_until_a_bigger_one_pays_more(plan):
    by_size = mixopt.plan_epochs(unique=25e9, params=plan["answer"]["params"])
    by_tokens = mixopt.plan_epochs(unique=25e9, tokens=plan["answer"]["tokens"])
    for other in (by_size, by_tokens):
        assert other["answer"]["compute"] == pytest.approx(1e22, rel=1e-6)
        assert other["answer"]["epochs"] == pytest.approx(plan["answer"]["epochs"], rel=1e-6)


def test_a_run_is_judged_as_it_is(plan):
    told = mixopt.plan_epochs(unique="25B", params="1B", tokens="100B")
    assert (told["answer"]["params"], told["answer"]["tokens"], told["answer"]["epochs"]) == (1e9, 1e11, 4)
    same = mixopt.plan_epochs(unique="25B", params="1B", compute=6e20)
    assert same["answer"]["tokens"] == pytest.approx(1e11)
    assert told["turning"]["bigger_model"] != pytest.approx(4, rel=0.1)


def test_a_budget_below_one_epoch_repeats_nothing(run):
    told = mixopt.plan_epochs(unique="1T", compute="1e20")
    plain = mixopt.plan_scale(compute="1e20", preset="data-constrained")
    assert told["answer"]["repeats"] is False and told["answer"]["epochs"] < 1
    assert told["answer"]["params"] == pytest.approx(plain["answer"]["params"], rel=1e-9)
    said = run("epochs", "--unique", "1T", "--compute", "1e20")
    assert "No repetition" in said and "One more epoch" not in said


def test_more_compute_than_the_text_can_use_is_said():
    (note,) = mixopt.plan_epochs(unique="1M", compute="1e22")["notes"]
    assert "more than 1M unique tokens can use" in note
    assert mixopt.plan_epochs(**CASE)["notes"] == []


def test_runs_beyond_what_a_form_was_fitted_to_are_called_extrapolations(plan):
    assert plan["beyond"] == []
    (size, tokens) = mixopt.plan_epochs(unique="1T", compute="1e25")["beyond"]
    assert "parameters are" in size and "tokens are" in tokens and "extrapolation" in size


def test_scale_is_the_best_split_and_says_what_use_changes():
    plain = mixopt.plan_scale(compute=1e22)
    assert plain["form"] == "chinchilla" and plain["saved"]["flops"] == 0
    assert plain["answer"]["params"] == best_split(FORMS["chinchilla"], 1e22, UNLIMITED).params
    used = mixopt.plan_scale(compute=1e22, inference_tokens="1T")
    assert used["plain"]["params"] == plain["answer"]["params"]
    assert used["answer"]["loss"] == pytest.approx(plain["answer"]["loss"], abs=1e-9)
    assert used["saved"]["flops"] == pytest.approx(
        used["plain"]["lifetime_compute"] - used["answer"]["lifetime_compute"]
    )
    assert used["same_lifetime"]["loss"] < plain["answer"]["loss"]
    assert used["same_lifetime"]["lifetime_compute"] == pytest.approx(used["plain"]["lifetime_compute"])


def test_a_form_that_knows_nothing_of_repetition_says_so_when_it_leads():
    told = mixopt.plan_epochs(**CASE, preset="chinchilla")
    assert told["form"] == "chinchilla" and "too optimistic" in told["notes"][0]
    assert told.marginal.fresh_share == pytest.approx(1)


def test_other_forms_answer_scale_for_as_much_training_compute():
    told = mixopt.plan_scale(loss=2.2)
    for row in told["forms"]:
        assert row["compute"] == pytest.approx(told["answer"]["compute"], rel=1e-9)
    assert told["answer"]["loss"] == pytest.approx(2.2, abs=1e-9) and told["disagreement"]["forms"] == len(FORMS)


def test_scale_without_an_end_of_text_has_intervals_and_no_epochs():
    told = mixopt.plan_scale(compute="1e22")
    low, high = told["answer"]["interval"]["params"]
    assert 0.6 < low / told["answer"]["params"] < 1 < high / told["answer"]["params"] < 1.6
    assert told["answer"]["epochs"] is None and "epochs" not in told["answer"]["interval"]


def test_fits_that_come_with_the_package_predict_as_when_they_were_made():
    record = stored()["repetition"]
    assert float(averaged(record)(*record["check"]["at"])) == pytest.approx(record["check"]["loss"], rel=1e-6)
    assert len(record["refits"]) == len(stored()["chinchilla"]) == REFITS
    assert sum(record["weights"].values()) == pytest.approx(1, abs=1e-6)


def test_scale_for_a_loss_reaches_it_with_repeats_where_text_ends():
    free, short = (mixopt.plan_scale(loss=2.2, preset="data-constrained", unique=u) for u in (None, "25B"))
    for told in (free, short):
        assert told["answer"]["loss"] == pytest.approx(2.2, abs=1e-9)
    assert short["answer"]["compute"] > free["answer"]["compute"]
    assert short["answer"]["repeats"] and free["answer"]["epochs"] is None


def test_warnings_have_codes_and_plans_of_older_versions_are_shown_without_them():
    answer = mixopt.plan_epochs(unique="1T", compute="1e25")
    reproduce = Section("again", "Again", [])
    shown = epochs_document(answer, reproduce).warnings
    assert [warning.code for warning in shown] == ["extrapolated-params", "extrapolated-tokens"]
    older = answer.to_json()
    del older["warning_codes"], older["fit"]
    shown_older = epochs_document(EpochsPlan.from_json(older), reproduce).warnings
    assert [warning.text for warning in shown_older] == [warning.text for warning in shown]


# Counts and refusals


@pytest.mark.parametrize(
    ("text", "value"),
    [("25B", 25e9), ("25b", 25e9), ("300M", 3e8), ("64K", 64e3), ("1.5T", 1.5e12), ("1e12", 1e12), (" 2e9 ", 2e9),
     ("1_000", 1e3), (7, 7.0), ("25G", None), ("B", None), ("", None), ("1e", None), (True, None), (None, None)],
)  # fmt: skip
def test_counts_are_read_with_suffixes(text, value):
    if value is None:
        with pytest.raises(MixoptError, match="write a count"):
            count("inference_tokens", text)
    else:
        assert count("inference_tokens", text) == value


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        ("--unique 25B", "--compute 1e22"),
        ("--compute 1e22", "--unique 25B"),
        ("--unique -5 --compute 1e22", "above 0"),
        ("--unique 0 --compute 1e22", "above 0"),
        ("--unique nan --compute 1e22", "above 0"),
        ("--unique inf --compute 1e22", "at most"),
        ("--unique 25B --compute 1e40", "check the exponent"),
        ("--unique 1e40 --compute 1e22", "check the exponent"),
        ("--unique many --compute 1e22", "25B"),
        ("--unique 25 --compute 1e22", "25B"),
        ("--unique 25B --compute 1e12", "raise it to"),
        ("--unique 25B --compute 1e12 --params 1B", "raise it to"),
        ("--unique 25B --tokens 100K", "raise it to"),
        ("--unique 25B --params 10K", "give a larger one"),
        ("--unique 25B --params 1e17", "give fewer"),
        ("--unique 25B --tokens 1e20", "give fewer"),
        ("--unique 10K --compute 1e22", "give more"),
        ("--unique 25B --params 1B --tokens 1B --compute 1e20", "drop one"),
        ("--unique 25B --compute 1e22 --preset nothing", "data-constrained"),
    ],
)
def test_nonsense_is_refused_in_one_line_with_a_way_out(run, words, way_out):
    said = run("epochs", *words.split(), code=2)
    assert way_out in said and said.startswith("mixopt: ") and said.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "way_out"),
    [
        ("", "--loss 2.2"),
        ("--compute 1e22 --loss 2.2", "either"),
        ("--loss 1.5", "ask for a higher loss"),
        ("--loss 2.0 --unique 1B --preset data-constrained", "more --unique"),
        ("--loss -1", "such as 2.2"),
        ("--loss nan", "such as 2.2"),
        ("--loss 11", "lower --loss"),
        ("--compute 1e9", "raise --compute"),
        ("--compute 1e22 --inference-tokens 0", "above 0"),
        ("--inference-tokens 1T", "--compute"),
    ],
)
def test_scale_refuses_nonsense_in_one_line_with_a_way_out(run, words, way_out):
    said = run("scale", *words.split(), code=2)
    assert way_out in said and said.startswith("mixopt: ") and said.count("\n") == 1


def test_the_budget_that_a_refusal_names_is_enough():
    with pytest.raises(MixoptError) as refused:
        mixopt.plan_epochs(unique="25B", compute="1e12")
    named = str(refused.value).split("raise it to ")[1].split()[0]
    assert mixopt.plan_epochs(unique="25B", compute=1.05 * float(named))["answer"]["params"] >= 1e6


# What is shown and written


def test_json_is_one_object_without_words_around_it(run, plan):
    told = json.loads(run("epochs", "--unique", "25B", "--compute", "1e22", "--json"))
    assert told.pop("made")["command"].startswith("mixopt plan epochs")
    assert told.pop("mixopt") == mixopt.__version__
    assert told == json.loads(json.dumps(plan.to_json())) and EpochsPlan.from_json(told) == plan
    assert {"given", "form", "answer", "interval", "marginal", "turning", "next", "forms", "curves"} <= told.keys()
    assert len(told["curves"]["equal_compute"]["epochs"]) == len(told["curves"]["equal_compute"]["loss"]["chinchilla"])


def test_the_terminal_says_what_to_do_and_how_sure_that_is(run):
    said = " ".join(run("epochs", "--unique", "25B", "--compute", "1e22").split())
    assert "Train 7.03B parameters for 9.49 epochs of your 25B tokens (237B in all)" in said
    assert "2.54B to 8.57B parameters, 7.78 to 26.3 epochs" in said and "data-constrained (used)" in said
    assert "a bigger model pays off more than another epoch" in said
    said = " ".join(run("scale", "--compute", "1e22", "--inference-tokens", "1T").split())
    assert "23% less than for the model of equal loss that is cheapest to train" in said


@pytest.mark.parametrize("kind", ["epochs", "scale"])
def test_a_page_is_written_whole(run, tmp_path, kind):
    run(kind, "--unique", "25B", "--compute", "1e22", "--html", "deep/plan.html")
    text = (tmp_path / "deep" / "plan.html").read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>") and text.rstrip().endswith("</html>")
    figures = json.loads(text.split('id="figures">')[1].split("</script>")[0])
    assert figures.keys() == ({"compute", "model", "margin"} if kind == "epochs" else {"size"})
    for name, choices in figures.items():
        assert f'id="figure-{name}"' in text and all(choice["data"] for choice in choices)
    assert "Muennighoff" in text and "7.03B" in text


def test_a_plan_from_published_laws_imports_nothing_slow():
    code = (
        "import sys, json\nsys.argv = ['mixopt', 'plan', 'epochs', '--unique', '25B', '--compute', '1e22']\n"
        "from mixopt.cli.main import main\ntry: main()\nexcept SystemExit: pass\n"
        "print(json.dumps([m for m in sys.modules if '.' not in m]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert "numpy" in loaded
    slow = {"sklearn", "scipy", "pandas", "torch", "plotly", "optuna", "lightgbm", "pyarrow"}
    assert loaded & slow == set()


def test_the_readers_of_a_plan_find_where_constants_come_from(plan):
    assert all("arXiv:" in row["source"] and row["note"] for row in plan["forms"])
