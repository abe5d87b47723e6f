"""Odd and broken tables through every reader: each gives sound arrays or one sentence with the file's name."""

import gzip
import json
import os
import warnings

import numpy as np
import pandas as pd
import pytest

from mixopt.errors import MixoptError
from mixopt.runs.continual import read_continual
from mixopt.runs.mixtures import read_mixtures
from mixopt.runs.read import read_runs
from mixopt.runs.scaling import read_plan_runs

N = 12
SHARES = [round(0.05 + 0.07 * i, 2) for i in range(N)]


def frame():
    """Columns that all readers know, as text."""
    rows = [
        {
            "run": f"r{i}", "w_a": a, "w_b": round(1 - a, 2), "params": 10e6 * (1 + i % 3), "tokens": 1e9 * (1 + i % 4),
            "unique": 5e8, "loss": round(3 - 0.3 * a - 0.05 * (i % 4), 4), "domain_share": a,
            "domain_loss": round(3 - a / 3 - 0.01 * i, 4), "general_loss": round(2.5 + a / 9, 4), "general_start": 2.5,
        }
        for i, a in enumerate(SHARES)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def cell(column, value, row=3):
    return lambda f: f.astype(object).assign(**{column: [value if i == row else x for i, x in enumerate(f[column])]})


def column(name, value):
    return lambda f: f.assign(**{name: value})


ODD = [
    "nan", "inf", "-inf", "Infinity", "-1", "0", "1e308", "1e-320", "1e999", "9" * 400, "1+2j", "True", "false",
    "2024-01-01", "12:30", "0x1F", "1,5", "1.234,5", "1,234.5", "50%", "5.79 %", "$3", "20BT", "20 B", "20B tok",
    "3M ", "1_000", "--", "-", ".", "?", "N/A", "None", "null", "#DIV/0!", "#REF!", "[1, 2]", "{'a': 1}", "a\nb", "٣",
    "½", "\u22121", "1e", "e5", "", " ", "\t", "=1+1", "'0.5", '"0.5"', "0.5 0.5", "NaN%", "%", "\x00", "\ufeff1",
]  # fmt: skip
COLUMNS = ("run", "w_a", "params", "tokens", "unique", "loss", "domain_share", "domain_loss", "general_start")
CHANGES = {f"{name}={value[:12]!r}": cell(name, value) for name in COLUMNS for value in ODD}
CHANGES |= {
    "percents": lambda f: f.assign(w_a=100 * f.w_a, w_b=100 * f.w_b, domain_share=100 * f.domain_share),
    "sum .98": lambda f: f.assign(w_a=f.w_a * 0.98, w_b=f.w_b * 0.98),
    "sum .9": lambda f: f.assign(w_a=f.w_a * 0.9, w_b=f.w_b * 0.9),
    "all-zero row": lambda f: cell("w_b", 0)(cell("w_a", 0)(f)),
    "all-zero weights": lambda f: f.assign(w_a=0, w_b=0),
    "negative pair": lambda f: cell("w_b", 1.5)(cell("w_a", -0.5)(f)),
    "one row": lambda f: f[:1],
    "two rows": lambda f: f[:2],
    "no rows": lambda f: f[:0],
    "constant weights": column("w_a", 0.5),
    "constant all": lambda f: f.assign(
        w_a=0.5, w_b=0.5, loss=3.0, params=1e7, tokens=1e9, domain_loss=3, general_loss=3
    ),
    "constant loss": column("loss", 3.0),
    "empty loss": column("loss", None),
    "empty weight": column("w_a", None),
    "empty params": column("params", None),
    "empty tokens": column("tokens", None),
    "empty run": column("run", None),
    "empty share": column("domain_share", None),
    "one id": column("run", "same"),
    "ids by case": lambda f: f.assign(Run=f.run.str.upper()),
    "two ids": lambda f: f.assign(id=f.run.iloc[::-1].to_numpy()),
    "huge loss": lambda f: f.assign(loss=f.loss * 1e300),
    "tiny loss": lambda f: f.assign(loss=f.loss * 1e-300),
    "huge params": lambda f: f.assign(params=f.params * 1e290),
    "negative loss": lambda f: f.assign(loss=-f.loss, domain_loss=-f.domain_loss),
    "more unique than tokens": lambda f: f.assign(unique=f.tokens * 3),
    "contradicting epochs": lambda f: f.assign(epochs=1),
    "copies": lambda f: pd.concat([f[:1]] * N, ignore_index=True).assign(run=f.run),
    "booleans": lambda f: f.assign(w_a=True, loss=True, params=True, domain_loss=False),
    "dates": lambda f: f.assign(loss=pd.Timestamp("2024-01-01"), w_a=pd.Timestamp("2024-01-01")),
    "words": lambda f: f.assign(loss="low", w_a="much", domain_share="half"),
    "no losses": lambda f: f.drop(columns=["loss", "domain_loss", "general_loss"]),
    "no weights": lambda f: f.drop(columns=["w_a", "w_b", "domain_share"]),
    "only ids": lambda f: f[["run"]],
    "columns of markup": lambda f: f.rename(columns={"w_a": "w_[/red]", "w_b": "w_<b>"}),
    "names that are empty": lambda f: f.rename(columns={"unique": ""}),
    "name of 10,000 letters": lambda f: f.rename(columns={"unique": "u" * 10_000}),
    "emoji": lambda f: f.rename(columns={"w_a": "w_🦊", "w_b": "w_日本"}),
    "2,000 columns": lambda f: pd.concat([f, pd.DataFrame(0.0, f.index, [f"c{i}" for i in range(2000)])], axis=1),
    "losses called target": lambda f: f.rename(columns={"loss": "loss_target"}),
}
KINDS = {
    "runs": lambda path: read_runs(path),
    "last step": lambda path: read_runs(path, last_step=True),
    "renormalise": lambda path: read_runs(path, renormalise=True, params=1e7),
    "checkpoints": lambda path: read_runs(path, checkpoints=True),
    "plan": lambda path: read_plan_runs(path),
    "continual": lambda path: read_continual(path),
    "mixtures": lambda path: read_mixtures(path, ("a", "b")),
}


def sound(found):
    """What a reader gives is numbers that laws can be fitted to."""
    if hasattr(found, "frame"):
        w, y = found.weights, found.losses
        assert ((w >= 0) & (w <= 1 + 1e-6)).all() and (np.abs(w.sum(axis=1) - 1) <= 0.0251).all()
        assert len(w) and ((y > 0) | np.isnan(y)).all() and not np.isinf(y).any()
        assert all(((c := found.numbers(name)) >= 0)[~np.isnan(c)].all() for name in ("params", "tokens"))
    elif hasattr(found, "X"):
        assert np.isfinite(found.X).all() and (found.X > 0).all() and (found.unique <= found.tokens).all()
        assert np.isfinite(found.loss).all() and (found.loss > 0).all()
    elif hasattr(found, "shares"):
        assert np.isfinite(found.shares).all() and (np.abs(found.shares.sum(axis=1) - 1) <= 0.0251).all()
    else:
        assert ((found.share >= 0) & (found.share <= 1)).all() and (found.tokens > 0).all()
        assert all(((y > 0) | np.isnan(y)).all() and not np.isinf(y).any() for y in (found.domain, found.general))


def read_or_refused(kind, path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            sound(KINDS[kind](path))
        except MixoptError as error:
            assert "\n" not in str(error) and path.name[:100] in str(error) and len(str(error)) < 3000, error
            return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_odd_cells_and_columns_are_read_soundly_or_refused_in_a_sentence(kind, tmp_path):
    path = tmp_path / "odd.csv"
    failed = {}
    for name, change in CHANGES.items():
        change(frame()).to_csv(path, index=False)
        try:
            read_or_refused(kind, path)
        except Exception as error:  # noqa: BLE001
            failed[name] = repr(error)[:300]
    assert not failed


def test_the_table_that_they_are_made_of_is_read(tmp_path):
    path = tmp_path / "odd.csv"
    frame().to_csv(path, index=False)
    assert {kind: read_or_refused(kind, path) for kind in KINDS if kind != "last step"} == dict.fromkeys(
        (kind for kind in KINDS if kind != "last step"), ""
    )


def text():
    return frame().to_csv(index=False)


HEAD, *LINES = text().splitlines()
FILES = {
    "empty": ("x.csv", b""),
    "newlines": ("x.csv", b"\n\n\n"),
    "header only": ("x.csv", HEAD.encode()),
    "header and blanks": ("x.csv", (HEAD + "\n\n,,,,,,,,,,\n").encode()),
    "utf-16": ("x.csv", text().encode("utf-16")),
    "utf-16-be without mark": ("x.csv", text().encode("utf-16-be")),
    "utf-32": ("x.csv", text().encode("utf-32")),
    "latin-1": ("x.csv", text().replace("r3", "ré").encode("latin-1")),
    "bom": ("x.csv", text().encode("utf-8-sig")),
    "crlf": ("x.csv", text().replace("\n", "\r\n").encode()),
    "cr": ("x.csv", text().replace("\n", "\r").encode()),
    "semicolons": ("x.csv", text().replace(",", ";").encode()),
    "pipes": ("x.csv", text().replace(",", "|").encode()),
    "tabs in csv": ("x.csv", text().replace(",", "\t").encode()),
    "commas in tsv": ("x.tsv", text().encode()),
    "tsv": ("x.tsv", text().replace(",", "\t").encode()),
    "spaces": ("x.csv", text().replace(",", ", ").encode()),
    "quoted": ("x.csv", ("\n".join(",".join(f'"{c}"' for c in line.split(",")) for line in [HEAD, *LINES])).encode()),
    "open quote": ("x.csv", (HEAD + '\n"' + "\n".join(LINES)).encode()),
    "short row": ("x.csv", "\n".join([HEAD, *LINES, "r99,0.5"]).encode()),
    "long row": ("x.csv", "\n".join([HEAD, *LINES, LINES[0] + ",7"]).encode()),
    "trailing commas": ("x.csv", "\n".join(line + "," for line in [HEAD, *LINES]).encode()),
    "trailing commas in rows": ("x.csv", "\n".join([HEAD, *(line + ",," for line in LINES)]).encode()),
    "comment": ("x.csv", ("# made by hand\n" + text()).encode()),
    "header twice": ("x.csv", (HEAD + "\n" + text()).encode()),
    "two headers": ("x.csv", ("w,w,loss\n" + text()).encode()),
    "doubled weight": ("x.csv", text().replace("w_b", "w_a").encode()),
    "doubled unused": ("x.csv", text().replace("general_loss", "x").replace("general_start", "x").encode()),
    "nul bytes": ("x.csv", text().replace("r3", "r\x003").encode()),
    "binary": ("x.csv", bytes(range(256)) * 20),
    "gzip": ("x.csv", gzip.compress(text().encode())),
    "zip": ("x.csv", b"PK\x03\x04" + b"0" * 50),
    "xlsx": ("x.xlsx", b"PK\x03\x04" + b"0" * 50),
    "json": ("x.csv", json.dumps(frame().to_dict("records")).encode()),
    "jsonl": ("x.jsonl", b'{"w_a": [1, 2]}\n{"w_a": [3]}\n'),
    "deep json": ("x.csv", b"[" * 100_000),
    "html": ("x.csv", b"<!DOCTYPE html><html>404</html>"),
    "csv in parquet": ("x.parquet", text().encode()),
    "empty parquet": ("x.parquet", b""),
    "cut parquet": ("x.parquet", b"PAR1" + b"\x00" * 40 + b"PAR1"),
    "cell of a megabyte": ("x.csv", (HEAD + "\n" + "x" * 2**20 + ",1\n").encode()),
    "git lfs pointer": ("x.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
}
READ = {"bom", "crlf", "tsv", "spaces", "quoted", "trailing commas", "trailing commas in rows", "doubled unused"}


@pytest.mark.parametrize("name", FILES)
def test_files_that_are_not_quite_tables_are_read_or_refused_in_a_sentence(name, tmp_path):
    file, content = FILES[name]
    path = tmp_path / file
    path.write_bytes(content)
    message = read_or_refused("runs", path)
    assert bool(message) == (name not in READ | {"nul bytes", "cr"}) or name in {"nul bytes", "cr"}, message


PARQUET = {  # as CSV knows them not
    "levels": lambda f: f[["w_a", "w_b", "loss"]].set_axis(
        pd.MultiIndex.from_tuples([("w", "a"), ("w", "b"), ("loss", "x")]), axis=1
    ),
    "index of ids": lambda f: f.set_index("run"),
    "numbers as names": lambda f: f.rename(columns={"unique": 7}).rename(columns=str),
    "nullable": lambda f: f.convert_dtypes(),
    "categories": lambda f: f.astype({"run": "category", "params": "category"}),
    "decimals": lambda f: f.astype({"w_a": "float32", "w_b": "float32"}),
    "lists": lambda f: f.assign(domain_loss=[[x] for x in f.loss]),
    "dicts": lambda f: f.assign(run=[{"id": i} for i in range(N)]),
    "bytes": lambda f: f.assign(run=[b"r%d" % i for i in range(N)]),
    "booleans": lambda f: f.assign(domain_loss=True),
    "times": lambda f: f.assign(domain_loss=pd.Timestamp("2024-01-01"), when=pd.Timestamp("2024-01-01")),
    "durations": lambda f: f.assign(tokens=pd.Timedelta(1, "s")),
    "whole ids": lambda f: f.assign(run=[float(i) for i in range(N)]),
    "empty ids": lambda f: f.assign(run=[None] * N),
}


@pytest.mark.parametrize("name", PARQUET)
def test_columns_of_parquet_are_read_as_text_is(name, tmp_path):
    path = tmp_path / "x.parquet"
    PARQUET[name](frame()).to_parquet(path)
    runs = read_runs(path)
    sound(runs)
    no_losses = {"lists", "booleans", "times"}
    assert len(runs.targets) == (1 if name in {"levels", *no_losses} else 2)


@pytest.mark.parametrize("make", ["fifo", "folder", "device", "link to itself", "long", "nul", "missing", "~nouser"])
def test_paths_that_are_no_files_are_named(make, tmp_path):
    path = {"device": "/dev/null", "long": "x" * 300 + ".csv", "nul": "a\0b.csv", "~nouser": "~nouser/r.csv"}.get(
        make, "r.csv"
    )
    path = tmp_path / path
    if make == "fifo":
        os.mkfifo(path)
    elif make == "folder":
        path.mkdir()
    elif make == "link to itself":
        path.symlink_to(path)
    with pytest.raises(MixoptError) as refused:
        read_runs(path)
    expected = {
        "fifo": "a pipe or a device",
        "device": "a pipe or a device",
        "folder": "a folder",
        "missing": "no such file",
    }
    assert expected.get(make, "") in str(refused.value) and "\n" not in str(refused.value)
