"""The report page: what it says, what it leaves out, and that nothing in a study can break it."""

import json
import re
import subprocess
import sys
from copy import deepcopy

import numpy as np
import pandas as pd
import pytest

from mixopt.errors import MixoptError
from mixopt.mixture.report import read_report, study_report
from mixopt.mixture.results import Recommendation, Selection, Verification
from mixopt.mixture.summary import recommendation_document
from mixopt.report.document import Warning
from mixopt.report.html import render
from tests.factories.pages import Page
from tests.factories.study import DOMAINS, made_check, made_study


def document(recommendation, selection, runs, *, corpora=None, study_text="", verified=None):
    return study_report(
        Recommendation.from_json(recommendation),
        Selection.from_json(selection),
        runs,
        prepared=corpora,
        study_text=study_text,
        verified=Verification.from_json(verified) if verified else None,
    )


def shown(study, **more):
    return render(document(**{**study, **more}))


def page_of(folder):
    return render(read_report(folder))


@pytest.fixture(scope="module")
def study():
    return made_study()


@pytest.fixture(scope="module")
def page(study):
    return shown(study, verified=made_check(study))


def without_plotly(html):
    return re.sub(r"<script>.*?</script>", "", html, flags=re.S)


def figures_of(html):
    found = re.search(r'<script type="application/json" id="figures">(.*?)</script>', html, re.S)
    assert found
    return json.loads(found[1])


def test_every_element_is_closed_and_every_id_and_link_is_good(page):
    read = Page(page)
    assert read.open == []
    assert len(set(read.ids)) == len(read.ids)
    assert read.links
    assert all(link.startswith("#") and link[1:] in read.ids for link in read.links)


def test_the_page_needs_nothing_from_elsewhere(page):
    ours = without_plotly(page)
    assert not re.search(r"https?://|@import|url\(|<link|<img|<iframe|src=", ours)
    assert len(Page(page).scripts[1]) > 1_000_000  # Plotly itself is inside


def test_the_headline_says_the_mixture_its_loss_and_its_rivals(study):
    recommendation = deepcopy(study["recommendation"])
    for row, value in zip(recommendation["domains"], (0.31, 0.24, 0.2, 0.15, 0.1, 0, 0, 0), strict=True):
        row["recommended"] = value
    recommendation["predicted"] = {
        "recommended": {"loss": 3.02, "low": 2.9, "high": 3.1},
        "uniform": {"loss": 3.23},
        "natural": {"loss": 3.0},
    }
    text = Page(without_plotly(shown(study, recommendation=recommendation))).text
    assert "Train on 31% encyclopedia, 24% french, 20% speeches, 15% scripture and 10% legal." in text
    assert "Predicted target loss 3.02 nats/token at proxy scale (80% interval 2.90 to 3.10)" in text
    assert "to 3.10), 0.21 below uniform, 0.02 above natural." in text


def test_how_the_predictor_was_chosen_and_what_the_choice_is_worth_is_said(page):
    text = Page(without_plotly(page)).text
    assert "Chosen: effective-data: the lowest held-out error." in text
    assert (
        "Choosing again without each fold (approximately nested): Spearman 0.967, RMSE 0.0083, regret 0.0040 "
        "(effective-data in 4 folds and exponential-mixing in 1 fold)." in text
    )
    assert "0.0080 ± 0.0011" in text and "79%" in text  # RMSE with its standard error, and coverage


def test_optimism_is_told_beside_the_predicted_losses(study, page):
    assert "Expected optimism 0.006 ± 0.002 nats/token" in Page(without_plotly(page)).text
    unknown = {**study["recommendation"], "optimism": {"loss": None, "standard_error": None, "method": ""}}
    assert "ptimism" not in Page(without_plotly(shown(study, recommendation=unknown))).text


def test_without_scripts_headline_warnings_shares_and_bars_are_there(study, page):
    ours = without_plotly(page)
    text = Page(ours).text
    assert "Train on " in text and all(warning in text for warning in study["recommendation"]["warnings"])
    assert ours.count('class="bars"') > len(DOMAINS)
    for row in study["recommendation"]["domains"]:
        assert re.search(rf'<th scope="row">{row["domain"]}</th>', ours)
        assert f"{100 * row['recommended']:.1f}%" in text


def test_warnings_come_before_the_mixture(page):
    assert page.index('class="headline"') < page.index('id="warnings"') < page.index('id="mixture"')


def test_every_table_of_losses_says_its_scale(page):
    captions = re.findall(r"<caption><span>(.*?)</span></caption>", page)
    losses = [caption for caption in captions if "loss" in caption.lower() or "score" in caption.lower()]
    assert len(losses) >= 7
    assert all("at proxy scale" in caption or "parameters" in caption for caption in losses)
    assert "the loss of the full run is not predicted" in Page(without_plotly(page)).text


def test_equal_inputs_give_equal_pages_and_are_left_alone(study):
    before = deepcopy({key: value for key, value in study.items() if key != "runs"})
    assert shown(study) == shown(deepcopy(study))
    assert before == {key: value for key, value in study.items() if key != "runs"}


def test_the_order_of_domains_and_runs_in_the_files_does_not_change_the_page(study):
    turned = deepcopy(study)
    turned["recommendation"]["domains"].reverse()
    turned["recommendation"]["effects"] = dict(reversed(turned["recommendation"]["effects"].items()))
    turned["runs"] = study["runs"].iloc[::-1, ::-1]
    assert shown(turned) == shown(study)


@pytest.mark.parametrize(
    "bad", ["<script>alert(1)</script>", "</script><b>", '"><img src=x onerror=alert(1)>', "a & b", "$title"]
)
def test_no_name_in_a_study_becomes_markup(bad):
    made = made_study((bad, *DOMAINS[1:]))
    recommendation, selection = made["recommendation"], made["selection"]
    recommendation["study"] = bad
    recommendation["warnings"] = [bad]
    recommendation["target"]["weights"][bad] = 0.1
    recommendation["by_text"][bad] = {"recommended": 3.0, "natural": 2.9, "uniform": 3.1}
    recommendation["predicted"]["best_measured"]["run_id"] = bad
    recommendation["search"]["sampler"] = recommendation["interval"]["method"] = bad
    selection["chosen"] = bad
    selection["held_out"]["predicted"][bad] = selection["held_out"]["predicted"]["regmix-linear"]
    selection["held_out"]["role"][0] = bad
    selection["left_out"] = [{"run_id": bad, "reason": bad}]
    made["runs"].loc[0, ["run_id", "role"]] = bad
    made["study_text"] = bad
    html = shown(made, verified={"sizes": [{"params": 1e6, "tokens": 1e6, "arms": {bad: [3.0]}}]})
    read = Page(html)
    assert read.open == []
    assert len(read.scripts) == 3
    assert "<img" not in without_plotly(html) and "alert(1)</script>" not in html
    assert read.text.count(bad) > 10
    assert json.loads(read.scripts[0]) == figures_of(html)


def test_plotly_takes_every_figure(page):
    import plotly.graph_objects as go

    figures = figures_of(page)
    counts = {"held-out": 3, "by-text": 1, "runs": 1, "effects": len(DOMAINS), "check": 2}
    assert {key: len(plots) for key, plots in figures.items()} == counts
    for choices in figures.values():
        for figure in choices:
            go.Figure(figure).to_dict()  # raises ValueError on an attribute that Plotly doesn't know
    for key in figures:
        assert f'id="figure-{key}"' in page


def test_the_scatter_opens_with_the_target_and_the_chosen_predictor(study, page):
    first = figures_of(page)["held-out"][0]["data"]
    points = [trace for trace in first if trace["mode"] == "markers"]
    assert [trace["name"] for trace in points if trace["visible"] is True] == ["effective-data"]
    assert points[0]["y"] == study["selection"]["held_out"]["measured"]["target"]
    band = next(trace for trace in first if trace.get("fill"))
    assert band["y"][-1] - band["y"][0] == pytest.approx(2 * 0.0051)  # one standard deviation to both sides


def test_a_text_without_noise_has_no_noise_band(study):
    selection = {**study["selection"], "noise": []}
    html = shown(study, selection=selection)
    assert not any(trace.get("fill") for trace in figures_of(html)["held-out"][0]["data"])
    assert "run-to-run noise is unknown" in html and "grey band" not in html


def test_unknown_pools_and_full_tokens_are_said(study):
    for change, sentence in (("pool", "gives no pool"), ("tokens", "does not say how many tokens")):
        recommendation = deepcopy(study["recommendation"])
        for row in recommendation["domains"]:
            row["epochs"] = row["pool" if change == "pool" else "tokens"] = None
        if change == "tokens":
            recommendation["full"] = {"params": None, "tokens": None}
        text = Page(without_plotly(shown(study, recommendation=recommendation))).text
        assert sentence in text
        assert "None" not in text.replace("None.", "") and "nan" not in text


def test_a_study_of_given_runs_says_that_its_corpora_are_unknown(study):
    assert "nothing is known about the text" in shown(study, corpora=None)


def test_what_reading_the_corpora_met_is_listed(page):
    text = Page(without_plotly(page)).text
    assert "3 empty" in text
    assert "encyclopedia and docs: 14 documents (1.2% of encyclopedia and 0.9% of docs)" in text


RECOMMENDATION_KEYS = tuple(made_study()["recommendation"])
SELECTION_KEYS = tuple(made_study()["selection"])


@pytest.mark.parametrize("how", ["absent", "null"])
@pytest.mark.parametrize("key", [*RECOMMENDATION_KEYS, *SELECTION_KEYS])
def test_a_page_without_one_part_is_whole(study, key, how):
    parts = {name: dict(study[name]) for name in ("recommendation", "selection")}
    holder = parts["recommendation"] if key in RECOMMENDATION_KEYS else parts["selection"]
    if how == "absent":
        del holder[key]
    else:
        holder[key] = None
    read = Page(shown(study, **parts))
    assert read.open == []
    assert " None " not in read.text


def test_a_study_with_nothing_but_shares_is_still_a_page():
    bare = {"domains": [{"domain": "a", "recommended": 0.4}, {"domain": "b", "recommended": 0.6}]}
    html = render(document(bare, {}, pd.DataFrame({"run_id": []})))
    text = Page(html).text
    assert "Train on 60% b and 40% a." in text and "No predictor has been scored." in text
    assert figures_of(html) == {} and len(html) < 100_000  # no figure, so no Plotly


@pytest.mark.parametrize("kinds", ["numpy", "nullable"])
def test_missing_losses_become_null_and_a_dash(study, kinds):
    runs = study["runs"].astype({"seed": float, "diverged": object})
    if kinds == "nullable":
        runs = runs.convert_dtypes()
    runs.loc[3, ["loss/spanish", "seed", "role", "diverged"]] = [np.nan, np.nan, None, None]
    selection = deepcopy(study["selection"])
    selection["held_out"]["measured"]["target"][3] = float("nan")
    selection["held_out"]["predicted"]["effective-data"]["target"][4] = None
    html = shown(study, runs=runs, selection=selection)
    points = next(t for t in figures_of(html)["held-out"][0]["data"] if t["name"] == "effective-data")
    assert len(points["x"]) == len(selection["held_out"]["run_id"]) - 2
    assert "NaN" not in without_plotly(html) and "nan" not in Page(without_plotly(html)).text


def test_the_best_run_is_the_same_wherever_it_stands_and_runs_of_other_pools_come_last(study):
    runs = study["runs"].copy()
    runs.loc[[6, 7], "role"] = ["repetition", "shorter"]
    runs.loc[[6, 7], ["loss/quotes", "loss/spanish"]] = 0.5  # three times the text: no mixture did this
    held = study["selection"]["held_out"]
    kept = [n for n, run in enumerate(held["run_id"]) if run not in set(runs.loc[[6, 7], "run_id"])]
    held = held | {"run_id": [held["run_id"][n] for n in kept], "role": [held["role"][n] for n in kept]}
    held["measured"] = {text: [values[n] for n in kept] for text, values in held["measured"].items()}
    text = Page(without_plotly(shown(study, runs=runs, selection=study["selection"] | {"held_out": held}))).text
    best = study["recommendation"]["predicted"]["best_measured"]
    run, measured = best["run_id"], f"{best['measured']:.3f}"
    assert f"The best mixture among the runs ({run}, measured {measured}" in text
    assert f"The best mixture, {run}, measured {measured} nats/token" in text
    assert "1 of other pools" in text and "1 of fewer tokens" in text
    assert "are not comparable with the others and stand last" in text
    table = text[text.index("Measured losses, nats/token, at proxy scale") :]
    assert min(table.index(run_id) for run_id in runs.loc[[6, 7], "run_id"]) > table.index(run)


def test_a_validation_set_that_gets_much_worse_is_the_first_warning(study):
    recommendation = dict(study["recommendation"])
    recommendation["by_text"] = {
        "french": {"recommended": 6.0, "natural": 3.6, "uniform": 3.5},
        "spanish": {"recommended": 4.4, "natural": 3.5, "uniform": 4.4},
        "code": {"recommended": 3.2, "natural": 3.0, "uniform": 3.2},
    }
    found = Recommendation.from_json(recommendation)
    assert found.limitations[0] == Warning(
        "much-worse",
        "The loss on 2 validation sets is predicted more than 10% above the natural mixture's: french +2.40 nats/token "
        "(67%) and spanish +0.90 nats/token (26%). If these matter, add them to the target.",
    )
    assert recommendation_document(found).warnings[0].code == "much-worse"
    recommendation["by_text"] = {"code": {"recommended": 3.2, "natural": 3.0}}
    assert "much-worse" not in {one.code for one in Recommendation.from_json(recommendation).limitations}


def test_a_diverged_run_is_named_in_the_warnings_and_never_the_best(study):
    runs = study["runs"].copy()
    runs.loc[5, ["loss/quotes", "loss/spanish"]] = 0.1
    for selection in (study["selection"], {**study["selection"], "left_out": []}):
        text = Page(without_plotly(shown(study, runs=runs, selection=selection))).text
        run_id = runs.loc[5, "run_id"]
        assert f"1 run left out of every fit: {run_id} (diverged)." in text
        assert f"The best mixture, {run_id}" not in text
        assert "28 runs: 24 fitted and compared, 3 repeating a mixture and 1 left out." in text


def test_only_the_last_step_of_a_run_counts(study):
    late = study["runs"].assign(step=100)
    early = study["runs"].assign(step=10, **{"loss/quotes": 9.0})
    assert shown(study, runs=pd.concat([late, early])) == shown(study, runs=late)


def test_the_target_is_weighed_from_the_texts_when_no_scores_hold_it(study):
    runs = pd.DataFrame(
        {
            "run_id": ["r1", "r2"],
            "w/a": [1.0, 0.5],
            "w/b": [0.0, 0.5],
            "loss/quotes": [3.0, 2.0],
            "loss/spanish": [2.0, 5.0],
        }
    )
    html = shown(study, runs=runs, selection={})
    assert "2.700" in html
    assert figures_of(html)["runs"][0]["data"][1]["y"] == pytest.approx([2.7, 2.9])


def test_a_measured_check_stands_beside_the_prediction(study, page):
    text = Page(without_plotly(page)).text
    gap = (
        study["recommendation"]["predicted"]["uniform"]["loss"]
        - study["recommendation"]["predicted"]["recommended"]["loss"]
    )
    assert re.search(rf"Uniform .* \+{gap:.3f} ± 0.000 \(3 of 3 seeds\) \+{gap:.3f}", text)
    assert made_check(study)["conclusions"][0] in text
    assert "12.6M parameters and 40M tokens" in text
    assert "(mean of 3 runs)" in text  # the check at the proxies' own size stands in the first table too
    assert 'id="check"' not in shown(study) and "(mean of 3 runs)" not in shown(study)


def test_a_check_that_went_wrong_says_so(study):
    arms = {"recommended": [3.5, None], "uniform": [3.2, 3.3], "natural": [None]}
    text = Page(without_plotly(shown(study, verified={"sizes": [{"params": 1e6, "tokens": None, "arms": arms}]}))).text
    assert "Recommended 3.500 3.500" in text and "Uniform 3.250 3.200, 3.300 −0.250" in text
    assert "Natural diverged" in text


def test_a_gain_within_noise_is_called_so(study):
    recommendation = deepcopy(study["recommendation"])
    best = recommendation["predicted"]
    best["best_measured"]["loss"] = best["recommended"]["loss"] + 0.003
    assert (
        "a difference within the noise of one run (0.005)"
        in Page(without_plotly(shown(study, recommendation=recommendation))).text
    )


def test_a_hundred_domains_all_stand_in_the_page():
    names = tuple(f"a rather long name of a corpus, part {n:03d}" for n in range(100))
    made = made_study(names, n_runs=40)
    html = shown(made)
    ours = without_plotly(html)
    assert all(ours.count(name) >= 4 for name in names)
    strip = figures_of(html)["runs"][0]
    assert len(set(strip["layout"]["yaxis"]["ticktext"])) == 100
    assert max(map(len, strip["layout"]["yaxis"]["ticktext"])) <= 24


def test_a_share_at_a_limit_is_marked(study):
    recommendation = deepcopy(study["recommendation"])
    recommendation["domains"][0] |= {"recommended": 0.4, "max": 0.4}
    recommendation["domains"][1] |= {"recommended": 0.01, "min": 0.01}
    html = shown(study, recommendation=recommendation)
    assert "at its cap of 40%" in html and "at its floor of 1.0%" in html
    assert "at its" not in Page(without_plotly(shown(study))).text.replace("at its highest", "")


def saved(study, folder):
    (folder / "fits").mkdir()
    (folder / "shards").mkdir()
    (folder / "recommendation.json").write_text(json.dumps(study["recommendation"]))
    (folder / "fits/selection.json").write_text(json.dumps(study["selection"]))
    (folder / "shards/corpora.json").write_text(json.dumps(study["corpora"]))
    (folder / "study.yaml").write_text(study["study_text"])
    study["runs"].to_parquet(folder / "runs.parquet")
    return folder


def test_a_study_folder_gives_the_report_of_its_files(study, tmp_path):
    saved(study, tmp_path)
    assert page_of(tmp_path) == shown(study)
    (tmp_path / "shards/corpora.json").unlink()
    (tmp_path / "verify.json").write_text(json.dumps(made_check(study)))
    assert page_of(tmp_path) == shown(study, corpora=None, verified=made_check(study))


@pytest.mark.parametrize("name", ["recommendation.json", "fits/selection.json", "runs.parquet", "study.yaml"])
def test_a_missing_file_is_named(study, tmp_path, name):
    (saved(study, tmp_path) / name).unlink()
    with pytest.raises(MixoptError, match=rf"{re.escape(name)}\b.*`mixopt (run|init DIR)`"):
        page_of(tmp_path)


@pytest.mark.parametrize("name", ["recommendation.json", "verify.json", "runs.parquet"])
@pytest.mark.parametrize("content", ["{", "[]", '{"sizes": 3, "domains": 3}'])
def test_a_file_that_cannot_be_read_is_named(study, tmp_path, name, content):
    (saved(study, tmp_path) / name).write_text(content)
    with pytest.raises(MixoptError, match=re.escape(name)):
        page_of(tmp_path)


def test_a_file_of_an_older_version_has_warnings_without_codes(study):
    assert [warning.code for warning in Recommendation.from_json(study["recommendation"]).limitations] == ["", ""]
    coded = Recommendation.from_json(study["recommendation"] | {"warning_codes": ["small-proxy", "many-epochs"]})
    assert [warning.code for warning in coded.limitations] == ["small-proxy", "many-epochs"]


def test_importing_the_report_loads_neither_plotly_nor_pandas():
    code = "import sys, mixopt.report; print([m for m in ('plotly', 'pandas', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
