"""Finished runs of a mixture study as records, ranked by their measured objective."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixopt.formatting import known
from mixopt.mixture.results import Recommendation, Selection, Verification
from mixopt.report.sections import rows_of
from mixopt.runs.objective import TARGET, weighted
from mixopt.serialization import Json
from mixopt.study.jobs import LARGER, REPETITION, SHORTER

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class Run:
    """One finished run; losses in nats/token at its own scale."""

    run_id: str
    role: str
    seed: str
    params: float | None
    tokens: float | None
    target: float | None  # the objective
    losses: Mapping[str, float]  # by validation set
    shares: Mapping[str, float]  # by domain
    left_out: str  # why it takes no part in the fits; empty when it does

    @property
    def comparable(self) -> bool:
        """Whether its loss compares with the others': not where it diverged, had other pools, fewer tokens or more
        parameters."""
        return not self.left_out and self.role not in (REPETITION, SHORTER, LARGER)


@dataclass(frozen=True)
class Results:
    """All that a report shows. place: what losses are of, in words. runs: the lowest measured objective first."""

    recommendation: Recommendation
    selection: Selection
    runs: Sequence[Run]
    verified: Verification | None = None
    place: str = "proxy scale"

    def measured(self, role: str) -> list[float]:
        """Objectives of the runs of one role that take part in the fits."""
        return [run.target for run in self.runs if run.role == role and not run.left_out and known(run.target)]


def read_runs(table: pandas.DataFrame, target: Mapping[str, float], selection: Selection) -> tuple[Run, ...]:
    """The last step of each run, lowest objective first, those that aren't comparable last.

    target: weight by validation set, used where the selection doesn't hold a run's objective.
    """
    if "step" in table:
        table = table.sort_values("step", kind="stable")
    latest = {str(row["run_id"]): row for row in rows_of(table)}
    reasons = {row.run_id: row.reason for row in selection.left_out}
    measured = dict(zip(selection.held_out.run_id, selection.held_out.measured.get(TARGET, []), strict=False))
    runs = [_run(run_id, row, reasons, measured.get(run_id), target) for run_id, row in latest.items()]
    runs.sort(key=lambda run: (run.target is None, run.target or 0.0, run.run_id))
    return tuple(sorted(runs, key=lambda run: (not run.comparable, bool(run.left_out))))


def _run(run_id: str, row: Json, reasons: Mapping[str, str], measured: Any, weights: Mapping[str, float]) -> Run:
    counted = {text: weight for text, weight in weights.items() if weight}
    if not known(measured) and counted and all(known(row.get(f"loss/{text}")) for text in counted):
        measured = weighted(row, counted) / sum(counted.values())
    return Run(
        run_id=run_id,
        role=_text(row.get("role")),
        seed=_text(row.get("seed")),
        params=row.get("params") if known(row.get("params")) else None,
        tokens=row.get("tokens") if known(row.get("tokens")) else None,
        target=measured if known(measured) else None,
        losses=_under("loss/", row),
        shares=_under("w/", row),
        left_out=reasons.get(run_id, "diverged" if row.get("diverged") else ""),
    )


def _text(value: Any) -> str:
    """A cell as text; a missing one is empty (a whole seed may have become a float in the table)."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _under(prefix: str, row: Json) -> dict[str, float]:
    return {key.removeprefix(prefix): value for key, value in row.items() if key.startswith(prefix)}
