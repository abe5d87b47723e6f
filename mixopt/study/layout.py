"""Study folder: the path of every artefact."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Folder:
    """Paths of a study's artefacts."""

    root: Path

    @property
    def study(self) -> Path:
        return self.root / "study.yaml"

    @property
    def shards(self) -> Path:
        return self.root / "shards"

    @property
    def tokenizer(self) -> Path:
        return self.shards / "tokenizer.json"

    @property
    def corpora(self) -> Path:
        return self.shards / "corpora.json"

    @property
    def design(self) -> Path:
        return self.root / "design.csv"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def fits(self) -> Path:
        return self.root / "fits"

    @property
    def selection(self) -> Path:
        return self.fits / "selection.json"

    @property
    def recommendation(self) -> Path:
        return self.root / "recommendation.json"

    @property
    def search_journal(self) -> Path:
        return self.root / "search.journal"

    @property
    def verification(self) -> Path:
        return self.root / "verify.json"

    @property
    def report(self) -> Path:
        return self.root / "report.html"

    @property
    def export(self) -> Path:
        return self.root / "export"
