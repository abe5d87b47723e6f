"""Run table: a row a finished run, with its training weights, pools and validation losses."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mixopt.errors import MixoptError
from mixopt.formatting import counted
from mixopt.serialization import replacing
from mixopt.study.jobs import finished_run
from proxies.record import Loss, RunRecord, read_record

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import ArrayLike, NDArray

    from mixopt.study.kind import AnyPlan

    Floats = NDArray[np.float64]

SAME_MIXTURE = 6  # decimals: weights that agree this far are one mixture, trained again


@dataclass(frozen=True, eq=False, repr=False)
class RunTable:
    """Runs and the names of their domains and targets.

    frame: one row a run, with columns run_id, params, tokens, seed, w/<domain> (share of training tokens),
    pool/<domain> (unique tokens; empty: unlimited), loss/<target> (nats/token; empty: missing), and where
    known bpb/<target> (bits/byte), role, step, diverged, reason.
    notes: what a reader should know about the table, in sentences. problems: what is wrong with the losses that are
    not among the targets, by name. other_units: targets that, by their columns' names, may not be in nats/token.

    A diverged run stays in `frame`; every array below leaves it out.
    """

    frame: pd.DataFrame
    domains: tuple[str, ...]
    targets: tuple[str, ...]
    notes: tuple[str, ...] = ()
    problems: Mapping[str, str] = field(default_factory=dict)
    other_units: frozenset[str] = frozenset()

    @classmethod
    def from_arrays(
        cls,
        weights: ArrayLike,
        losses: ArrayLike,
        *,
        domains: Sequence[str] | None = None,
        targets: Sequence[str] | None = None,
        **facts: ArrayLike,
    ) -> RunTable:
        """Runs of weights (n_runs, n_domains), shares of training tokens, and losses (n_runs,) or (n_runs, n_targets).

        domains, targets: names; None: those of data frames, else d1, d2, ... and loss1, loss2, .... facts: run_id,
        params, tokens or seed, (n_runs,) each or one for all. NaN: a loss that is missing, a domain that is absent.
        Raises MixoptError as `read_runs` does.
        """
        import pandas as pd

        from regressors.registry import load

        parts = []
        for key, values, names in (("w/", weights, domains), ("loss/", losses, targets)):
            part = pd.DataFrame(values)
            if names is None and not isinstance(values, pd.DataFrame):
                names = [f"{'d' if key == 'w/' else 'loss'}{i + 1}" for i in range(part.shape[1])]
            names = list(part.columns) if names is None else list(names)
            if len(names) != part.shape[1]:
                raise MixoptError(f"{len(names)} names for {part.shape[1]} columns of {key[:-1]}: give one a column")
            parts.append(part.set_axis([f"{key}{name}" for name in names], axis=1).reset_index(drop=True))
        if len(parts[0]) != len(parts[1]):
            raise MixoptError(f"weights have {len(parts[0])} rows and losses {len(parts[1])}: one a run is needed")
        read_runs = load("mixopt.runs.read:read_runs")  # as text: that module makes these tables
        return read_runs(pd.concat(parts, axis=1).assign(**facts), weights="w/", losses="loss/")

    def __repr__(self) -> str:
        sizes = ((len(self.frame), "run"), (len(self.domains), "domain"), (len(self.targets), "loss"))
        return f"RunTable({', '.join(counted(number, noun) for number, noun in sizes)})"

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


def collect(runs_dir: Path, *, plan: AnyPlan | None = None, write: bool = True) -> RunTable:
    """The table of all runs that runs_dir/*.json record, ordered by run_id.

    plan: take its runs alone, as a folder may also hold those of an older design, and only as they were planned.
    write: also write it as runs.parquet and runs.csv beside runs_dir, each by rename.
    Raises MixoptError for a folder without runs, a file that isn't a whole run or another than planned, runs of other
    domains.
    """
    import pandas as pd

    runs_dir = Path(runs_dir)
    paths = sorted(runs_dir.glob("[!.]*.json"))
    if plan is None:
        records = [read_run(path) for path in paths]
    else:
        jobs = {job.run_id: job for job in plan.jobs}
        records = [finished_run(path, jobs[path.stem], plan.recipe) for path in paths if path.stem in jobs]
    if not records:
        raise MixoptError(f"{runs_dir}: no runs there yet (*.json): train some first, or import a table of your own")
    domains = tuple(records[0].weights)
    targets = tuple(dict.fromkeys(name for record in records for name in record.losses))
    for record in records:
        if set(record.weights) != set(domains):
            raise MixoptError(
                f"{runs_dir}: run {record.run_id} mixes {', '.join(sorted(record.weights))}, run "
                f"{records[0].run_id} mixes {', '.join(sorted(domains))}: move one study's runs elsewhere"
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


def read_table(folder: Path) -> pd.DataFrame:
    """folder/runs.parquet. Raises MixoptError where it isn't there or can't be read."""
    import pandas as pd

    path = Path(folder) / "runs.parquet"
    try:
        return pd.read_parquet(path)
    except (ValueError, OSError) as error:
        raise MixoptError(f"{path} can't be read ({error}): `mixopt run` makes it anew") from error


def read_run(path: Path) -> RunRecord:
    """One finished run. Raises MixoptError for a file that isn't a whole run."""
    try:
        return read_record(path)
    except ValueError as error:
        raise MixoptError(str(error)) from error


def _row(run: RunRecord, domains: Sequence[str], targets: Sequence[str]) -> dict[str, object]:
    losses = {name: run.losses.get(name, Loss()) for name in targets}
    diverged, reason = run.diverged, run.reason
    broken = [name for name in run.losses if math.isnan(losses[name].nats_per_token)]
    if broken and not diverged:
        diverged, reason = True, f"the loss on {broken[0]} is not a number"
    return {
        "run_id": run.run_id,
        "role": run.role,
        "params": _number(run.params),
        "tokens": _number(run.tokens),
        "seed": run.seed,
        **{f"w/{name}": float(run.weights[name]) for name in domains},
        **{f"pool/{name}": _number(run.pools.get(name)) for name in domains},
        **{f"loss/{name}": loss.nats_per_token for name, loss in losses.items()},
        **{f"bpb/{name}": loss.bits_per_byte for name, loss in losses.items()},
        "diverged": diverged,
        "reason": reason,
    }


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
