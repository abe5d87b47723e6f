"""What the sections ask about a study, read once from its files."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixopt.formatting import known

if TYPE_CHECKING:
    import pandas

TARGET = "target"  # the weighted target's name in selection.json; the other names are validation texts


@dataclass(frozen=True)
class Run:
    """One finished run; losses in nats/token at proxy scale."""

    run_id: str
    role: str
    seed: str
    params: float | None
    tokens: float | None
    target: float | None  # the study's weighted target
    losses: Mapping[str, float]
    shares: Mapping[str, float]
    left_out: str  # why it takes no part in the fits; empty when it does


@dataclass(frozen=True)
class Study:
    """The files of one study. Any key but the recommended shares may be absent."""

    recommendation: Mapping[str, Any]
    selection: Mapping[str, Any]
    runs: tuple[Run, ...]  # best target loss first, those without one last
    corpora: Mapping[str, Any] | None
    text: str
    verified: Mapping[str, Any] | None

    @property
    def name(self) -> str:
        return str(self.recommendation.get("study") or "study")

    @property
    def domains(self) -> list[dict[str, Any]]:
        """Rows of the recommendation, largest recommended share first."""
        rows = self.recommendation.get("domains") or []
        return sorted(rows, key=lambda row: (-(row.get("recommended") or 0.0), row["domain"]))

    @property
    def texts(self) -> dict[str, float]:
        """Weight in the target of each validation text."""
        return dict((self.recommendation.get("target") or {}).get("weights") or {})

    def part(self, key: str) -> dict[str, Any]:
        """A part of the recommendation that is a record; empty when absent."""
        return self.recommendation.get(key) or {}

    def predicted(self, mixture: str) -> dict[str, Any]:
        """Predicted target loss of 'recommended', 'natural', 'uniform' or 'best_measured'."""
        return self.part("predicted").get(mixture) or {}

    def shares(self, mixture: str) -> dict[str, float]:
        return {row["domain"]: row[mixture] for row in self.domains if known(row.get(mixture))}

    def measured(self, role: str) -> list[float]:
        """Target losses of the runs of one role that take part in the fits."""
        return [run.target for run in self.runs if run.role == role and not run.left_out and known(run.target)]

    def noise(self, target: str = TARGET) -> dict[str, Any]:
        rows = self.selection.get("noise") or []
        return next((row for row in rows if row.get("target") == target), {})

    @property
    def predictor(self) -> str:
        return str(self.selection.get("chosen") or self.recommendation.get("predictor") or "")


def read_runs(
    table: "pandas.DataFrame", recommendation: Mapping[str, Any], selection: Mapping[str, Any]
) -> tuple[Run, ...]:
    """The run table's rows, one a run (the last step of each), best target loss first."""
    if "step" in table:
        table = table.sort_values("step", kind="stable")
    table = table.astype(object).where(table.notna(), None)  # one kind of missing, whatever the columns' types
    latest = {str(row["run_id"]): row for row in table.to_dict("records")}
    reasons = {str(row["run_id"]): str(row["reason"]) for row in selection.get("left_out") or []}
    scored = _measured_targets(selection)
    weights = (recommendation.get("target") or {}).get("weights") or {}
    runs = [_run(run_id, row, reasons, scored, weights) for run_id, row in latest.items()]
    return tuple(sorted(runs, key=lambda run: (bool(run.left_out), run.target is None, run.target or 0.0, run.run_id)))


def _measured_targets(selection: Mapping[str, Any]) -> dict[str, float]:
    held_out = selection.get("held_out") or {}
    measured = (held_out.get("measured") or {}).get(TARGET) or []
    return {str(run_id): value for run_id, value in zip(held_out.get("run_id") or [], measured, strict=False)}


def _run(
    run_id: str,
    row: Mapping[Any, Any],
    reasons: Mapping[str, str],
    scored: Mapping[str, float],
    weights: Mapping[str, float],
) -> Run:
    losses = _under("loss/", row)
    target = scored.get(run_id)
    return Run(
        run_id=run_id,
        role=_text(row.get("role")),
        seed=_text(row.get("seed")),
        params=row.get("params") if known(row.get("params")) else None,
        tokens=row.get("tokens") if known(row.get("tokens")) else None,
        target=target if known(target) else weighted(losses, weights),
        losses=losses,
        shares=_under("w/", row),
        left_out=reasons.get(run_id, "diverged" if row.get("diverged") else ""),
    )


def _text(value: Any) -> str:
    """A cell as text; a missing one is empty (a whole seed may have become a float in the table)."""
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _under(prefix: str, row: Mapping[Any, Any]) -> dict[str, float]:
    return {str(k).removeprefix(prefix): v for k, v in row.items() if str(k).startswith(prefix)}


def weighted(losses: Mapping[str, Any], weights: Mapping[str, float]) -> float | None:
    """The target's loss, nats/token: None when a text that counts has no loss."""
    total = sum(weights.values())
    if total <= 0 or not all(known(losses.get(text)) for text, weight in weights.items() if weight):
        return None
    return sum(weight * losses[text] for text, weight in weights.items() if weight) / total
