"""Example study files that come with mixopt."""

from pathlib import Path

from mixopt.errors import MixoptError
from mixopt.serialization import write_text


def folder() -> Path:
    """Where the example study files lie: inside an installed package, beside it in a checkout."""
    here = Path(__file__).resolve().parent.parent
    return here / "configs" if (here / "configs").is_dir() else here.parent / "configs"


def names() -> list[str]:
    return sorted(path.stem for path in folder().glob("*.yaml"))


def copy(example: str, target: Path) -> list[Path]:
    """Writes an example study file, and the table that it names if any, to the folder target.

    Raises MixoptError for an example that isn't there, or a file that is: nothing is overwritten.
    """
    if example not in names():
        raise MixoptError(f"no example {example!r}: there are {', '.join(names())}")
    files = sorted(path for path in folder().iterdir() if path.stem == example)
    taken = [target / path.name for path in files if (target / path.name).exists()]
    if taken:
        raise MixoptError(f"{taken[0]} is there already: choose another folder, or remove it")
    for path in files:
        write_text(target / path.name, path.read_text(encoding="utf-8"))
    return [target / path.name for path in files]
