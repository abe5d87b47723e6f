"""The report: one self-contained HTML page about one study, recommendation first."""

from mixopt.report.folder import write
from mixopt.report.page import render

__all__ = ["render", "write"]
