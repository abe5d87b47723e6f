"""The run table: one row a finished run, what it was trained on and the losses it reached."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixopt.errors import MixoptError
from mixopt.serialization import replacing

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SAME_MIXTURE = 6  # decimals: weights that agree this far are one mixture, trained again


@dataclass(frozen=True, eq=False)
class RunTable:
    """Runs and the names of their domains and targets.

    frame: one row a run, with columns run_id, params, tokens, seed, w/<domain> (share of training tokens),
    pool/<domain> (unique tokens; empty: unlimited), loss/<target> (nats/token; empty: missing), and where
    known bpb/<target> (bits/byte), role, step, diverged, reason.
    notes: what a reader should know about the table, in sentences.

    A diverged run stays in `frame`; every array below leaves it out.
    """

    frame: pd.DataFrame
    domains: tuple[str, ...]
    targets: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def kept(self) -> pd.DataFrame:
        """The rows that count: those of runs that did not diverge, renumbered from 0."""
        return self.frame.loc[~self._diverged].reset_index(drop=True)

    @property
    def left_out(self) -> list[dict[str, str]]:
        """Diverged runs: [{"run_id", "reason"}]."""
        rows = self.frame.loc[self._diverged]
        reasons = rows["reason"] if "reason" in rows else ["diverged"] * len(rows)
        return [
            {"run_id": str(run_id), "reason": reason if isinstance(reason, str) and reason else "diverged"}
            for run_id, reason in zip(rows["run_id"], reasons, strict=True)
        ]

    @property
    def weights(self) -> Floats:
        """Shares of training tokens, (n_runs, n_domains)."""
        return self.kept[[f"w/{name}" for name in self.domains]].to_numpy(dtype=float)

    @property
    def losses(self) -> Floats:
        """Losses, (n_runs, n_targets), nats/token; NaN where missing."""
        return self.kept[[f"loss/{name}" for name in self.targets]].to_numpy(dtype=float)

    def numbers(self, column: str) -> Floats:
        """A column of the frame as (n_runs,) floats; NaN where a run has none, or where no run has."""
        import numpy as np

        kept = self.kept
        return kept[column].to_numpy(dtype=float) if column in kept else np.full(len(kept), np.nan)

    @property
    def run_ids(self) -> list[str]:
        """(n_runs,) names."""
        return [str(run_id) for run_id in self.kept["run_id"]]

    @property
    def groups(self) -> NDArray[np.int64]:
        """A number a mixture, (n_runs,), by order of first appearance: repeats of one mixture share it."""
        import numpy as np

        keys = [tuple(row) for row in np.round(self.weights, SAME_MIXTURE) + 0.0]
        seen: dict[tuple[float, ...], int] = {}
        return np.array([seen.setdefault(key, len(seen)) for key in keys], dtype=np.int64)

    @property
    def _diverged(self) -> NDArray[np.bool_]:
        import numpy as np

        if "diverged" not in self.frame:
            return np.zeros(len(self.frame), dtype=bool)
        return self.frame["diverged"].to_numpy(dtype=bool)


def collect(runs_dir: Path, *, only: Collection[str] | None = None, write: bool = True) -> RunTable:
    """The table of all runs that runs_dir/*.json record, ordered by run_id.

    only: ids of the runs to take; a folder may also hold runs of an older design.
    write: also write it as runs.parquet and runs.csv beside runs_dir, each by rename.
    Raises MixoptError for a folder without runs, a file that isn't a whole run, runs of other domains.
    """
    import pandas as pd

    runs_dir = Path(runs_dir)
    paths = sorted(runs_dir.glob("[!.]*.json"))
    records = [_record(path) for path in paths if only is None or path.stem in only]
    if not records:
        raise MixoptError(f"{runs_dir}: no runs there yet (*.json): train some first, or import a table of your own")
    domains = tuple(records[0]["weights"])
    targets = tuple(dict.fromkeys(text for record in records for text in record["losses"]))
    for record in records:
        if set(record["weights"]) != set(domains):
            raise MixoptError(
                f"{runs_dir}: run {record['run_id']} mixes {', '.join(sorted(record['weights']))}, run "
                f"{records[0]['run_id']} mixes {', '.join(sorted(domains))}: move one study's runs elsewhere"
            )
    frame = pd.DataFrame([_row(record, domains, targets) for record in records])
    frame = frame.sort_values("run_id", kind="stable", ignore_index=True)
    if write:
        write_table(frame, runs_dir.parent)
    return RunTable(frame=frame, domains=domains, targets=targets)


def write_table(frame: pd.DataFrame, folder: Path) -> None:
    """Writes folder/runs.parquet and folder/runs.csv, each whole or not at all."""
    with replacing(Path(folder) / "runs.parquet") as half:
        frame.to_parquet(half, index=False)
    with replacing(Path(folder) / "runs.csv") as half:
        frame.to_csv(half, index=False)


def _record(path: Path) -> dict[str, Any]:
    """One run's JSON, checked as far as the table needs it."""
    way_out = "remove the file, and the run is trained again"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise MixoptError(f"{path}: not a whole run ({error}): {way_out}") from error
    if not isinstance(record, Mapping):
        raise MixoptError(f"{path}: not a run, but a {type(record).__name__}: {way_out}")
    for key, kind in (("run_id", str), ("weights", Mapping), ("losses", Mapping)):
        if not isinstance(record.get(key), kind):
            raise MixoptError(f"{path}: {key} is missing or of the wrong type: {way_out}")
    if not record["weights"] or not all(_is_share(weight) for weight in record["weights"].values()):
        raise MixoptError(f"{path}: weights are not shares between 0 and 1: {way_out}")
    if not all(isinstance(losses, Mapping) for losses in record["losses"].values()):
        raise MixoptError(f"{path}: losses are not given by text and unit: {way_out}")
    return dict(record)


def _is_share(weight: object) -> bool:
    return isinstance(weight, int | float) and 0 <= weight <= 1


def _row(record: Mapping[str, Any], domains: Sequence[str], targets: Sequence[str]) -> dict[str, Any]:
    pools = record.get("pools") or {}
    losses = {text: _number(record["losses"].get(text, {}).get("nats_per_token")) for text in targets}
    diverged, reason = bool(record.get("diverged", False)), record.get("reason")
    broken = [text for text in record["losses"] if not math.isfinite(losses[text])]
    if broken and not diverged:
        diverged, reason = True, f"the loss on {broken[0]} is not a number"
    return {
        "run_id": record["run_id"],
        "role": record.get("role"),
        "params": _number(record.get("params")),
        "tokens": _number(record.get("tokens")),
        "seed": record.get("seed"),
        **{f"w/{name}": float(record["weights"][name]) for name in domains},
        **{f"pool/{name}": _number(pools.get(name)) for name in domains},
        # An infinite loss is no measurement; the reason column keeps the story.
        **{f"loss/{text}": loss if math.isfinite(loss) else math.nan for text, loss in losses.items()},
        **{f"bpb/{text}": _number(record["losses"].get(text, {}).get("bits_per_byte")) for text in targets},
        "diverged": diverged,
        "reason": reason,
    }


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
