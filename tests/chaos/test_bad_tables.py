"""Tables of runs that can't be read, or would give nonsense: refused at file, line and column; odd ones that are sound work."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.factories import continual_tables, mixture_tables, scaling_tables
from tests.factories.bad_input import assert_refused
from tests.factories.command import Command

pytestmark = pytest.mark.slow


class Begun(BaseException):
    """The fit that a table was refused before."""


@pytest.fixture
def command(capsys, monkeypatch, tmp_path):
    def begin(*_, **__):
        raise Begun

    monkeypatch.setattr("mixopt.mixture.table.fit_runs", begin)
    monkeypatch.setattr("mixopt.scaling.fit.narrowed", begin)
    monkeypatch.setattr("mixopt.continual.fit.fit_continual", begin)
    monkeypatch.setattr("mixopt.plan.fit.fitted", begin)
    return Command(capsys, monkeypatch, tmp_path)


def mixtures():
    w, losses = mixture_tables.made_runs(12)
    frame = pd.DataFrame(
        {"run": [f"r{i}" for i in range(12)]} | {f"w_{name}": w[:, i] for i, name in enumerate(mixture_tables.DOMAINS)}
    )
    return frame.assign(**{f"loss_{name}": values.round(4) for name, values in losses.items()}).astype(object)


def chinchilla():
    grid = [(n, d) for n in (1e7, 1e8, 1e9) for d in (1e9, 1e10, 1e11)]
    return pd.DataFrame(
        [(n, d, round(1.7 + 400 / n**0.34 + 400 / d**0.28, 4)) for n, d in grid], columns=["params", "tokens", "loss"]
    ).astype(object)


def continued():
    out = io.StringIO()

    class Path:
        def write_text(self, text):
            out.write(text)

    continual_tables.write_runs(Path(), continual_tables.made_runs(steps=(1e9, 2e9)))
    return pd.read_csv(io.StringIO(out.getvalue())).astype(object)


def scales():
    return scaling_tables.made_runs(mixtures=5).astype(object)


TABLES = {
    "fit": (mixtures, ["fit", "runs.csv", "--target", "x"]),
    "scale": (scales, ["scale", "runs.csv", "--target", "a"]),
    "plan scale": (chinchilla, ["plan", "scale", "--compute", "1e21", "--runs", "runs.csv"]),
    "plan cpt": (continued, ["plan", "cpt", "--runs", "runs.csv"]),
}
USED = {  # columns of weights, losses and counts
    "fit": (["w_code", "w_news"], ["loss_x"], []),
    "scale": (["w_code", "w_news"], ["loss_a"], ["params", "tokens"]),
    "plan scale": ([], ["loss"], ["params", "tokens"]),
    "plan cpt": (["domain_share"], ["domain_loss", "general_loss"], ["params", "tokens"]),
}
CELLS = {
    "weight": ["-0.1", "1.5", "nan", "inf", "x", "50 percent", "0,5", "0.5.5", "", "1e400", "--", "True", "0.9"],
    "loss": ["0", "-3", "inf", "x", "3,1", "3.1 nats", "1e308", "-inf", "#DIV/0!", "300"],
    "count": ["0", "-7M", "inf", "x", "7Q", "7 M params", "1e400", "", "nan", "True"],
}


def cells():
    for name, columns in USED.items():
        for kind, of in zip(CELLS, columns, strict=True):
            for column in of:
                for value in CELLS[kind]:
                    if (name, kind, value) in SOUND:
                        continue
                    yield pytest.param(name, column, value, id=f"{name}-{column}-{value!r}")


# A missing loss is a missing loss; a share of 0.9 needs no partner in a table of one share.
SOUND = {("plan cpt", "weight", "0.9"), ("plan cpt", "count", "0")}


@pytest.mark.parametrize(("name", "column", "value"), list(cells()))
def test_a_wrong_cell_is_refused_at_its_place(name, column, value, command):
    make, words = TABLES[name]
    frame = make()
    row = len(frame) - 2
    frame.loc[row, column] = value
    frame.to_csv(command.cwd / "runs.csv", index=False)
    sentence = assert_refused(command, *words)
    assert "runs.csv" in sentence or "'x'" in sentence or "'a'" in sentence
    assert (
        column in sentence or f"line {row + 2}" in sentence or str(frame.iloc[row, 0]) in sentence or "loss" in sentence
    ), sentence


def text_of(frame, **options):
    return frame.to_csv(index=False, **options)


def edited(change):
    return lambda: text_of(change(mixtures()))


def put(column, rows, value):
    def change(frame):
        frame.loc[rows, column] = value
        return frame

    return change


FILES = {
    "empty": lambda: "",
    "blank lines": lambda: "\n\n\n",
    "header alone": lambda: text_of(mixtures().head(0)),
    "binary": lambda: bytes(range(256)) * 10,
    "utf-16": lambda: text_of(mixtures()).encode("utf-16"),
    "latin-1": lambda: text_of(mixtures().rename(columns={"w_code": "w_caf\xe9"})).encode("latin-1"),
    "parquet under csv": lambda: parquet(mixtures().astype(str)),
    "json": lambda: json.dumps(mixtures().to_dict("records")),
    "json lines": lambda: mixtures().to_json(orient="records", lines=True),
    "html": lambda: "<html><table><tr><td>1</td></tr></table></html>",
    "semicolons": lambda: text_of(mixtures(), sep=";"),
    "tabs": lambda: text_of(mixtures(), sep="\t"),
    "decimal commas": lambda: text_of(mixtures(), sep=";").replace(".", ","),
    "an unclosed quote": lambda: text_of(mixtures()).replace("r3", '"r3'),
    "too many cells": lambda: text_of(mixtures()).replace("r3,", "r3,r3,r3,"),
    "too few cells": lambda: "\n".join(line if i != 4 else "r3,0.5" for i, line in enumerate(text_of(mixtures()).splitlines())),
    "no header": lambda: text_of(mixtures(), header=False),
    "a column twice": lambda: text_of(mixtures()).replace("w_news", "w_code"),
    "a loss twice": lambda: text_of(mixtures()).replace("loss_y", "loss_x"),
    "one weight": edited(lambda t: t.drop(columns=["w_news", "w_web"])),
    "no weights": edited(lambda t: t.drop(columns=["w_code", "w_news", "w_web"])),
    "no losses": edited(lambda t: t.drop(columns=["loss_x", "loss_y"])),
    "no target": edited(lambda t: t.drop(columns="loss_x")),
    "an id twice": edited(put("run", 3, "r2")),
    "no id": edited(put("run", 3, None)),
    "four runs": edited(lambda t: t.head(4)),
    "one mixture": edited(lambda t: t.assign(w_code=0.2, w_news=0.3, w_web=0.5)),
    "a constant loss": edited(lambda t: t.assign(loss_x=3.0)),
    "no loss anywhere": edited(lambda t: t.assign(loss_x=None)),
    "percents": edited(lambda t: t.assign(w_code=t.w_code * 100, w_news=t.w_news * 100, w_web=t.w_web * 100)),
    "weights that sum to 0": edited(put(["w_code", "w_news", "w_web"], 3, 0.0)),
    "weights that sum to 2": edited(put(["w_code", "w_news", "w_web"], 3, 0.66)),
    "accuracy": edited(lambda t: t.rename(columns={"loss_x": "valid_acc", "loss_y": "valid_f1"})),
    "a loss a hundred times too large": edited(lambda t: put("loss_x", 3, t.loss_x[3] * 100)(t)),
    "a loss in millinats": edited(lambda t: put("loss_x", 3, t.loss_x[3] / 1000)(t)),
    "all diverged": edited(lambda t: t.assign(diverged="true")),
    "diverged maybe": edited(lambda t: t.assign(diverged="maybe")),
    "copies of one run": edited(lambda t: pd.concat([t.head(1).assign(run=f"c{i}") for i in range(12)])),
    "words for weights": edited(lambda t: t.assign(w_code="high")),
}  # fmt: skip


def parquet(frame):
    out = io.BytesIO()
    frame.to_parquet(out)
    return out.getvalue()


@pytest.mark.parametrize("name", FILES)
def test_a_table_that_is_none_is_refused(name, command):
    content = FILES[name]()
    (command.cwd / "runs.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_refused(command, "fit", "runs.csv", "--target", "x")


PARQUETS = {
    "empty": lambda: b"", "text": lambda: b"a,b\n1,2\n", "cut": lambda: parquet(mixtures().astype(str))[:400], "footer alone": lambda: b"PAR1PAR1",
    "nested": lambda: parquet(mixtures().astype({"w_code": float, "w_news": float, "w_web": float}).assign(w_code=[{"a": 1.0}] * 12)),
    "lists": lambda: parquet(mixtures().assign(w_code=[[0.5, 0.5]] * 12).astype({"w_news": float, "w_web": float})),
    "dates": lambda: parquet(mixtures().assign(w_code=pd.Timestamp("2026-01-01"))),
    "booleans": lambda: parquet(mixtures().assign(w_code=True)),
    "no rows": lambda: parquet(mixtures().head(0).astype(float, errors="ignore")),
}  # fmt: skip


@pytest.mark.parametrize("name", PARQUETS)
def test_a_parquet_file_that_is_no_table_of_runs_is_refused(name, command):
    (command.cwd / "runs.parquet").write_bytes(PARQUETS[name]())
    assert_refused(command, "fit", "runs.parquet", "--target", "x", names=["runs.parquet"])


PAIRS = {
    "no ids in common": (lambda w: w.assign(run=w.run + "x"), lambda m: m),
    "no id column in common": (lambda w: w.rename(columns={"run": "mixture"}), lambda m: m),
    "ids twice in the mixtures": (lambda w: pd.concat([w, w]), lambda m: m),
    "ids twice in the losses": (lambda w: w, lambda m: pd.concat([m, m])),
    "losses first": (lambda w: w[["run"]].assign(loss_x=3.0), lambda m: m[["run"]].assign(w_a=0.5, w_b=0.5)),
    "no losses": (lambda w: w, lambda m: m[["run"]]),
    "no rows of losses": (lambda w: w, lambda m: m.head(0)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_two_files_that_are_no_pair_are_refused(name, command):
    table = mixtures()
    first, second = PAIRS[name]
    first(table[["run", "w_code", "w_news", "w_web"]]).to_csv(command.cwd / "w.csv", index=False)
    second(table[["run", "loss_x", "loss_y"]]).to_csv(command.cwd / "m.csv", index=False)
    assert_refused(command, "fit", "w.csv", "m.csv", "--target", "x")


KINDS = {
    "plan scale": {
        "no losses": lambda t: t.drop(columns="loss"), "no sizes": lambda t: t.drop(columns="params"), "five runs": lambda t: t.head(5),
        "accuracy": lambda t: t.rename(columns={"loss": "val_loss"}).assign(val_loss=None), "epochs below 0": lambda t: t.assign(epochs=-1),
        "unique of 0": lambda t: t.assign(unique=0), "two validation sets": lambda t: pd.concat([t.assign(val="a"), t.assign(val="b", loss=t.loss + 1)]),
        "no loss in any row": lambda t: t.assign(loss=None),
    },
    "plan cpt": {
        "percents": lambda t: t.assign(domain_share=t.domain_share * 100), "no start": lambda t: t[t.tokens > 0], "starts alone": lambda t: t[t.tokens == 0],
        "no share": lambda t: t.drop(columns="domain_share"), "no general loss": lambda t: t.drop(columns="general_loss"),
        "general losses missing": lambda t: t.assign(general_loss=None),
    },
    "scale": {
        "no sizes": lambda t: t.drop(columns="params"), "no tokens": lambda t: t.drop(columns="tokens"), "one scale": lambda t: t.assign(params=1e8, tokens=1e9),
        "sizes in words": lambda t: t.assign(params="large"), "a size missing": lambda t: t.assign(params=[None, *t.params[1:]]),
    },
}  # fmt: skip


@pytest.mark.parametrize(("name", "what"), [(name, what) for name, kinds in KINDS.items() for what in kinds])
def test_runs_that_a_question_can_t_be_answered_from_are_refused(name, what, command):
    make, words = TABLES[name]
    KINDS[name][what](make()).to_csv(command.cwd / "runs.csv", index=False)
    assert_refused(command, *words)


MIXTURES = {
    "other domains": "run,w_a,w_b\nm,0.5,0.5\n", "a domain missing": "code,news\n0.5,0.4\n", "a domain too many": "w_code,w_news,w_web,w_more\n0.2,0.3,0.4,0.1\n",
    "sums to 2": "code,news,web\n0.6,0.7,0.7\n", "negative": "code,news,web\n-0.1,0.6,0.5\n", "words": "code,news,web\na,b,c\n", "no rows": "code,news,web\n",
    "empty": "", "missing": "code,news,web\n0.5,0.4,\n", "percents": "code,news,web\n20,30,50\n", "infinite": "code,news,web\ninf,0,0\n",
}  # fmt: skip


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    import mixopt
    from mixopt.runs.read import read_runs

    folder = tmp_path_factory.mktemp("stored")
    mixture_tables.write_table(folder / "runs.csv", *mixture_tables.made_runs())
    mixopt.fit_table(read_runs(folder / "runs.csv"), {"x": 1.0}, ["regmix-linear"], folds=4).save(folder / "fit.json")
    return (folder / "fit.json").read_bytes()


@pytest.mark.parametrize("name", MIXTURES)
def test_mixtures_that_are_none_are_refused(name, command, stored):
    (command.cwd / "fit.json").write_bytes(stored)
    (command.cwd / "mixtures.csv").write_text(MIXTURES[name])
    assert_refused(command, "predict", "fit.json", "mixtures.csv", names=["mixtures.csv"])


numbers = st.one_of(
    st.floats(),
    st.integers(-(10**20), 10**20),
    st.sampled_from(["", "x", "1,0", "5%", "1e999", "-0", "0x1", "²", "None"]),
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(numbers, numbers, numbers), min_size=0, max_size=4))
def test_any_cells_are_read_or_refused_in_one_sentence(rows, command):
    table = mixtures()
    for i, (a, b, c) in enumerate(rows):
        table.loc[i, ["w_code", "w_news", "loss_x"]] = [str(a), str(b), str(c)]
    table.to_csv(command.cwd / "runs.csv", index=False)
    try:
        command.refused("fit", "runs.csv", "--target", "x")
    except Begun:
        assert all(np.isfinite(float(value)) for value in table["w_code"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet='ab,;"\n\r\t0.5 _\0é', max_size=80))
def test_any_text_as_a_table_is_refused_in_one_sentence(text, command):
    (command.cwd / "runs.csv").write_text(text, encoding="utf-8", newline="")
    command.refused("fit", "runs.csv", "--target", "x")


# Odd and sound: the same answer as of the plain table

ODD = {
    "byte-order mark": lambda t: b"\xef\xbb\xbf" + text_of(t).encode(),
    "CRLF": lambda t: text_of(t, lineterminator="\r\n").encode(),
    "CR": lambda t: text_of(t, lineterminator="\r").encode(),
    "blank lines": lambda t: text_of(t).replace("\n", "\n\n").encode(),
    "quoted": lambda t: text_of(t, quoting=1).encode(),
    "spaces": lambda t: text_of(t).replace(",", " , ").encode(),
    "no last line end": lambda t: text_of(t).strip().encode(),
    "exponents": lambda t: text_of(t.assign(w_code=[f"{x:.3e}" for x in t.w_code])).encode(),
    "a column of row numbers": lambda t: t.to_csv().encode(),
    "one Infinity in a metric nobody asked for": lambda t: text_of(t.assign(loss_y=[float("inf"), *t.loss_y[1:]])).encode(),
    "a seed in words": lambda t: text_of(t.assign(seed="default")).encode(),
    "a diverged run": lambda t: text_of(pd.concat([t.assign(diverged=0), t.head(1).assign(run="d", diverged=1, loss_x=None)])).encode(),
    "a column of JSON": lambda t: text_of(t.assign(config='{"a": [1, 2]}')).encode(),
    "names in other letters": lambda t: text_of(t.assign(note="日本語 \N{GRINNING FACE} é")).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_an_odd_table_that_is_sound_reads_as_the_plain_one(name, tmp_path):
    from mixopt.runs.read import read_runs

    plain = mixtures()
    plain.to_csv(tmp_path / "plain.csv", index=False)
    (tmp_path / "odd.csv").write_bytes(ODD[name](mixtures()))
    right, found = read_runs(tmp_path / "plain.csv"), read_runs(tmp_path / "odd.csv")
    assert found.domains == right.domains and [name.strip() for name in found.run_ids] == right.run_ids
    assert found.weights == pytest.approx(right.weights)
    assert found.losses[:, found.targets.index("x")] == pytest.approx(right.losses[:, right.targets.index("x")])


@pytest.mark.parametrize(
    "name",
    [
        "loss_[/q]",
        "loss_[bold red]",
        "loss_<b>&amp;</b>",
        "loss_a,b",
        "loss_日本語",
        "loss_\N{GRINNING FACE}",
        "loss_a=b",
        "loss_%s{}",
        "loss_-x",
    ],
)
def test_a_loss_of_any_name_is_fitted_and_shown_as_it_is_called(name, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("mixopt.mixture.table.TRIALS", 40)
    target = name.removeprefix("loss_")
    mixtures().drop(columns="loss_y").rename(columns={"loss_x": name}).to_csv(tmp_path / "runs.csv", index=False)
    command = Command(capsys, monkeypatch, tmp_path)
    shown = command.output(
        "fit", "runs.csv", f"--target={target}", "--predictors", "regmix-linear", "--html", "page.html"
    )
    assert target in shown
    assert "<b>&amp;</b>" not in (tmp_path / "page.html").read_text()
