"""What the report says of the marginal value of text, of repetition and of the certificate."""

import pytest

from mixopt.mixture.marginal_value import marginal_value_section, repetition_text
from mixopt.mixture.report import study_report
from mixopt.mixture.results import Recommendation, RepetitionEvidence, Selection
from mixopt.report.document import Document
from mixopt.report.html import render
from tests.factories.study import made_study

UNIQUE = {"gain": 7.4e-11, "low": 6.0e-11, "high": 8.8e-11}
PRICED = {
    "level": 0.8,
    "method": "jackknife",
    "sees_repetition": True,
    "why": None,
    "folds": 10,
    "tokens": {"gain": 1e-11, "low": 8e-12, "high": 1.2e-11, "at_same_epochs": 2e-11, "runs": 2},
    "domains": [
        {"domain": "math", "pool": 1e9, "epochs": 4.0, "unique": UNIQUE, "cap": None,
         "worth": {"gain": 7.4, "low": 5.2, "high": None}},
        {"domain": "code", "pool": 3e9, "epochs": 2.0, "unique": {"gain": 9e-12, "low": 6e-12, "high": 1.2e-11},
         "worth": {"gain": 0.9, "low": 0.5, "high": 1.2},
         "cap": {"setting": "max_epochs", "at": 2.0, "gain": 0.03, "low": 0.02, "high": 0.04}},
        {"domain": "web", "pool": None, "epochs": None, "unique": None, "worth": None, "cap": None},
    ],
}  # fmt: skip
TERM = {
    "aware": "effective-data-epochs", "plain": "effective-data", "runs": 6, "with": 0.0123, "without": 0.0311,
    "earned": True,
    "r_star": {"level": 0.8, "prior": {"centre": 15.387756, "sd_of_log": 1.0},
               "by_text": {"quotes": {"value": 7.3, "low": 3.1, "high": None, "identified": True}}},
}  # fmt: skip


def study(priced=None, term=None, **search):
    made = made_study()
    recommendation = made["recommendation"] | ({"shadow_prices": priced} if priced else {})
    recommendation["search"] |= search
    return made | {"recommendation": recommendation, "selection": made["selection"] | {"repetition": term}}


def page(priced=None, term=None, **search):
    made = study(priced, term, **search)
    found, selection = Recommendation.from_json(made["recommendation"]), Selection.from_json(made["selection"])
    text = made["study_text"]
    return render(study_report(found, selection, made["runs"], prepared=made["corpora"], study_text=text))


def section(priced=None, term=None):
    made = study(priced, term)
    priced = Recommendation.from_json(made["recommendation"]).shadow_prices
    found = marginal_value_section(priced, Selection.from_json(made["selection"]).repetition)
    return render(Document("t", "h", sections=[found])) if found else ""


def test_the_page_tells_what_text_is_worth_and_links_to_it():
    shown = page(PRICED, TERM)
    assert '<a href="#marginal-value">Marginal value of text</a>' in shown
    assert "One million more unique tokens of math are worth 7.4 million more training tokens" in shown
    assert "(80% interval 5.2 million and more)" in shown


def test_older_studies_have_no_such_section_and_no_link_to_it():
    assert section() == ""
    assert "#marginal-value" not in page()


def test_the_table_has_a_row_for_every_domain_with_a_price():
    told = section(PRICED)
    assert told.count("<tr") == 3  # the head, math and code; web is unlimited
    assert "0.0074" in told  # math's, for 10% more
    assert "2 epochs" in told and "0.006" in told  # code's cap, and what 0.2 epochs more bring
    assert "measured by 2 runs with half the tokens" in told


def test_without_longer_runs_the_table_has_no_training_tokens():
    alone = PRICED | {"tokens": None, "domains": [row | {"worth": None} for row in PRICED["domains"]]}
    assert "value of one unique token" in section(PRICED)
    assert "value of one unique token" not in section(alone)
    assert "half the tokens" not in section(alone)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "6 runs with other pools, held out, were predicted with an error of 0.0123 nats/token"),
        ({}, ": the term lowered the error. Fitted R*"),
        ({}, "little: 7.3 (3.1 and more); 80% intervals, with a prior around the published 15."),
        ({"earned": False}, ": the term did not clearly lower the error."),
        ({"r_star": None}, "lowered the error."),
        ({"with": None, "without": None, "why": "All pools are alike."}, "All pools are alike. Fitted R*"),
        ({"with": None, "without": None}, "Whether modelling repetition helps was not tested. Fitted R*"),
    ],
)
def test_the_repetition_term_is_said_to_have_earned_its_place_or_not(change, said):
    assert said in repetition_text(RepetitionEvidence.from_json(TERM | change))


@pytest.mark.parametrize("term", [None, {}, {"runs": 0, "with": None, "without": None, "earned": None}])
def test_a_repetition_term_that_was_not_judged_is_not_mentioned(term):
    assert repetition_text(None if term is None else RepetitionEvidence.from_json(term)) == ""


@pytest.mark.parametrize("scope", [None, "global"], ids=["today", "of an older version"])
def test_the_search_section_says_how_surely_the_mixture_is_the_best(scope):
    certificate = {"residual": 1e-7, "gap": 2e-7, "scope": scope, "why": "bimix is convex"}
    shown = page(certificate=certificate)
    assert "No allowed mixture is predicted more than 0.00001 nats/token lower (bimix is convex)." in shown
    assert "5 of 6 starts agree." in shown
    assert "Certified" not in shown
