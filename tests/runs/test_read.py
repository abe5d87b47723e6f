"""Facts about reading runs: ours from JSON, a user's from tables."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixopt.errors import MixoptError
from mixopt.runs.objective import check_objective, target_of
from mixopt.runs.read import choice, read_runs
from mixopt.runs.source import gross_outliers
from mixopt.runs.table import RunTable, collect

PUBLISHED = Path(__file__).parents[3] / "shared" / "data"
needs_published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published run tables are not on this machine")

MIXTURES = [(0.5, 0.5), (0.25, 0.75), (1.0, 0.0), (0.0, 1.0), (0.4, 0.6)]
ROWS = [f"run{i},{a},{b},{2.5 + a},{3.5 - a}" for i, (a, b) in enumerate(MIXTURES)]
HEADER = "run,w_news,w_code,loss_news,loss_code"


@pytest.fixture
def table(tmp_path):
    """Writes a CSV and gives its path."""

    def write(header=HEADER, rows=ROWS, name="mine.csv"):
        path = tmp_path / name
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return path

    return write


def record(run_id, weight, **changes):
    """A run as training writes it."""
    losses = {
        "news": {"nats_per_token": 2.0 + weight, "bits_per_byte": 1.0},
        "code": {"nats_per_token": 3.0 - weight, "bits_per_byte": 1.5},
    }
    made = {"run_id": run_id, "role": "dirichlet", "seed": 7, "params": 1000, "params_total": 2000, "tokens": 64}
    made |= {"weights": {"news": weight, "code": 1 - weight}, "pools": {"news": 30, "code": None}, "losses": losses}
    return made | {"trajectory": [], "diverged": False, "reason": None} | changes


@pytest.fixture
def runs(tmp_path):
    """Writes run records and gives their folder."""

    def write(*records):
        folder = tmp_path / "runs"
        folder.mkdir(exist_ok=True)
        for one in records:
            (folder / f"{one['run_id']}.json").write_text(json.dumps(one), encoding="utf-8")
        return folder

    return write


# Our own runs


def test_collected_runs_come_in_order_with_the_columns_that_other_stages_read(runs):
    found = collect(runs(record("rb", 0.25), record("ra", 0.5)))
    assert list(found.frame["run_id"]) == ["ra", "rb"]
    assert (found.domains, found.targets) == (("news", "code"), ("news", "code"))
    assert found.weights.tolist() == [[0.5, 0.5], [0.25, 0.75]]
    assert found.losses.tolist() == [[2.5, 2.5], [2.25, 2.75]]
    assert found.frame["pool/news"].tolist() == [30, 30]
    assert found.frame["pool/code"].isna().all()
    assert found.frame["bpb/code"].tolist() == [1.5, 1.5]


def test_collecting_writes_a_table_that_reads_back_the_same(runs):
    folder = runs(*(record(f"r{i}", w) for i, (w, _) in enumerate(MIXTURES)))
    found = collect(folder)
    for name in ("runs.csv", "runs.parquet"):
        again = read_runs(folder.parent / name)
        assert (again.domains, again.targets) == (found.domains, found.targets)
        for column in found.frame.columns.drop("reason"):
            assert again.frame[column].tolist() == pytest.approx(found.frame[column].tolist(), nan_ok=True)
    assert sorted(path.name for path in folder.parent.iterdir()) == ["runs", "runs.csv", "runs.parquet"]


def test_a_diverged_run_stays_in_the_table_and_out_of_its_arrays(runs):
    lost = record("r2", 0.1, diverged=True, reason="loss rose above 20", losses={"news": {"nats_per_token": None}})
    found = collect(runs(record("r1", 0.5), lost, record("r3", 0.4)))
    assert len(found.frame) == 3
    assert found.weights[:, 0].tolist() == [0.5, 0.4]
    assert found.left_out == [{"run_id": "r2", "reason": "loss rose above 20"}]


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), None])
def test_a_run_whose_loss_is_no_number_counts_as_diverged(runs, loss):
    broken = record("r2", 0.1, losses={"news": {"nats_per_token": loss, "bits_per_byte": loss}})
    found = collect(runs(record("r1", 0.5), broken))
    assert found.left_out == [{"run_id": "r2", "reason": "the loss on news is not a number"}]
    assert not np.isinf(found.frame["loss/news"]).any()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"run_id": "r9", "wei', "not a whole run"),
        ("[1, 2]", "not a run, but a list"),
        ('{"run_id": "r9", "losses": {}}', "weights is missing"),
        ('{"run_id": "r9", "weights": {"a": "much"}, "losses": {}}', "not shares between 0 and 1"),
        ('{"run_id": "r9", "weights": {"a": NaN}, "losses": {}}', "not shares between 0 and 1"),
        ('{"run_id": "r9", "weights": {"a": 1}, "losses": {"a": 2.0}}', "losses.a is 2.0, not numbers above 0 by unit"),
        *(
            (f'{{"run_id": "r9", "weights": {{"a": 1}}, "losses": {{"a": {{"nats_per_token": {x}}}}}}}', "losses.a is ")
            for x in ("0", "-1.5", "true", '"2.5"')
        ),
    ],
)
def test_a_broken_run_file_is_named(runs, text, message):
    folder = runs(record("r1", 0.5))
    (folder / "r9.json").write_text(text, encoding="utf-8")
    with pytest.raises(MixoptError, match=rf"r9\.json: .*{message}.*delete it, and `mixopt train`"):
        collect(folder)


def test_runs_of_other_domains_are_refused(runs):
    with pytest.raises(MixoptError, match="run r2 mixes law, run r1 mixes code, news"):
        collect(runs(record("r1", 0.5), record("r2", 0.5, weights={"law": 1.0})))


def test_a_folder_without_runs_says_what_to_do(tmp_path):
    with pytest.raises(MixoptError, match="train some first"):
        collect(tmp_path)


def test_a_half_written_run_beside_the_others_is_not_read(runs):
    folder = runs(record("r1", 0.5))
    (folder / ".r2.123.json").write_text("{", encoding="utf-8")
    assert len(collect(folder).frame) == 1


@given(st.lists(st.sampled_from(MIXTURES), min_size=1, max_size=12))
@settings(deadline=None)
def test_runs_share_a_group_exactly_when_they_share_a_mixture(mixtures):
    frame = pd.DataFrame(mixtures, columns=["w/a", "w/b"])
    groups = RunTable(frame=frame, domains=("a", "b"), targets=()).groups
    for i, one in enumerate(mixtures):
        for j, other in enumerate(mixtures):
            assert (groups[i] == groups[j]) == (one == other)


# A user's table


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        "run_id,w/news,w/code,loss/news,loss/code",
        "name,weight_news,weight_code,news_loss,code_loss",
        "Run,train_news,train_code,valid_news,valid_code",
        "id,news_weight,code_weight,val_news,val_code",
        "index,W_news,W_code,news/loss,code/loss",
    ],
)
def test_usual_names_of_weights_and_losses_are_recognised(table, header):
    found = read_runs(table(header))
    assert (found.domains, found.targets, found.notes) == (("news", "code"), ("news", "code"), ())
    assert found.weights.tolist() == [list(mixture) for mixture in MIXTURES]
    assert found.frame["run_id"].tolist() == ["run0", "run1", "run2", "run3", "run4"]


def test_training_settings_are_not_taken_for_domains(table):
    header = "run,weight_decay,w_news,w_code,train_loss,train_tokens,val_loss,lr"
    found = read_runs(table(header, [f"r{i},.1,{a},{b},2.0,64,{3 - a},.01" for i, (a, b) in enumerate(MIXTURES)]))
    assert (found.domains, found.targets) == (("news", "code"), ("validation",))
    assert found.frame["tokens"].tolist() == [64.0] * 5
    assert any("not used: 'weight_decay', 'train_loss', 'lr'" in note for note in found.notes)


@pytest.mark.parametrize(
    ("weights", "losses", "names"),
    [
        ("p.", "l.", ("x", "y")),
        (["p.x", "p.y"], ["l.x"], ("p.x", "p.y")),
        ({"books": "p.x", "web": "p.y"}, {"books": "l.x"}, ("books", "web")),
    ],
)
def test_weights_and_losses_can_be_named_by_prefix_list_or_map(table, weights, losses, names):
    path = table("run,p.x,p.y,l.x,l.y")
    assert read_runs(path, weights=weights, losses=losses).domains == names


def test_constants_and_columns_give_parameters_tokens_and_seeds(table):
    path = table(HEADER + ",size,Tokens", [f"{row},70e6,{1000 + i}" for i, row in enumerate(ROWS)])
    found = read_runs(path, params="size", seed=3)
    assert found.frame["params"].tolist() == [70e6] * 5
    assert found.frame["tokens"].tolist() == [1000, 1001, 1002, 1003, 1004]
    assert found.frame["seed"].tolist() == [3] * 5
    assert any("5 training lengths" in note for note in found.notes)


def test_a_pair_of_files_is_joined_on_its_id_in_any_order(table):
    mixtures = table("index,train_news,train_code", [row.rsplit(",", 2)[0] for row in ROWS], "mixture.csv")
    losses = [f"{row.split(',')[0]},{row.split(',')[3]}" for row in reversed(ROWS)]
    metrics = table("index,valid_news", [*losses, "run9,3.0"], "loss.csv")
    found = read_runs((mixtures, metrics))
    assert found.losses[:, 0].tolist() == [2.5 + a for a, _ in MIXTURES]
    assert found.notes == ("1 of 6 rows of loss.csv have no partner by 'index' and are out.",)


def test_a_pair_needs_no_prefixes(table):
    mixtures = table(",run,name,news,code", [f"{i},r{i},x,{a},{b}" for i, (a, b) in enumerate(MIXTURES)], "ratios.csv")
    metrics = table(",run,name,arc,mmlu", [f"{i},r{i},x,1.5,{1 + a}" for i, (a, _) in enumerate(MIXTURES)], "m.csv")
    found = read_runs((mixtures, metrics))
    assert (found.domains, found.targets) == (("news", "code"), ("arc", "mmlu"))


def test_of_a_run_with_several_steps_the_last_can_be_kept(table):
    rows = [f"{row},{step}" for row in ROWS for step in (20, 10)]
    path = table(HEADER + ",step", rows)
    with pytest.raises(MixoptError, match=r"line 3, column 'run': 'run0' stands on line 2 already.*last_step: true"):
        read_runs(path)
    assert read_runs(path, last_step=True).frame["step"].tolist() == [20] * 5


def test_weights_printed_with_rounding_are_used_as_written_with_a_note(table):
    found = read_runs(table(rows=["run9,0.33,0.66,2.0,2.0", *ROWS]))
    assert found.weights[0].tolist() == [0.33, 0.66]
    assert found.notes == (
        "The weights of 1 of 6 rows do not sum to 1 but to between 0.99 and 1, as in tables printed with rounding: "
        "they are used as written.",
    )


def test_percents_are_renormalised_on_request(table):
    path = table(rows=[f"r{i},{100 * a},{100 * b},2.0,2.0" for i, (a, b) in enumerate(MIXTURES)])
    with pytest.raises(MixoptError, match=r"line 2, column 'w_news': '50\.0'.*renormalise: true"):
        read_runs(path)
    np.testing.assert_allclose(read_runs(path, renormalise=True).weights, MIXTURES)
    infinite = table(rows=[ROWS[0].replace("0.5,0.5", "inf,0.5"), *ROWS[1:]])
    with pytest.raises(MixoptError, match=r"'inf': a weight is a number between 0 and 1: give a share of training tok"):
        read_runs(infinite, renormalise=True)


def test_a_missing_loss_is_allowed_and_noted(table):
    found = read_runs(table(rows=["run9,0.3,0.7,,2.0", "run8,0.2,0.8,nan,2.0", *ROWS]))
    assert np.isnan(found.losses[:2, 0]).all()
    assert found.notes == ("Losses are missing, of 7 runs: 'news' in 2. Those runs count for their other losses.",)


def test_a_run_marked_as_diverged_may_have_any_loss(table):
    rows = [f"{row},false" for row in ROWS]
    found = read_runs(table(HEADER + ",diverged", ["run9,0.3,0.7,inf,2.0,true", *rows]))
    assert [row["run_id"] for row in found.left_out] == ["run9"]
    assert len(found.losses) == 5


def test_percents_are_called_percents(table):
    path = table(rows=[f"r{i},{100 * a},{100 * b},2.0,2.0" for i, (a, b) in enumerate(MIXTURES)])
    with pytest.raises(MixoptError, match="sum to 100, so these are percents"):
        read_runs(path)


def test_a_domain_that_no_run_has_is_noted(table):
    found = read_runs(table("run,w_a,w_b,w_c,loss_a", [f"r{i},0,{a},{b},{2 + a}" for i, (a, b) in enumerate(MIXTURES)]))
    assert any(note.startswith("'a': no run has any of it") for note in found.notes)


def test_domains_that_always_go_together_are_noted_once(table):
    header = "run,w_a,w_b,w_c,w_d,loss_a"
    rows = [f"r{i},{a / 4},{a / 4},{a / 2},{b},{2 + a}" for i, (a, b) in enumerate(MIXTURES)]
    notes = [note for note in read_runs(table(header, rows)).notes if "told apart" in note]
    assert notes == ["'a', 'b' have the same weights as each other: their effects can't be told apart."]


def test_a_loss_that_never_varies_is_noted(table):
    found = read_runs(table(rows=[",".join([*row.split(",")[:4], "2.5"]) for row in ROWS]))
    assert any(note.startswith("'code': the same loss in every run") for note in found.notes)


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("size=70M", [0, 1, 2]),
        ("size=70M,160M", [0, 1, 2, 3, 4]),
        ("size != 70000000", [3, 4, 5, 6]),
        ("size>100M", [3, 4, 5, 6]),
        (["size>=160M", "split=train"], [3, 5]),
        ("split!=test", [0, 1, 2, 3, 5]),
    ],
)
def test_where_keeps_the_rows_that_meet_every_condition(table, where, kept):
    sizes = ["70e6", "70000000.0", "70M", "160M", "160M", "1.2B", "1.2B"]
    splits = ["train", "", "train", "train", "test", "train", "test"]
    mixtures = [*MIXTURES, (0.3, 0.7), (0.2, 0.8)]
    rows = [f"r{i},{a},{b},2,{2 + a},{sizes[i]},{splits[i]}" for i, (a, b) in enumerate(mixtures)]
    found = read_runs(table(HEADER + ",size,split", rows), where=where, params="size", min_mixtures=1)
    assert [int(name[1:]) for name in found.frame["run_id"]] == kept


def test_where_reads_the_column_of_either_file(table):
    mixtures = table("run,w_news,w_code", [row.rsplit(",", 2)[0] for row in ROWS], "a.csv")
    metrics = table("run,loss_x,step", [f"run{i},{2 + i},{i}" for i in range(5)], "b.csv")
    found = read_runs((mixtures, metrics), where="step>=2", min_mixtures=3)
    assert found.frame["run_id"].tolist() == ["run2", "run3", "run4"]


def test_runs_of_several_sizes_are_noted_with_the_way_to_keep_one(table):
    rows = [f"{row.split(',', 1)[1]},{size}" for row in ROWS for size in ("122e6", "310000000")]
    path = table("w_news,w_code,loss_news,loss_code,model_size", rows)
    (note,) = read_runs(path, interface="command").notes
    assert "2 model sizes, model_size 122M (5 rows), 310M (5 rows)" in note
    assert "`--where model_size=310M`" in note
    assert "`where: model_size=310M`" in read_runs(path).notes[0]
    assert read_runs(path, where="model_size=310M").notes == ()


def test_the_last_step_of_runs_without_ids_is_that_of_each_mixture_and_size(table):
    rows = [f"{row.split(',', 1)[1]},{size},{n}" for row in ROWS for size in (1, 2) for n in (10, 30, 20)]
    path = table("w_news,w_code,loss_news,loss_code,params,tokens", rows)
    assert "`last_step: true`" in read_runs(path).notes[1]
    found = read_runs(path, last_step=True)
    assert len(found.frame) == 10 and set(found.frame["tokens"]) == {30.0}


def test_a_message_names_settings_as_its_reader_writes_them(table):
    path = table(rows=[f"r{i},{2 * a},{2 * b},2,2" for i, (a, b) in enumerate(MIXTURES)])
    with pytest.raises(MixoptError, match="`renormalise: true`"):
        read_runs(path)
    with pytest.raises(MixoptError, match="`--renormalise`"):
        read_runs(path, interface="command")


def test_a_domain_that_never_varies_is_noted(table):
    header = "run,w_a,w_b,w_c,loss_a"
    found = read_runs(table(header, [f"r{i},0.2,{0.8 * a},{0.8 * b},2.0" for i, (a, b) in enumerate(MIXTURES)]))
    assert any(note.startswith("'a': the same weight in every run") for note in found.notes)


def test_a_row_keeps_its_line_number_after_blank_lines(table):
    with pytest.raises(MixoptError, match="line 4, column 'w_news': 'much' is not a number"):
        read_runs(table(rows=[ROWS[0], "", "run9,much,0.5,2.0,2.0", *ROWS[1:]]))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("run9,-0.1,1.1,2.0,2.0", r"line 7, column 'w_news': '-0\.1'.*between 0 and 1"),
        ("run9,0.5,1.2,2.0,2.0", r"line 7, column 'w_code': '1\.2'.*renormalise"),
        ("run9,,0.9,2.0,2.0", "line 7, column 'w_news': empty.*write 0"),
        ("run9,inf,1.0,2.0,2.0", "line 7, column 'w_news': 'inf'"),
        ("run9,half,0.5,2.0,2.0", "line 7, column 'w_news': 'half' is not a number"),
        ("run9,0.5,0.4,2.0,2.0", r"line 7: the weights .* sum to 0\.9, not 1.*1 of 6.*renormalise: true"),
        ("run2,0.5,0.5,2.0,2.0", "line 7, column 'run': 'run2' stands on line 4 already: keep one row a run"),
        (",0.5,0.5,2.0,2.0", "line 7, column 'run': empty"),
        ("run9,0.5,0.5,2.0,2.0,7", "not a CSV table"),
    ],
)
def test_a_bad_row_is_refused_by_line_and_column(table, row, message):
    with pytest.raises(MixoptError, match=rf"mine\.csv.*{message}"):
        read_runs(table(rows=[*ROWS, row]))


@pytest.mark.parametrize(
    ("header", "rows", "options", "message"),
    [
        ("run,a,b,loss_a,loss_b", ROWS, {}, "no column looks like a weight.*'run', 'a', 'b'"),
        ("run,w_a,w_b,a,b", ROWS, {}, "no column looks like a loss.*`losses:`"),
        ("run,w_a,a,loss_a,loss_b", ROWS, {}, "'w_a' is the only weight column"),
        (HEADER, ROWS, {"weights": "mix_"}, r"no column starts with 'mix_' \(weights\)"),
        (HEADER, ROWS, {"losses": ["loss_law"]}, r"no column 'loss_law' \(losses\)"),
        (HEADER, ROWS, {"weights": {"a": "w_news", "b": "w_news"}}, "one column to two names"),
        (HEADER, ROWS, {"weights": []}, "weights names no column"),
        (HEADER, ROWS, {"params": "size"}, r"no column 'size' \(params\)"),
        (HEADER, ROWS, {"on": "key"}, r"no column 'key' \(on\)"),
        (HEADER, ROWS[:4], {}, "4 usable runs of 4 different mixtures: at least 5"),
        (HEADER, ROWS[:1] * 5, {"on": "w_news"}, r"stands on line 2 already"),
        (HEADER, [], {}, "no rows"),
        ("run,w_a,w_a,loss_a,loss_b", ROWS, {}, "two columns are called 'w_a'"),
        ("run;w_a;w_b;loss", ["r;1;0;2"], {}, "separate the columns by commas"),
        ("", [""], {}, "no header"),
        ("run,w_a,W_a,loss_a,loss_b", ROWS, {}, "'w_a' and 'W_a' both stand for 'a'"),
        (HEADER, ROWS, {"where": "size=1"}, r"no column 'size' \(`where:`\)"),
        (HEADER, ROWS, {"where": "w_new=1"}, "no column 'w_new'.*did you mean 'w_news'"),
        (HEADER, ROWS, {"where": "run=x"}, r"no row has run=x.*'run' holds run0 \(1 row\)"),
        (HEADER, ROWS, {"where": "run"}, "write a column, one of = != < <= > >= and a value"),
        (HEADER, ROWS, {"where": "run>much"}, "write a column, one of"),
        (HEADER, ROWS, {"last_step": True}, "`last_step: true` needs a step column or a tokens column"),
        (HEADER + ",diverged", [f"{row},perhaps" for row in ROWS], {}, "'perhaps': write true or false"),
        (
            HEADER,
            [",".join([*row.split(",")[:4], ""]) for row in ROWS],
            {"losses": ["loss_news", "loss_code"]},
            "'loss_code': no run has a loss",
        ),
    ],
)
def test_a_table_that_is_no_run_table_says_why(table, header, rows, options, message):
    with pytest.raises(MixoptError, match=message):
        read_runs(table(header, rows), **options)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MixoptError, match=r"runs\.csv: no such file"):
        read_runs(tmp_path / "runs.csv")


def test_text_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_bytes(HEADER.encode() + b"\nr\xe9,1,0,2,2\n")
    with pytest.raises(MixoptError, match="not UTF-8"):
        read_runs(path)


def test_a_pair_without_a_shared_id_is_refused(table):
    one, other = table("run,w_a,w_b", ["r,1,0"], "a.csv"), table("model,loss", ["r,2"], "b.csv")
    with pytest.raises(MixoptError, match="share no id column"):
        read_runs((one, other))
    with pytest.raises(MixoptError, match="share no value of 'run'"):
        read_runs((one, table("run,loss", ["s,2"], "c.csv")))


def test_data_frames_are_read_as_files_are(table):
    from_file = read_runs(table())
    frame = pd.read_csv(table())
    for one in (frame, frame.set_index("run"), frame.convert_dtypes()):
        runs = read_runs(one)
        assert runs.run_ids == from_file.run_ids and runs.domains == from_file.domains
        np.testing.assert_array_equal(runs.weights, from_file.weights)
    levels = frame.drop(columns="run")
    levels.columns = pd.MultiIndex.from_product([["w", "loss"], ["news", "code"]])
    assert read_runs(levels).domains == ("news", "code")
    pair = (frame[["run", "w_news", "w_code"]], frame[["run", "loss_news"]])
    assert read_runs(pair).targets == ("news",)
    with pytest.raises(MixoptError, match="the data frame, row 3, column 'w_news'"):
        read_runs(frame.assign(w_news=[0.5, 0.25, 1, -1, 0.4]))
    with pytest.raises(MixoptError, match="given twice"):
        read_runs((frame, frame))


@needs_published
def test_regmix_table_is_accepted_as_it_is():
    found = read_runs(PUBLISHED / "regmix" / "train_1m.csv")
    assert (found.weights.shape, found.losses.shape) == ((512, 17), (512, 13))
    assert len(found.notes) == 1
    assert "303 of 512 rows do not sum to 1 but to between 0.996 and 1.003" in found.notes[0]


@needs_published
def test_olmix_pair_is_accepted_as_it_is():
    found = read_runs((PUBLISHED / "olmix_dclm" / "ratios.csv", PUBLISHED / "olmix_dclm" / "metrics.csv"))
    assert (found.weights.shape, found.losses.shape) == ((127, 24), (127, 110))


# Nonsense is refused before any fit


@pytest.mark.parametrize("name", ["accuracy", "arc_easy_acc", "exact_match", "pass@1", "f1", "score", "sum_logprob"])
def test_a_metric_that_rises_is_not_minimised(table, name):
    path = table(f"run,w_news,w_code,{name},loss_code")
    runs = read_runs(path, losses={name: name, "code": "loss_code"})
    check_objective({"code": 1.0}, runs)  # nobody asks for the metric
    with pytest.raises(MixoptError, match=r"rises as models get better.*--losses"):
        check_objective({name: 0.5, "code": 0.5}, runs)
    with pytest.raises(MixoptError, match=rf"`losses: \{{{name}_loss: COLUMN\}}`"):
        check_objective({name: 1.0}, runs, interface="study")


@pytest.mark.parametrize("name", ["loss", "accuracy_loss", "acc_error", "nll_of_scores", "score_bpb", "scorecards"])
def test_a_loss_is_a_loss_whatever_else_is_in_its_name(table, name):
    runs = read_runs(table(f"run,w_news,w_code,{name},loss_code"), losses={name: name, "code": "loss_code"})
    check_objective({name: 1.0}, runs)


@given(st.lists(st.floats(2.0, 6.0), min_size=8, max_size=40), st.sampled_from([100.0, 1e-2, 1e300]), st.data())
def test_a_loss_a_hundred_times_the_others_is_found_and_usual_ones_are_not(losses, factor, data):
    losses = np.array(losses)
    assert len(gross_outliers(losses)) == 0
    row = data.draw(st.integers(0, len(losses) - 1))
    losses[row] *= factor
    far = set(gross_outliers(losses))
    assert far <= {row}
    if np.ptp(np.delete(losses, row)) < 1:
        assert far == {row}


def test_a_gross_outlier_is_named_by_its_run(table):
    rows = [f"run{i},{a},{b},{250 if i == 3 else 2.5 + a},{3.5 - a}" for i, (a, b) in enumerate(MIXTURES)]
    runs = read_runs(table(rows=rows))
    check_objective({"code": 1.0}, runs)
    with pytest.raises(MixoptError, match=r"'news': run run3 \(250\) is far from the others"):
        check_objective({"news": 1.0}, runs)


def test_a_loss_that_never_changes_is_not_minimised(table):
    runs = read_runs(table(rows=[f"run{i},{a},{b},3,{3.5 - a}" for i, (a, b) in enumerate(MIXTURES)]))
    with pytest.raises(MixoptError, match="'news': the same loss in every run"):
        check_objective({"news": 1.0}, runs)


def test_copies_of_a_run_count_once_and_repeats_on_other_seeds_count(table):
    rows = [
        *(f"{row},{i}" for i, row in enumerate(ROWS)),
        f"again,{ROWS[0].split(',', 1)[1]},0",
        f"new,{ROWS[0].split(',', 1)[1]},9",
    ]
    runs = read_runs(table(f"{HEADER},seed", rows))
    assert runs.run_ids == [*(f"run{i}" for i in range(5)), "new"]
    assert any("1 row the same as an earlier one" in note and "again" in note for note in runs.notes)


@pytest.mark.parametrize(
    ("column", "value"), [("params", "-1e6"), ("tokens", "-5"), ("pool_news", "-3B"), ("params", "inf")]
)
def test_counts_below_0_are_refused_with_their_cell(table, column, value):
    rows = [f"{row},{value if i == 2 else '1e6'}" for i, row in enumerate(ROWS)]
    with pytest.raises(MixoptError, match=f"line 4, column '{column}'.*is not a count"):
        read_runs(table(f"{HEADER},{column}", rows))


@pytest.mark.parametrize("value", [-3.0, 0.0, float("inf")])
def test_a_count_given_for_all_runs_is_above_0(table, value):
    with pytest.raises(MixoptError, match=r"params.*count above 0"):
        read_runs(table(), params=value)


@pytest.mark.parametrize(("news", "code"), [("inf", "2.0"), ("2.0", "-1"), ("0", "2.0")])
def test_a_value_that_no_loss_has_stops_those_only_who_ask_for_it(table, news, code):
    path = table(rows=[*ROWS, f"run9,0.5,0.5,{news},{code}"])
    bad, good = ("code", "news") if code == "-1" else ("news", "code")
    runs = read_runs(path)
    assert runs.targets == (good,) and len(runs.kept) == 6
    assert any(f"line 7, column 'loss_{bad}'" in note and "above 0" in note for note in runs.notes)
    with pytest.raises(MixoptError, match=f"line 7, column 'loss_{bad}'"):
        target_of({bad: 1.0}, runs)
    with pytest.raises(MixoptError, match=f"line 7, column 'loss_{bad}'"):
        read_runs(path, losses=["loss_news", "loss_code"])


def test_columns_that_describe_runs_in_words_are_no_counts(table):
    header, words = f"{HEADER},seed,model_size,step", "default,OLMo2-190M,final"
    runs = read_runs(table(header, [f"{row},{words}" for row in ROWS]))
    assert np.isnan(runs.numbers("seed")).all() and np.isnan(runs.numbers("params")).all()
    assert sum("holds text" in note for note in runs.notes) == 3
    with pytest.raises(MixoptError, match="column 'model_size': 'OLMo2-190M' is not a count"):
        read_runs(table(header, [f"{row},{words}" for row in ROWS]), params="model_size")


@pytest.mark.parametrize("step", ["_step", "trainer/global_step", "global_step"])
def test_steps_of_trackers_are_recognised(table, step):
    rows = [f"{row},{n}" for row in ROWS for n in (10, 20)]
    assert len(read_runs(table(f"{HEADER},{step}", rows), last_step=True).kept) == len(ROWS)


# Tables as trackers export them


def history(rows, header="Name,w_news,w_code,_step,eval/news_loss,eval/code_loss"):
    """Rows of every run of `MIXTURES`: (step, news, code) each, empty where not evaluated."""
    return header, [f"run{i},{a},{b},{','.join(row)}" for i, (a, b) in enumerate(MIXTURES) for row in rows(2.5 + a)]


def test_a_last_row_without_losses_does_not_lose_the_run(table):
    path = table(*history(lambda x: [("10", f"{x + 1}", "3"), ("20", f"{x}", "2"), ("25", "", "")]))
    runs = read_runs(path, last_step=True)
    assert runs.frame["step"].tolist() == [20] * 5
    assert runs.losses[:, 0].tolist() == [2.5 + a for a, _ in MIXTURES]
    assert any(
        "5 of 5 runs end in rows without losses: the last row that has one is used" in note for note in runs.notes
    )


def test_losses_that_are_logged_one_by_one_are_taken_together(table):
    path = table(
        *history(lambda x: [("10", f"{x + 1}", "3"), ("20", f"{x}", ""), ("21", "", f"{5 - x}"), ("22", "", "")])
    )
    runs = read_runs(path, last_step=True)
    np.testing.assert_allclose(runs.losses[:, 0], [2.5 + a for a, _ in MIXTURES])
    np.testing.assert_allclose(runs.losses[:, 1], [2.5 - a for a, _ in MIXTURES])
    assert any("5 of 5 runs have their losses in several rows" in note for note in runs.notes)


def test_the_last_step_goes_by_the_column_that_is_called_tokens(table):
    rows = [f"{row},{step},{seen}" for row in ROWS for step, seen in ((1, 30), (2, 20))]
    path = table(f"{HEADER},step,seen", rows)
    assert set(read_runs(path, last_step=True).frame["step"]) == {2.0}
    found = read_runs(path, last_step=True, tokens="seen")
    assert set(found.frame["tokens"]) == {30.0} and set(found.frame["step"]) == {1.0}


def test_two_runs_of_one_name_are_not_merged(table):
    rows = [f"{row},{n}" for row in [*ROWS, "run0,0.3,0.7,2.8,3.1"] for n in (1, 2)]
    with pytest.raises(MixoptError, match=r"rows of run 'run0' have different mixtures.*`on:`"):
        read_runs(table(f"{HEADER},step", rows), last_step=True)


def test_an_empty_id_column_does_not_hide_a_full_one(table):
    rows = [f",{row.replace('run', 'name')}" for row in ROWS]
    assert read_runs(table(HEADER.replace("run", "run_id,name"), rows)).run_ids[0] == "name0"
    rows = [f"{'x' if i else ''},{row}" for i, row in enumerate(ROWS)]
    assert read_runs(table(f"run_id,{HEADER}", rows)).run_ids == [f"run{i}" for i in range(5)]


def test_an_empty_column_of_counts_does_not_hide_a_full_one(table):
    rows = [f"{row},,7M" for row in ROWS]
    assert set(read_runs(table(f"{HEADER},params,n_params", rows)).frame["params"]) == {7e6}


@pytest.mark.parametrize("prefix", ["summary.", "config.", "metrics.", "params.", "config/"])
def test_prefixes_of_trackers_are_no_part_of_a_name(table, prefix):
    header = ",".join(["run_id", *(f"{prefix}{name}" for name in HEADER.split(",")[1:]), f"{prefix}tokens"])
    runs = read_runs(table(header, [f"{row},20B" for row in ROWS]))
    assert (runs.domains, runs.targets) == (("news", "code"), ("news", "code"))
    assert set(runs.frame["tokens"]) == {20e9}


def test_runs_that_crashed_or_go_on_are_noted(table):
    states = ["finished", "finished", "crashed", "running", "finished"]
    notes = read_runs(table(f"{HEADER},State", [f"{r},{s}" for r, s in zip(ROWS, states, strict=True)])).notes
    assert any("crashed (1 row), running (1 row)" in note and "State!=crashed,running" in note for note in notes)


def test_runs_that_end_at_other_steps_are_noted(table):
    rows = [f"{row},{100 if i else 10}" for i, row in enumerate(ROWS)]
    assert any("last steps (_step) are 10 to 100" in note for note in read_runs(table(f"{HEADER},_step", rows)).notes)


def test_two_columns_of_one_name_count_once_if_they_are_equal_and_by_place_if_nobody_reads_them(table):
    runs = read_runs(table(f"{HEADER},run,lr,lr", [f"{row},{row.split(',')[0]},1,{i}" for i, row in enumerate(ROWS)]))
    assert runs.run_ids[0] == "run0"
    assert any("'lr (column 7)', 'lr (column 8)'" in note for note in runs.notes)
    with pytest.raises(MixoptError, match="two columns are called 'loss_code'"):
        read_runs(table(f"{HEADER},loss_code", [f"{row},9" for row in ROWS]))


def test_empty_weights_are_0_where_the_others_sum_to_1(table):
    runs = read_runs(
        table("run,w_a,w_b,w_c,loss", [f"r{i},{a or ''},{b or ''},,{2 + a}" for i, (a, b) in enumerate(MIXTURES)])
    )
    assert runs.weights.tolist() == [[a, b, 0] for a, b in MIXTURES]
    assert any("Empty weights of 5 rows, whose other weights sum to 1, are read as 0" in note for note in runs.notes)


def test_shares_may_have_percent_signs(table):
    rows = [f"r{i},{100 * a}%,{100 * b} %,2.0,{2 + a}" for i, (a, b) in enumerate(MIXTURES)]
    np.testing.assert_allclose(read_runs(table(rows=rows)).weights, MIXTURES)


@pytest.mark.parametrize(
    ("cell", "advice"),
    [("20BT", "write 20B"), ("20 B tokens", "write 20B"), ("1.5Mparams", "write 1.5M"), ("many", "such as 70M")],
)
def test_a_count_that_is_none_comes_with_advice_that_fits(table, cell, advice):
    with pytest.raises(MixoptError, match=f"'{cell}' is not a count: write.*{advice.removeprefix('write ')}"):
        read_runs(table(f"{HEADER},seen", [f"{row},{cell}" for row in ROWS]), tokens="seen")


@pytest.mark.parametrize(
    ("cell", "advice"),
    [("5.79%", "0.0579 without a percent"), ("2,5", "decimal"), ("1,234.5", "write 1234.5"), ("low", "leave the cell")],
)
def test_a_loss_that_is_no_number_comes_with_advice_that_fits(table, cell, advice):
    rows = [f'r{i},{a},{b},"{cell}",2' for i, (a, b) in enumerate(MIXTURES)]
    with pytest.raises(MixoptError, match=advice):
        target_of({"news": 1.0}, read_runs(table(rows=rows)))


def test_words_in_a_column_that_is_called_like_a_loss_stop_those_only_who_ask_for_it(table):
    runs = read_runs(table(f"{HEADER},loss_type", [f"{row},mse" for row in ROWS]))
    assert runs.targets == ("news", "code") and any("'loss_type': 'mse' is not a number" in n for n in runs.notes)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (r"loss\, all", "loss, all"),
        (r"loss\, all,b", ["loss, all", "b"]),
        (r"x=loss\, all,y=b", {"x": "loss, all", "y": "b"}),
        (r"x=a\=b", {"x": "a=b"}),
        ("w_", "w_"),
        ("a,b", ["a", "b"]),
    ],
)
def test_names_with_commas_can_be_given(text, wanted):
    assert choice(text, "--losses") == wanted


@pytest.mark.parametrize("text", ["=a", "x=", "x=a,b"])
def test_a_map_names_every_column(text):
    with pytest.raises(MixoptError, match="name=column for every column"):
        choice(text, "--losses")


def test_a_condition_may_name_a_column_with_an_equals_sign(table):
    runs = read_runs(
        table(f"{HEADER},a=b", [f"{row},{i}" for i, row in enumerate(ROWS)]), where=r"a\=b>=1", min_mixtures=1
    )
    assert len(runs.kept) == 4
