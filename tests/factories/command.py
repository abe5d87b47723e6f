"""Commands in this process: their exit status, and what they wrote on both streams."""

import sys
from typing import NamedTuple

import pytest

from mixopt.cli.main import main


class Result(NamedTuple):
    code: int
    out: str
    err: str


class Command:
    """Runs commands in a folder."""

    def __init__(self, capsys, monkeypatch, cwd):
        self.capsys, self.monkeypatch, self.cwd = capsys, monkeypatch, cwd

    def __call__(self, *words) -> Result:
        self.monkeypatch.chdir(self.cwd)
        self.monkeypatch.setattr(sys, "argv", ["mixopt", *map(str, words)])
        self.monkeypatch.setattr("signal.signal", lambda *_: None)  # the tests' own Ctrl-C stays
        self.capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        code = stopped.value.code
        return Result(code if isinstance(code, int) else 0, *self.capsys.readouterr())

    def output(self, *words, code=0) -> str:
        """What a command with this exit status wrote: standard output, or standard error where it failed."""
        result = self(*words)
        assert result.code == code, result.out + result.err
        return result.out if code == 0 else result.err

    def refused(self, *words) -> str:
        """The one sentence of a command that ends with exit status 2."""
        return one_sentence(self.output(*words, code=2))


def one_sentence(err: str) -> str:
    """Standard error of a command that was refused."""
    assert err.startswith("mixopt: ") and err.count("\n") == 1, err
    assert "Traceback" not in err
    return err


def contents(folder) -> dict:
    """Every file below a folder, hidden ones too, and what it holds; None for folders and devices."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }
