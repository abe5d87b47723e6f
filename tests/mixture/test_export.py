"""Facts about exported mixtures."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mixopt.errors import MixoptError
from mixopt.mixture.export import interleave, megatron, rounded, write_exports

WEIGHTS = {"books": 0.5, "old code": 1 / 3, "news": 1 / 6, "talk": 0.0}


def recommendation(weights=WEIGHTS, study="made"):
    return {"study": study, "domains": [{"domain": name, "recommended": weight} for name, weight in weights.items()]}


def run(text):
    """What an exported Python text defines."""
    scope = {}
    exec(compile(text, "interleave.py", "exec"), scope)
    return scope


positive = st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 1e6), min_size=1, max_size=30).filter(
    lambda weights: sum(weights.values()) > 0
)


@given(positive, st.integers(2, 9))
def test_rounded_weights_sum_to_exactly_one_each_within_a_unit(weights, places):
    found = {name: Decimal(text) for name, text in rounded(weights, places=places).items()}
    assert sum(found.values()) == 1
    total = sum(weights.values())
    unit = 10.0**-places
    for name, weight in weights.items():
        assert float(found[name]) == pytest.approx(weight / total, abs=unit * (1 + 1e-6))
        assert found[name] >= 0
        if weight == 0:
            assert found[name] == 0


@given(positive, st.randoms())
def test_rounding_keeps_the_order_of_weights(weights, _):
    found = {name: Decimal(text) for name, text in rounded(weights).items()}
    for name, weight in weights.items():
        for other, lighter in weights.items():
            if weight > lighter:
                assert found[name] >= found[other]


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": -0.1, "b": 1.1}])
def test_weights_that_are_no_mixture_are_not_exported(weights):
    with pytest.raises(MixoptError, match="run the search again"):
        rounded(weights)


def test_megatrons_blend_pairs_weights_with_paths_and_leaves_out_zeros():
    paths = {"books": "/data/books_text_document", "old code": "/data/code", "news": "/data/news"}
    text = megatron(recommendation(), paths=paths)
    assert text == "0.500000 /data/books_text_document 0.333333 /data/code 0.166667 /data/news\n"
    assert megatron(recommendation()) == "0.500000 books 0.333333 old_code 0.166667 news\n"


@pytest.mark.parametrize("paths", [{"books": "/data/b"}, {"books": "/my data/b", "old code": "c", "news": "n"}])
def test_a_path_that_megatron_would_split_or_lack_is_refused(paths):
    with pytest.raises(MixoptError, match="without spaces for every domain"):
        megatron(recommendation(), paths=paths)


def test_probabilities_without_document_lengths_say_what_they_assume():
    text = interleave(recommendation())
    assert run(text)["PROBABILITIES"] == {"books": 0.5, "old code": 0.333333, "news": 0.166667}
    assert "only if all domains' examples have" in text
    assert "# Left out, with no weight: talk." in text


def test_document_lengths_turn_token_shares_into_shares_of_documents():
    lengths = {"books": 3000, "old code": 1000, "news": 500, "talk": 10}
    found = run(interleave(recommendation(), tokens_per_document=lengths))["PROBABILITIES"]
    assert sum(found.values()) == pytest.approx(1)
    tokens = {name: probability * lengths[name] for name, probability in found.items()}
    for name, read in tokens.items():
        # Six decimals of a probability, times up to 3000 tokens over 857 a document: 1e-5 of the tokens.
        assert read / sum(tokens.values()) == pytest.approx(WEIGHTS[name], abs=1e-5)


@pytest.mark.parametrize("length", [None, 0, -5, float("nan"), float("inf")])
def test_a_document_length_that_is_none_is_refused(length):
    lengths = {"books": length, "old code": 1, "news": 1, "talk": 1}
    with pytest.raises(MixoptError, match="tokens per document of books"):
        interleave(recommendation(), tokens_per_document=lengths)


@given(
    st.text(max_size=20), st.dictionaries(st.text(min_size=1, max_size=8), st.floats(0.1, 1), min_size=1, max_size=5)
)
def test_any_names_give_python_that_runs(study, weights):
    text = interleave(recommendation({name: weight for name, weight in weights.items()}, study=study))
    assert list(run(text)["PROBABILITIES"]) == list(weights)


def test_the_exported_python_mixes_data_sets_at_the_recommended_shares():
    from datasets import Dataset

    mixed = run(interleave(recommendation()))["mixed"]
    domains = {name: Dataset.from_dict({"text": [name] * 400}) for name in WEIGHTS}
    drawn = [row["text"] for row in mixed(domains, documents=2400, seed=1)]
    assert len(drawn) == 2400
    # Four standard errors of a share near a half.
    for name in ("books", "old code", "news"):
        assert list(drawn).count(name) / len(drawn) == pytest.approx(WEIGHTS[name], abs=0.04)


@pytest.mark.parametrize("streaming", [False, True])
def test_the_exported_python_stops_after_the_planned_documents_and_epochs(streaming):
    from datasets import Dataset

    small = {"large": 0.8, "small": 0.2}
    text = interleave(
        recommendation(small) | {"full": {"tokens": 20_000.0}}, tokens_per_document={"large": 10, "small": 10}
    )
    assert "DOCUMENTS = 2000  # of the full run's 20,000 tokens" in text
    domains = {
        name: Dataset.from_dict({"text": [f"{name} {i}" for i in range(n)]})
        for name, n in (("large", 5000), ("small", 100))
    }
    given = {name: one.to_iterable_dataset() for name, one in domains.items()} if streaming else domains
    drawn = [row["text"] for row in run(text)["mixed"](given)]
    assert len(drawn) == 2000
    assert drawn.count("small 0") in (4, 5)  # 400 of 100 documents, within four standard errors
    assert sum(row.startswith("small") for row in drawn) == pytest.approx(400, abs=72)


@pytest.mark.parametrize("names", [("old code", "old_code"), ("a  b", "a b"), ("--data", "b"), ("-x", "b")], ids=str)
def test_names_that_collide_or_become_options_are_refused(names):
    with pytest.raises(MixoptError, match=rf"{names[0]}.*(rename one|rename the domain)") as refused:
        megatron(recommendation(dict.fromkeys(names, 0.5)))
    assert all(name in str(refused.value) for name in names[:1])
    megatron(recommendation(dict.fromkeys(names, 0.5)), paths={name: f"/data/{i}" for i, name in enumerate(names)})


def test_both_exports_are_written_whole(tmp_path):
    made = write_exports(recommendation(), tmp_path / "export")
    assert [path.name for path in made] == ["interleave.py", "megatron.txt"]
    assert sorted(path.name for path in (tmp_path / "export").iterdir()) == ["interleave.py", "megatron.txt"]


def test_a_recommendation_without_domains_is_refused():
    with pytest.raises(MixoptError, match="names no domain"):
        megatron({"domains": []})
