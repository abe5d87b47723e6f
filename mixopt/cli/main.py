"""The command line: the app, its commands, and its exit status.

Heavy imports happen inside the commands that need them, so that help answers at once.
"""

import codecs
import io
import os
import re
import signal
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mixopt.cli import scaling, study, tables
from mixopt.cli.plan import plan
from mixopt.errors import MixoptError
from mixopt.serialization import WriteError
from mixopt.version import __version__

app = typer.Typer(
    help="Decide what text a language model is trained on, how much of it, and how often, before the expensive run.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    study.init, study.schema, study.run, study.prepare, study.design, study.train,
    tables.fit, tables.leaderboard, tables.predict, scaling.scale,
    study.recommend, study.report, study.export, study.verify,
):  # fmt: skip
    app.command()(command)
app.command("import")(study.import_runs)
app.add_typer(plan, name="plan")


def show_version(wanted: bool) -> None:
    if wanted:
        print(f"mixopt {__version__}")
        raise typer.Exit


@app.callback()
def every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


class Stopped(BaseException):
    """Ctrl-C. Not KeyboardInterrupt, which Typer would turn into a bare "Aborted!"."""


def stop(signum: int, frame: object) -> None:
    raise Stopped


PLAIN = {"\N{MINUS SIGN}": "-", "\N{EN DASH}": "-", "\N{MULTIPLICATION SIGN}": "x", "\N{PLUS-MINUS SIGN}": "+/-"}


def plain(error: UnicodeError) -> tuple[str, int]:
    """What a terminal that lacks characters gets instead."""
    assert isinstance(error, UnicodeEncodeError)
    missing = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in missing), error.end


def refuse(message: str) -> NoReturn:
    """One line: names of files and columns may hold line ends or what a terminal takes for commands, or be endless."""
    plain = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", message)
    print("mixopt:", re.sub(r"\S{1000,}", lambda word: f"{word[0][:100]}...", plain), file=sys.stderr)
    sys.exit(2)


UsageError: type[Exception] = typer.BadParameter.__mro__[1]  # of click; newer versions of Typer hold a copy of it


def refuse_usage(error: Exception) -> NoReturn:
    """Options and arguments that a command doesn't take; a command without any shows its help."""
    message, context = error.format_message(), error.ctx  # pyright: ignore[reportAttributeAccessIssue]
    if message.startswith("Usage:"):
        print(message, file=sys.stderr)
        sys.exit(2)
    refuse(f"{message.rstrip('.')}: see `{context.command_path if context else 'mixopt'} --help`")


def main() -> None:
    """Exit status 0: done; 2: something that the user can mend, in one line; 130: stopped by Ctrl-C."""
    signal.signal(signal.SIGINT, stop)
    # Before NumPy loads. Sums over several threads depend on their number, and for small tables threads only wait.
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    codecs.register_error("plain", plain)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller: `mixopt ... >&-`
            setattr(sys, name, Path(os.devnull).open("r+", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="plain")
    try:
        try:
            code = app(prog_name="mixopt", standalone_mode=False)
        finally:
            sys.stdout.flush()
    except MixoptError as error:
        refuse(str(error))
    except UsageError as error:
        refuse_usage(error)
    except WriteError as error:
        refuse(f"{error}: choose another place with --out")
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # or Python would try to flush it once more
        if isinstance(error, BrokenPipeError):  # `mixopt ... | head`
            sys.exit(1)
        reason = error.strerror or error
        if error.filename is None:
            refuse(f"the output can't be written ({reason}): make room for it, or send it elsewhere")
        refuse(f"{error.filename} can't be read or written ({reason}): choose another place with --out")
    except (Stopped, typer.Abort):  # Abort: the same at a question that a command asks
        print("mixopt: stopped; finished runs are kept, the same command goes on from them", file=sys.stderr)
        sys.exit(130)
    sys.exit(code or 0)


if __name__ == "__main__":
    main()
