import json
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.continual.fit import ContinualFit, fit_continual
from mixopt.continual.grid import Budget, grid, hypervolume, non_dominated, pareto_front, pareto_search, predict
from mixopt.continual.question import CptQuestion, budget_of
from mixopt.continual.recommend import plan_cpt
from mixopt.continual.report import plan_document
from mixopt.continual.results import Plan
from mixopt.continual.summary import change_text, headline, refusal, sentences, warnings
from mixopt.report.html import render
from mixopt.runs.continual import read_continual
from regressors.laws.effective_tokens import effective_shares
from tests.factories.continual_tables import (
    DOMAIN,
    GENERAL,
    SHARES,
    SIZE,
    Exact,
    dcpt,
    exact_fit,
    general_share_at,
    made_runs,
    start,
)

LONGEST = 8e9
SEVERAL = (3e7, 1e8, 3e8, 1e9)
FINE = 1e-5  # shares: what is left of a grid after its zooms


def asked(**question):
    return CptQuestion(**question)


def answer(fit=None, **question):
    return plan_cpt(fit or exact_fit(), asked(**question), trials=0, draws=20)


# The answer against the made laws


@pytest.mark.parametrize("tolerance", [0.005, 0.03, 0.05])
def test_the_answer_keeps_exactly_as_much_general_text_as_the_tolerance_takes(tolerance):
    plan = answer(tolerance=tolerance)
    by_hand = general_share_at((1 + tolerance) * start(SIZE), SIZE, LONGEST)
    assert plan.answer.general_share == pytest.approx(by_hand, abs=FINE)
    assert plan.answer.rise == pytest.approx(tolerance, abs=1e-6)
    assert plan.answer.rise <= tolerance


def test_the_free_share_is_where_the_general_law_is_back_at_its_start():
    by_hand = general_share_at(start(SIZE), SIZE, LONGEST)
    assert answer().free.general_share == pytest.approx(by_hand, abs=FINE)


def test_longer_runs_need_less_general_text_here():
    shorter, longer = (answer(tokens=tokens).answer for tokens in (2e9, 8e9))
    assert longer.general_share < shorter.general_share
    by_hand = general_share_at(1.03 * start(SIZE), SIZE, 2e9)
    assert shorter.general_share == pytest.approx(by_hand, abs=FINE)


def test_without_a_binding_tolerance_limited_domain_text_is_best_spread_over_a_longer_run():
    law = DOMAIN | {"B": 400.0, "eta": 0.95, "beta": 0.35}
    hungry = ContinualFit(made_runs(shares=(0.1, 0.4, 0.7, 0.9)), Exact(law), Exact(GENERAL))
    plan = answer(hungry, domain_tokens=1e9, tolerance=0.9)
    share = np.linspace(1e9 / 3.2e10, 1, 400_001)
    losses = dcpt(law, SIZE, 1e9 / share, share)
    best = share[losses.argmin()]
    assert 0.1 < best < 0.9, "an optimum inside, or this tests nothing"
    assert plan.answer.share == pytest.approx(best, abs=1e-4)
    assert plan.answer.tokens == pytest.approx(1e9 / best, rel=1e-3)
    assert plan.answer.passes == pytest.approx(1.0)


def test_compute_is_split_between_size_and_tokens_as_brute_force_does():
    compute = 6 * 2e8 * 3e9
    plan = answer(exact_fit(SEVERAL), compute=compute)
    params, share = np.geomspace(3e7, 1e9, 1501)[:, None], np.linspace(0, 1, 2001)[None, :]
    tokens = compute / 6 / params
    kept = dcpt(GENERAL, params, tokens, 1 - share) <= 1.03 * start(params)
    losses = np.where(kept, dcpt(DOMAIN, params, tokens, share), np.inf)
    best = params[np.unravel_index(losses.argmin(), losses.shape)[0], 0]
    assert plan.answer.domain == pytest.approx(losses.min(), abs=2e-5)
    assert plan.answer.params == pytest.approx(best, rel=0.05)  # the optimum is flat
    assert 6 * plan.answer.params * plan.answer.tokens == pytest.approx(compute)
    assert [row.params for row in plan.sizes] == list(SEVERAL)
    assert min(row.best.domain for row in plan.sizes if row.best) >= plan.answer.domain


def test_repeated_domain_text_counts_as_its_effective_tokens():
    at = Budget((SIZE,), tokens=8e9, domain_tokens=1e9, r_star=5.0).at(np.array(SIZE), np.array([0.1, 0.5, 0.9]))
    tokens, share = at.fresh_equivalent()
    effective = effective_shares(8e9 * at.share[:, None], np.array([1e9]), 5.0)[:, 0]
    np.testing.assert_allclose(tokens * share, effective)
    np.testing.assert_allclose(tokens * (1 - share), 8e9 * (1 - at.share))
    assert tokens[0] == 8e9 and (tokens[1:] < 8e9).all(), "less than a pass is as it is, more is worth less"


def test_the_general_loss_does_not_see_that_domain_text_is_repeated():
    once, again = answer(tokens=8e9), answer(tokens=8e9, domain_tokens=1e9)
    assert again.answer.general_share == pytest.approx(once.answer.general_share, abs=FINE)
    assert again.answer.domain > once.answer.domain
    assert again.answer.passes == pytest.approx(8 * again.answer.share)
    assert 1 < again.repetition.worth < again.answer.passes


def test_with_an_endless_r_star_repetition_is_as_good_as_new_text():
    fresh, again = answer(tokens=8e9), answer(tokens=8e9, domain_tokens=2e9, r_star=1e9)
    assert again.answer.domain == pytest.approx(fresh.answer.domain, abs=1e-6)


def test_where_no_share_keeps_the_tolerance_the_least_rise_and_its_share_are_said():
    fit = exact_fit()
    high = replace(fit, general=Exact(GENERAL | {"E": GENERAL["E"] + 0.2}))
    plan = plan_cpt(high, asked(), trials=0, draws=20)
    least = (dcpt(high.general.constants, SIZE, LONGEST, 1.0)) / start(SIZE) - 1
    assert plan.answer is None and plan.free is None
    assert plan.least_rise.general_share == pytest.approx(1.0)
    assert plan.least_rise.rise == pytest.approx(least)
    assert change_text(least) in refusal(plan) and "100% general text" in refusal(plan)
    allowed = float(re.search(r"--tolerance ([\d.]+)%", refusal(plan))[1]) / 100
    again = plan_cpt(high, asked(tolerance=allowed), trials=0, draws=20)
    assert again.answer.rise <= allowed


def test_a_page_without_an_answer_shows_the_least_rise():
    fit = exact_fit()
    plan = plan_cpt(replace(fit, general=Exact(GENERAL | {"E": 2.0})), asked(), trials=0, draws=20)
    page = render(plan_document(plan))
    assert "No share from" in page and "least forgetting" in page


# The front


losses = st.lists(st.tuples(st.floats(1, 5), st.floats(1, 5)), min_size=1, max_size=30)


@given(losses)
def test_the_front_is_what_nothing_beats_in_both_losses(points):
    domain, general = np.array(points).T
    kept = non_dominated(domain, general)
    beaten = ((domain <= domain[:, None]) & (general <= general[:, None])) & (
        (domain < domain[:, None]) | (general < general[:, None])
    )
    best = ~beaten.any(axis=1)
    assert {(domain[n], general[n]) for n in kept} == {(domain[n], general[n]) for n in np.flatnonzero(best)}
    assert (np.diff(general[kept]) > 0).all()


@given(losses)
def test_the_hypervolume_is_the_area_of_all_rectangles_together(points):
    domain, general = np.array(points).T
    middle = np.linspace(1, 5, 401)[:-1] + 0.005
    covered = (middle[:, None, None] >= domain) & (middle[None, :, None] >= general)
    area = covered.any(axis=2).mean() * 16
    assert hypervolume(domain, general, (5.0, 5.0)) == pytest.approx(area, abs=0.1)  # two edges of 400 cells


@pytest.mark.parametrize(("sampler", "trials", "least"), [("nsga2", 400, 0.99), ("tpe", 200, 0.98)])
def test_optunas_search_agrees_with_the_grid(sampler, trials, least):
    fit = exact_fit()
    budget, _ = budget_of(fit.runs, asked())
    exact = pareto_front(predict(fit, grid(budget)))
    found = pareto_search(fit, budget, exact, sampler=sampler, trials=trials, seed=1)
    assert least < found.ratio < 1.001
    assert (np.diff(found.front.domain) < 0).all()


def test_optuna_searches_sizes_too_where_they_are_free():
    fit = exact_fit(SEVERAL)
    budget, _ = budget_of(fit.runs, asked(compute=3e18))
    found = pareto_search(fit, budget, pareto_front(predict(fit, grid(budget))), trials=400)
    assert found.ratio > 0.95
    assert len(set(found.front.points.params)) > 3


def test_every_run_of_the_front_gains_domain_loss_for_general_loss():
    runs = answer().front
    assert (np.diff([run.rise for run in runs]) > 0).all()
    assert (np.diff([run.domain for run in runs]) < 0).all()
    assert {run.outside for run in runs} == {True, False}, "shares beyond the trained ones are told apart"


# Intervals


def test_intervals_are_those_of_the_draws():
    spread = 0.02
    plan = plan_cpt(exact_fit(spread=spread), asked(), trials=0, draws=1000)
    limit = 1.03 * start(SIZE)
    ends = [general_share_at(limit - z * spread, SIZE, LONGEST) for z in (-1.2816, 1.2816)]  # 80 %
    low, high = (1 - share for share in plan.answer.chosen.share_ends[::-1])
    assert [low, high] == pytest.approx(ends, rel=0.1)
    interval = plan.answer.ends.domain
    assert (interval.high - interval.low) / 2 == pytest.approx(1.2816 * spread, rel=0.1)


def test_the_sure_share_keeps_the_tolerance_in_nine_of_ten_draws():
    spread = 0.02
    plan = plan_cpt(exact_fit(spread=spread), asked(), trials=0, draws=1000)
    by_hand = general_share_at(1.03 * start(SIZE) - 1.2816 * spread, SIZE, LONGEST)
    assert plan.sure.general_share == pytest.approx(by_hand, abs=0.02)
    assert plan.sure.general_share > plan.answer.general_share


def test_draws_choose_sizes_around_the_answers():
    plan = plan_cpt(exact_fit(SEVERAL, spread=0.005), asked(compute=3.6e18), trials=0, draws=200)
    low, high = plan.answer.chosen.params_ends
    assert low < plan.answer.params < high


def test_a_fit_to_noisy_checkpoints_finds_the_laws_answer():
    plan = plan_cpt(
        fit_continual(made_runs(noise=0.002, steps=(5e8, 2e9, 8e9)), law="d-cpt"), asked(), trials=0, draws=40
    )
    by_hand = general_share_at(1.03 * start(SIZE), SIZE, LONGEST)
    assert plan.answer.general_share == pytest.approx(by_hand, abs=0.015)


# Words


def test_the_answer_is_said_in_a_sentence_with_its_give_and_take():
    plan = plan_cpt(exact_fit(spread=0.01), asked(), trials=0)
    pattern = r"Keep 10% general text in 8B tokens: domain loss 1\.5\d\d ± 0\.01\d, general loss \+3\.0%\."
    assert re.fullmatch(pattern, headline(plan))


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ({}, ""),
        ({"tokens": 3.2e10}, "4 times the longest run (8B)"),
        ({"tokens": 1e8, "tolerance": 0.3}, "fewer than the first checkpoint has (200M)"),
        ({"tolerance": 0.08}, "lies outside the trained shares (30% to 95%)"),
    ],
)
def test_extrapolation_is_warned_of(question, words):
    plan = answer(**question)
    assert plan.answer.outside == bool(words)
    assert words in " ".join(plan.beyond) if words else plan.beyond == []


def test_outside_the_trained_shares_the_best_trained_one_stands_beside_the_answer():
    plan = answer(tolerance=0.08)
    assert plan.trained.share == pytest.approx(max(SHARES))
    assert answer().trained is None


def test_checkpoints_are_warned_of_where_another_length_is_asked_about():
    assert "intermediate-checkpoints" not in {warning.code for warning in answer().warnings}
    assert "intermediate-checkpoints" in {warning.code for warning in answer(tokens=4e9).warnings}


def test_published_shares_stand_beside_plans_of_like_length_only():
    at_eight, at_hundred_billion = answer().published, answer(tokens=9e10).published
    assert {"460M", "3.1B"} <= {row.size for row in at_eight}
    assert answer(tokens=5e8).published == []
    assert all(0 < row.share < 1 for row in (*at_eight, *at_hundred_billion))


def test_warnings_of_the_laws_are_passed_on():
    fit = exact_fit()
    general = Exact(GENERAL, cautions=["the loss rises with its own share"])
    found = warnings(answer(replace(fit, general=general)))
    assert [(w.code, w.text) for w in found] == [("law", "General loss: the loss rises with its own share.")]


def test_what_all_runs_have_in_common_is_no_caution_of_a_law():
    fit = fit_continual(made_runs(), law="d-cpt")
    assert any("all runs have" in text for text in fit.general.cautions_)
    assert not any("all runs have" in warning.text for warning in warnings(answer(fit)))


def test_a_plan_reads_what_it_wrote_also_from_before_warnings_had_codes():
    plan = answer(tokens=4e9)
    stored = json.loads(json.dumps(plan.to_json(), allow_nan=False))
    assert Plan.from_json(stored) == plan
    old = Plan.from_json({key: value for key, value in stored.items() if key != "warning_codes"})
    assert [warning.text for warning in old.warnings] == [warning.text for warning in plan.warnings]
    assert {warning.code for warning in old.warnings} == {""}


def test_replay_that_nothing_needs_is_said():
    fit = exact_fit()
    kind = replace(fit, general=Exact(GENERAL | {"C": 0.001}))
    found = sentences(plan_cpt(kind, asked(), trials=0, draws=20))
    assert any(re.match(r"Even with 0% general text .* ends below its start \(−", text) for text in found)


def test_sizes_are_named_where_they_are_chosen():
    plan = answer(exact_fit(SEVERAL), compute=3.6e18)
    assert re.match(r"Train \d+M parameters for 1\.\d+B tokens and keep \d+% general text", headline(plan))


# The published tables


def test_chemistry_at_three_percent_comes_out_as_published(shared_data):
    fit = fit_continual(read_continual(shared_data / "continual" / "dcpt_usage1_chemistry_1.8B_10B.csv"))
    plan = plan_cpt(fit, asked(tolerance=0.03), trials=0)
    assert plan.answer.share == pytest.approx(0.924, abs=0.004)
    assert "tokens" not in headline(plan), "the table doesn't say them"


def test_the_python_runs_are_back_at_their_start_where_the_measured_losses_cross(shared_data):
    named = {"share": "w_Python", "domain_loss": "loss_python", "general_loss": "loss_full"}
    runs = read_continual(shared_data / "continual" / "pythia70m_pile_python.csv", columns=named)
    plan = plan_cpt(fit_continual(runs), trials=0)
    assert plan.free.general_share == pytest.approx(0.279, abs=0.01)
    low, high = plan.free.chosen.share_ends
    assert low < 1 - 0.279 < high
