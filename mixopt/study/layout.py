"""Study folder: the path of every artefact."""

from pathlib import Path


class Folder:
    """Paths of a study's artefacts."""

    def __init__(self, root: Path):
        self.root = root
        self.study = root / "study.yaml"
        self.shards = root / "shards"
        self.tokenizer = self.shards / "tokenizer.json"
        self.tokenizer_stamp = self.shards / "tokenizer.stamp.json"
        self.corpora = self.shards / "corpora.json"
        self.design = root / "design.csv"
        self.plan = root / "plan.json"  # what runs/ was last trained for
        self.runs = root / "runs"
        self.fits = root / "fits"
        self.selection = self.fits / "selection.json"
        self.recommendation = root / "recommendation.json"
        self.search_journal = root / "search.journal"
        self.verification = root / "verify.json"
        self.report = root / "report.html"
        self.export = root / "export"
