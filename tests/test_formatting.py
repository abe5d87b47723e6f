"""How the report says numbers and mixtures, and how it hands them to scripts."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.formatting import bytes_text, count_text, epochs_text, mixture, percent, signed
from mixopt.report.html import script_json


@given(st.recursive(st.none() | st.text() | st.floats(allow_nan=False, allow_infinity=False), st.lists, max_leaves=8))
def test_figures_survive_their_script_element(value):
    text = script_json(value)
    assert json.loads(text) == value
    assert not set("<>&") & set(text)


def test_numbers_that_json_lacks_become_null():
    assert script_json([float("nan"), float("inf"), {"a": -float("inf")}]) == '[null,null,{"a":null}]'


@pytest.mark.parametrize(
    ("given_value", "message"),
    [
        (percent(0.314), "31%"),
        (percent(0.042), "4.2%"),
        (percent(0.0004), "<0.1%"),
        (percent(0), "0%"),
        (percent(None), "–"),
        (count_text(1_234_567), "1.23M"),
        (count_text(140e9), "140B"),
        (count_text(999_999), "1M"),
        (count_text(15e12), "15T"),
        (count_text(float("nan")), "–"),
        (bytes_text(3.2e6), "3.2 MB"),
        (epochs_text(0.004), "<0.01"),
        (epochs_text(2.345), "2.35"),
        (epochs_text(14.2), "14.2"),
        (signed(-0.21, 2), "−0.21"),
        (signed(0.0001, 2), "0.00"),
        (mixture({"a": 0.5, "b": 0.3, "c": 0.2}), "50% a, 30% b and 20% c"),
        (mixture({"a": 0.5, "b": 0.3, "c": 0.1, "d": 0.1}, named=2), "50% a, 30% b and 20% in 2 others"),
        (mixture({"a": 0.0}), ""),
    ],
)
def test_numbers_are_shown_with_sensible_digits(given_value, message):
    assert given_value == message


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=40))
def test_every_domain_with_a_share_is_named_or_counted(weights):
    text = mixture({f"d{n}": w for n, w in enumerate(weights)})
    others = re.search(r"in (\d+) others", text)
    assert len(re.findall(r"\bd\d+", text)) + (int(others[1]) if others else 0) == len(weights)
