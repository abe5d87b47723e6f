"""The finished forks of a study of continued pretraining: one row a fork, and one a look on its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mixopt.continual.config import ContinualStudy
from mixopt.continual.design import REPEAT, ForkPlan
from mixopt.runs.objective import weighted
from mixopt.runs.table import collect, read_run, write_table
from mixopt.study.layout import Folder

if TYPE_CHECKING:
    import pandas as pd

    from proxies.record import RunRecord

END = "end"  # of a fork, where its rate has decayed; what lies before is `look`, and the start `start`
LOOK, START = "look", "start"


@dataclass(frozen=True, eq=False)
class Continuations:
    """Finished forks. frame: a row a look, forks in the plan's order, diverged ones among them; columns run_id, role,
    point (start, look or end), params, tokens (trained on since the base), share (of the new domain), seed,
    domain_loss, general_loss (nats/token), loss/<text>, w/<domain>, diverged, reason.
    """

    frame: pd.DataFrame
    domain_loss: dict[str, float]  # weight by text
    general_loss: dict[str, float]

    @property
    def kept(self) -> pd.DataFrame:
        """Rows of forks that didn't diverge, renumbered from 0."""
        return self.frame.loc[~self.frame["diverged"].astype(bool)].reset_index(drop=True)

    @property
    def ends(self) -> pd.DataFrame:
        """What laws are fitted to: the ends of forks, repeats left out, since they measure noise alone."""
        kept = self.kept
        return kept.loc[(kept["point"] == END) & (kept["role"] != REPEAT)].reset_index(drop=True)

    @property
    def starts(self) -> pd.DataFrame:
        """Each size's losses before continuing: params, domain_loss, general_loss."""
        starts = self.kept.loc[self.kept["point"] == START]
        return starts.drop_duplicates("params")[["params", "domain_loss", "general_loss"]].reset_index(drop=True)

    @property
    def left_out(self) -> list[dict[str, str]]:
        rows = self.frame.loc[self.frame["diverged"].astype(bool) & (self.frame["point"] == END)]
        return [{"run_id": str(i), "reason": str(why)} for i, why in zip(rows["run_id"], rows["reason"], strict=True)]


def collect_forks(plan: ForkPlan, study: ContinualStudy, folder: Folder) -> Continuations:
    """The plan's finished forks, and runs.parquet and runs.csv with them.

    Raises MixoptError where none has finished, or a file isn't a whole run.
    """
    import pandas as pd

    told = {job.run_id: fork for fork, job in zip(plan.forks, plan.jobs, strict=True)}
    ends = collect(folder.runs, only=set(told), write=False).frame.set_index("run_id")
    rows: list[dict[str, Any]] = []
    for run_id, fork in told.items():
        if run_id not in ends.index:
            continue
        end = ends.loc[run_id]
        whole = {"run_id": run_id, "role": fork.role, "params": int(end["params"]), "share": fork.share}
        whole |= {"seed": fork.seed, "diverged": bool(end["diverged"]), "reason": end["reason"]}
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
    return Continuations(frame, domain, general)


def losses_of(study: ContinualStudy, plan: ForkPlan) -> tuple[dict[str, float], dict[str, float]]:
    """Weight by text of the domain loss and of the general loss."""
    from mixopt.study.config import weights_of

    domain = {study.new: 1.0} if study.domain_loss is None else weights_of(study.domain_loss)
    general = weights_of(plan.general if study.general_loss is None else study.general_loss)
    return domain, general


def points_before_end(run: RunRecord) -> list[dict[str, Any]]:
    """Rows of a continuation's evaluations before its end."""
    return [
        {
            "point": START if point.step == 0 else LOOK,
            "tokens": point.tokens,
            **{f"loss/{name}": loss for name, loss in point.losses.items()},
        }
        for point in run.eval_history
    ]
