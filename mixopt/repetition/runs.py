"""The finished cells of a study of repetition: one row a run, with its unique tokens, epochs and weight decay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mixopt.errors import MixoptError
from mixopt.repetition.config import RepetitionStudy
from mixopt.repetition.design import REPEAT, LadderPlan
from mixopt.runs.objective import weighted
from mixopt.runs.table import collect, write_table
from mixopt.study.layout import Folder

FEWEST = 8  # cells of one weight decay: the forms of the law have up to so many parameters
Frame = Any  # a pandas.DataFrame: type checkers can't tell its columns from tables
INPUTS = ("params", "tokens", "unique")  # what repetition laws take, in their order


@dataclass(frozen=True, eq=False)
class Measured:
    """Finished cells. frame: a row a run, diverged ones among them, smallest first; columns run_id, role, params,
    tokens, unique, epochs, weight_decay, seed, target (the study's target, nats/token), loss/<text>, bpb/<text>,
    w/<domain>, pool/<domain>, diverged, reason.
    """

    frame: Frame
    target: dict[str, float]  # weight by text

    @property
    def kept(self) -> Frame:
        """Rows of runs that didn't diverge, renumbered from 0."""
        return rows_where(self.frame, ~self.frame["diverged"].astype(bool))

    @property
    def cells(self) -> Frame:
        """Those that laws are fitted to: repeats measure noise alone."""
        kept = self.kept
        return rows_where(kept, kept["role"] != REPEAT)

    @property
    def decays(self) -> list[float]:
        """Weight decays, weakest first."""
        return sorted(float(decay) for decay in self.frame["weight_decay"].unique())

    def ladders(self) -> list[tuple[float, Frame]]:
        """(weight decay, its cells), weakest first."""
        cells = self.cells
        return [(decay, rows_where(cells, cells["weight_decay"] == decay)) for decay in self.decays]

    @property
    def left_out(self) -> list[dict[str, str]]:
        rows = self.frame[self.frame["diverged"].astype(bool)]
        return [{"run_id": str(i), "reason": str(why)} for i, why in zip(rows["run_id"], rows["reason"], strict=True)]


def rows_where(frame: Frame, keep: Any) -> Frame:
    """Some of a table's rows, renumbered from 0."""
    return frame[keep].reset_index(drop=True)


def collect_cells(plan: LadderPlan, study: RepetitionStudy, folder: Folder) -> Measured:
    """The ladder's finished runs, and runs.parquet and runs.csv with them.

    Raises MixoptError where none has finished, or a file isn't a whole run.
    """
    import pandas as pd

    told = {job.run_id: cell for cell, job in zip(plan.cells, plan.jobs, strict=True)}
    table = collect(folder.runs, only=set(told), write=False)
    frame = table.frame
    cells = [told[run_id] for run_id in frame["run_id"]]
    target = study.target_weights or {name: w for name, w in plan.weights.items() if w > 0}
    ahead = pd.DataFrame({
        "run_id": frame["run_id"],
        "role": frame["role"],
        "params": frame["params"].astype("int64"),
        "tokens": frame["tokens"].astype("int64"),
        "unique": [cell.unique for cell in cells],
        "epochs": [cell.epochs for cell in cells],
        "weight_decay": [cell.weight_decay for cell in cells],
        "seed": frame["seed"],
        "target": weighted(frame, target),
    })  # fmt: skip
    more = [c for c in frame.columns if c.startswith(("loss/", "bpb/", "w/", "pool/"))]
    order = [job.run_id for job in plan.jobs]
    whole = pd.concat([ahead, frame[[*more, "diverged", "reason"]]], axis=1).set_index("run_id")
    whole = whole.loc[[run_id for run_id in order if run_id in whole.index]].reset_index()
    write_table(whole, folder.root)
    return Measured(whole, target)


def enough_to_fit(measured: Measured, where: Any) -> None:
    """Raises MixoptError when the runs can't tell what repetition does."""
    for decay, cells in measured.ladders():
        if len(cells) < FEWEST or cells["tokens"].nunique() < 2:
            raise MixoptError(
                f"{where}: {len(cells)} finished cells of weight decay {decay:g} are too few for a law: train {FEWEST} "
                "or more (design.sizes, unique and epochs)"
            )
