"""Study folder: the path of every artefact, whose folder it is, and who is at work there."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import IO

from mixopt.errors import MixoptError
from mixopt.serialization import Json, WriteError, read_any_json, write_json, write_text
from mixopt.version import __version__
from proxies.files import SCRATCH, writing

try:
    import fcntl
except ImportError:  # Windows: nothing is locked
    fcntl = None

LOCK = ".mixopt.lock"
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # of file systems that can't lock: nothing is locked there
ELSEWHERE = "choose another folder with --out"


class Folder:
    """Paths of a study's artefacts."""

    def __init__(self, root: Path):
        self.root = root
        self.record = root / ".mixopt.json"  # of the study that owns the folder, and of the texts written for people
        self.study = root / "study.yaml"
        self.shards = root / "shards"
        self.tokenizer = self.shards / "tokenizer.json"
        self.tokenizer_stamp = self.shards / "tokenizer.stamp.json"
        self.corpora = self.shards / "corpora.json"
        self.design = root / "design.csv"
        self.plan = root / "plan.json"  # what runs/ was last trained for
        self.ladder = root / "ladder.json"  # mixtures of the larger rungs, chosen after the smallest
        self.runs = root / "runs"
        self.weights = root / "weights"  # of trained proxies
        self.fits = root / "fits"
        self.selection = self.fits / "selection.json"
        self.recommendation = root / "recommendation.json"
        self.search_journal = root / "search.journal"
        self.verification = root / "verify.json"
        self.report = root / "report.html"
        self.export = root / "export"
        self.claimed: list[Path] = []  # what `claim` has put there

    @property
    def artefacts(self) -> list[Path]:
        """Every file that the stages write, and every folder that they write into."""
        others = (self.root / name for name in ("runs.parquet", "runs.csv", "verify", "bases"))
        return [*(path for path in vars(self).values() if isinstance(path, Path) and path != self.root), *others]

    def claim(self, name: str, study_path: Path, inputs: Iterable[Path]) -> None:
        """Keeps a copy of the study file, and a record of whose the folder is.

        inputs: the files and folders that the study reads.
        Raises MixoptError where the study would write over something that isn't its own.
        """
        own_file = study_path.resolve() == self.study.resolve()  # mixopt run DIR/study.yaml --out DIR
        there = [path for path in self.artefacts if path.exists() and not (own_file and path == self.study)]
        for given in inputs:
            if any(given.resolve().is_relative_to(path.resolve()) for path in there):
                raise MixoptError(f"{given}: the study reads it and would write over it: {ELSEWHERE}")
        text, source = study_path.read_text(encoding="utf-8"), str(study_path.resolve())
        record = self._read_record()
        self.claimed = [path for path in (self.record, self.study) if not path.exists()]
        if record is None:
            older = not own_file and _digest(self.study) == _digest(study_path)  # from before there were records
            if there and not older:
                raise MixoptError(f"{there[0]} is there already, and no study of mixopt wrote it: {ELSEWHERE}")
            texts = [path for path in (self.study, self.design, self.report, *self.export.glob("*")) if path.is_file()]
            record = {"source": source, "files": {self._name(path): [_digest(path)] for path in texts}}
        elif not own_file:
            moved = record["name"] == name and not Path(record["source"]).exists()
            if record["source"] != source and not moved:
                raise MixoptError(
                    f"{self.root} holds the study of {record['source']}: {ELSEWHERE}, or give the study in "
                    f"{study_path} another name:"
                )
            record["source"] = source
        write_json(self.record, record | {"mixopt": __version__, "name": name})
        if not own_file:
            self.write(self.study, text)

    def withdraw(self) -> None:
        """Undoes `claim` where nothing else came of it, as with text that can't be read."""
        if not any(path.exists() for path in self.artefacts if path not in (self.record, self.study)):
            for path in self.claimed:
                path.unlink(missing_ok=True)

    def wrote(self, path: Path) -> bool:
        """Whether a text in the folder is as `write` left it."""
        return _digest(path) in (self._read_record() or {"files": {}})["files"].get(self._name(path), [])

    def write(self, path: Path, text: str, *, force: bool = False) -> None:
        """Writes a text that people may edit. Raises MixoptError where one did: their work would be lost.

        force: it may be lost. A path outside of the folder is written, but not kept record of.
        """
        record = self._read_record()
        if record is not None and path.resolve().is_relative_to(self.root.resolve()):
            new, old = sha256(text.encode()).hexdigest(), _digest(path)
            ours = old in record["files"].get(self._name(path), [])
            if old not in (None, new) and not (force or ours):
                raise MixoptError(f"{path} was changed since mixopt wrote it: move or delete it, and run again")
            if old == new and ours:
                return
            record["files"][self._name(path)] = [new, old]  # first and with the old one: it may end in between
            write_json(self.record, record)
        write_text(path, text)

    def _name(self, path: Path) -> str:
        return os.path.relpath(path.resolve(), self.root.resolve())

    def _read_record(self) -> Json | None:
        try:
            record = read_any_json(self.record)
        except (FileNotFoundError, ValueError):
            return None
        kinds = {"name": str, "source": str, "files": dict}
        whole = isinstance(record, dict) and all(isinstance(record.get(key), kind) for key, kind in kinds.items())
        return record if whole and all(isinstance(known, list) for known in record["files"].values()) else None


def _digest(path: Path) -> str | None:
    """Of a text; None where there is none."""
    return sha256(path.read_text(encoding="utf-8", errors="replace").encode()).hexdigest() if path.is_file() else None


@contextmanager
def alone(folder: Path, remedy: str = ELSEWHERE) -> Iterator[None]:
    """Keeps other processes out of a folder, and clears it of what a killed one left half written.

    However a process ends, the system lets go of its lock. Raises MixoptError, saying who is at work there since when.
    """
    path = folder / LOCK
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        with writing(folder), suppress(FileExistsError):  # a file: reported by the next line
            folder.mkdir(parents=True, exist_ok=True)
        with writing(folder):
            file = _locked(path, remedy)
    except WriteError as error:
        raise MixoptError(f"{error}: {remedy}") from None
    try:
        with writing(folder):
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
            file.flush()
        for depth in ("", "*/", "*/*/"):
            for left in folder.glob(f"{depth}{SCRATCH}*"):
                inner = left.relative_to(folder).parents[:-1]
                if not any((folder / one / LOCK).exists() for one in inner):  # those of a process at work there stay
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
        yield
    finally:
        path.unlink(missing_ok=True)
        file.close()
        with suppress(OSError):  # not empty: something was done there
            for one in made:
                one.rmdir()


def _locked(path: Path, remedy: str) -> IO[str]:
    """The lock file, open and locked. Raises MixoptError where another process holds it."""
    while True:
        file = path.open("a+", encoding="utf-8")
        try:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.2)  # until its holder has written its name there
            file.seek(0)
            who = file.read() or "another process"
            file.close()
            raise MixoptError(f"{path.parent}: {who} is at work there: wait until it is done, or {remedy}") from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()  # whoever held it has just removed it
