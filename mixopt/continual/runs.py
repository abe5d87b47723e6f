"""Finished continuations as a table: a row for the start, for each evaluation and for the end of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixopt.continual.config import ContinualStudy
from mixopt.continual.design import REPEAT, ContinuationPlan
from mixopt.continual.results import LeftOut
from mixopt.runs.objective import weighted
from mixopt.runs.table import collect, read_run, write_table
from mixopt.study.config import weights_of
from mixopt.study.layout import Folder

if TYPE_CHECKING:
    import pandas as pd

    from mixopt.serialization import Json
    from proxies.record import RunRecord

START, EVALUATION, END = "start", "look", "end"  # points of a run, as files have them; at the end its rate has decayed


@dataclass(frozen=True, eq=False)
class ContinuationTable:
    """Finished continuations.

    frame: a row a point, runs in the plan's order, diverged ones among them; columns run_id, role, point, params,
    tokens (trained on since the base), share (of the new domain), seed, domain_loss, general_loss (nats/token),
    loss/<validation set>, w/<domain>, diverged, reason.
    """

    frame: pd.DataFrame
    domain_loss: dict[str, float]  # weight by validation set
    general_loss: dict[str, float]

    @property
    def kept(self) -> pd.DataFrame:
        """Rows of runs that didn't diverge, renumbered from 0."""
        return self.frame.loc[~self.frame["diverged"].astype(bool)].reset_index(drop=True)

    @property
    def ends(self) -> pd.DataFrame:
        """What laws are fitted to: the ends of runs, repeats left out, since they measure noise alone."""
        kept = self.kept
        return kept.loc[(kept["point"] == END) & (kept["role"] != REPEAT)].reset_index(drop=True)

    @property
    def starts(self) -> pd.DataFrame:
        """Each size's losses before continuing: params, domain_loss, general_loss."""
        starts = self.kept.loc[self.kept["point"] == START]
        return starts.drop_duplicates("params")[["params", "domain_loss", "general_loss"]].reset_index(drop=True)

    @property
    def left_out(self) -> list[LeftOut]:
        rows = self.frame.loc[self.frame["diverged"].astype(bool) & (self.frame["point"] == END)]
        return [LeftOut(str(run), str(why)) for run, why in zip(rows["run_id"], rows["reason"], strict=True)]


def collect_continuations(plan: ContinuationPlan, study: ContinualStudy, folder: Folder) -> ContinuationTable:
    """The plan's finished continuations, and runs.parquet and runs.csv with them.

    Raises MixoptError where none has finished, or a file isn't a whole run.
    """
    import pandas as pd

    planned = {job.run_id: run for run, job in zip(plan.runs, plan.jobs, strict=True)}
    ends = collect(folder.runs, plan=plan, write=False).frame.set_index("run_id")
    rows: list[Json] = []
    for run_id, run in planned.items():
        if run_id not in ends.index:
            continue
        end = ends.loc[run_id]
        whole = {"run_id": run_id, "role": run.role, "params": int(end["params"]), "share": run.share}
        whole |= {"seed": run.seed, "diverged": bool(end["diverged"]), "reason": end["reason"]}
        whole |= {column: float(end[column]) for column in ends.columns if column.startswith("w/")}
        rows += [whole | point for point in points_before_end(read_run(folder.runs / f"{run_id}.json"))]
        losses = {column: float(end[column]) for column in ends.columns if column.startswith("loss/")}
        rows.append(whole | {"point": END, "tokens": int(end["tokens"])} | losses)
    frame = pd.DataFrame(rows)
    domain, general = losses_of(study, plan)
    frame["domain_loss"] = weighted(frame, domain)
    frame["general_loss"] = weighted(frame, general)
    first = ["run_id", "role", "point", "params", "tokens", "share", "seed", "domain_loss", "general_loss"]
    frame = frame.reindex(columns=[*first, *(column for column in frame.columns if column not in first)])
    write_table(frame, folder.root)
    return ContinuationTable(frame, domain, general)


def losses_of(study: ContinualStudy, plan: ContinuationPlan) -> tuple[dict[str, float], dict[str, float]]:
    """Weight by validation set of the domain loss and of the general loss."""
    domain = {study.new: 1.0} if study.domain_loss is None else weights_of(study.domain_loss)
    general = weights_of(plan.general if study.general_loss is None else study.general_loss)
    return domain, general


def points_before_end(run: RunRecord) -> list[Json]:
    """Rows of a continuation's start and evaluations."""
    return [
        {
            "point": START if point.step == 0 else EVALUATION,
            "tokens": point.tokens,
            **{f"loss/{name}": loss for name, loss in point.losses.items()},
        }
        for point in run.eval_history
    ]
