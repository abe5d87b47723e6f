"""The finished runs of a repetition study as a table: losses with unique tokens, epochs and weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixopt.errors import MixoptError
from mixopt.repetition.config import RepetitionStudy
from mixopt.repetition.design import REPEAT, LadderPlan
from mixopt.runs.objective import weighted
from mixopt.runs.table import collect, write_table
from mixopt.study.layout import Folder

MIN_RUNS = 8  # of one weight decay: the forms of the law have up to so many parameters
Frame = Any  # a pandas.DataFrame: type checkers can't tell its columns from tables
INPUTS = ("params", "tokens", "unique")  # what repetition laws take, in their order


@dataclass(frozen=True, eq=False)
class LadderRuns:
    """Finished runs. frame: a row a run, diverged ones among them, smallest first; columns run_id, role, params,
    tokens, unique, epochs, weight_decay, seed, target (the study's target, nats/token), loss/<set>, bpb/<set>,
    w/<domain>, pool/<domain>, diverged, reason.
    """

    frame: Frame
    target: dict[str, float]  # weight by validation set

    @property
    def kept(self) -> Frame:
        """Rows of runs that didn't diverge, renumbered from 0."""
        return rows_where(self.frame, ~self.frame["diverged"].astype(bool))

    @property
    def fitted(self) -> Frame:
        """Those that laws are fitted to: repeats measure noise alone."""
        kept = self.kept
        return rows_where(kept, kept["role"] != REPEAT)

    @property
    def decays(self) -> list[float]:
        """Weight decays, weakest first."""
        return sorted(float(decay) for decay in self.frame["weight_decay"].unique())

    def ladders(self) -> list[tuple[float, Frame]]:
        """(weight decay, its runs), weakest first."""
        runs = self.fitted
        return [(decay, rows_where(runs, runs["weight_decay"] == decay)) for decay in self.decays]

    @property
    def left_out(self) -> list[dict[str, str]]:
        rows = self.frame[self.frame["diverged"].astype(bool)]
        return [{"run_id": str(i), "reason": str(why)} for i, why in zip(rows["run_id"], rows["reason"], strict=True)]


def rows_where(frame: Frame, keep: Any) -> Frame:
    """Some of a table's rows, renumbered from 0."""
    return frame[keep].reset_index(drop=True)


def counts_of(runs: Frame) -> Any:
    """(n_runs, 3) params, tokens and unique."""
    return runs[list(INPUTS)].to_numpy(dtype=float)


def collect_ladder(plan: LadderPlan, study: RepetitionStudy, folder: Folder) -> LadderRuns:
    """The ladder's finished runs, and runs.parquet and runs.csv with them.

    Raises MixoptError where none has finished, or a file isn't a whole run.
    """
    planned = {job.run_id: run for run, job in zip(plan.runs, plan.jobs, strict=True)}
    frame = collect(folder.runs, plan=plan, write=False).frame
    runs = [planned[run_id] for run_id in frame["run_id"]]
    target = study.target_weights or {name: w for name, w in plan.weights.items() if w > 0}
    columns = ["run_id", "role", "params", "tokens", "unique", "epochs", "weight_decay", "seed", "target"]
    columns += [c for c in frame.columns if c.startswith(("loss/", "bpb/", "w/", "pool/"))]
    whole = frame.assign(
        unique=[run.unique for run in runs],
        epochs=[run.epochs for run in runs],
        weight_decay=[run.weight_decay for run in runs],
        target=weighted(frame, target),
    )
    whole = whole.astype({"params": "int64", "tokens": "int64"})[[*columns, "diverged", "reason"]].set_index("run_id")
    whole = whole.loc[[run_id for run_id in planned if run_id in whole.index]].reset_index()
    write_table(whole, folder.root)
    return LadderRuns(whole, target)


def enough_to_fit(measured: LadderRuns, where: Path) -> None:
    """Raises MixoptError when there are too few runs to fit a law of repetition to."""
    for decay, runs in measured.ladders():
        if len(runs) < MIN_RUNS or runs["tokens"].nunique() < 2:
            raise MixoptError(
                f"{where}: {len(runs)} finished runs of weight decay {decay:g} are too few for a law: train {MIN_RUNS} "
                "or more (design.sizes, unique and epochs)"
            )
