"""Options on tables of runs: declared once, the same for every command."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from mixopt.cli.main import app
from mixopt.cli.options import TableOptions, names_among, table_options
from mixopt.errors import MixoptError


def options_of(command: str) -> dict[str, str]:
    """A command's options and their help."""
    parameters = typer.main.get_command(app).commands[command].params  # pyright: ignore[reportAttributeAccessIssue]
    return {parameter.name: parameter.help for parameter in parameters}


@pytest.mark.parametrize("command", ["fit", "leaderboard", "scale"])
def test_commands_on_tables_have_every_table_option_with_one_help(command):
    declared = options_of("fit")
    assert set(TableOptions.__dataclass_fields__) <= set(options_of(command))
    assert all(options_of(command)[name] == declared[name] for name in TableOptions.__dataclass_fields__)


def test_predict_takes_the_options_that_mixtures_need():
    assert set(TableOptions.__dataclass_fields__) & set(options_of("predict")) == {"weights", "where", "renormalise"}


def test_a_command_gets_its_table_options_as_one_record():
    given: list[TableOptions] = []
    small = typer.Typer()

    @small.command()
    @table_options()
    def command(table: TableOptions, name: str = "x") -> None:
        given.append(table)

    words = ["--weights", "w_", "--where", "a=1", "--where", "b>2", "--last-step", "--name", "y"]
    assert CliRunner().invoke(small, words).exit_code == 0
    (table,) = given
    assert table == TableOptions(weights="w_", where=["a=1", "b>2"], last_step=True)
    reading = table.of([Path("runs.csv")])
    assert (reading.where, reading.renormalise) == (("a=1", "b>2"), False)
    assert reading.options() == {"weights": "w_", "where": ["a=1", "b>2"], "last_step": True}


def test_names_are_taken_from_those_known():
    known = ("ridge", "lasso")
    assert names_among(known, "all", "--laws") == ["ridge", "lasso"]
    assert names_among(known, "lasso, ridge,lasso", "--laws") == ["lasso", "ridge"]
    with pytest.raises(MixoptError, match="--laws: there is no 'ridges': did you mean 'ridge'"):
        names_among(known, "ridges", "--laws")
    with pytest.raises(MixoptError, match="there is no 'x': choose from ridge, lasso"):
        names_among(known, "x", "--laws")
    with pytest.raises(MixoptError, match="name one or more"):
        names_among(known, ",", "--laws")
