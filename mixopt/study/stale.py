"""Finished runs that an edit of the study makes useless: consent to training others in their place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from mixopt.errors import MixoptError
from mixopt.formatting import count_text, counted, duration, listed
from mixopt.serialization import Json, read_json, remake, restoring, write_json
from mixopt.study.cost import Clock
from mixopt.study.jobs import contents
from mixopt.study.training import to_do

if TYPE_CHECKING:
    from mixopt.study.kind import AnyPlan, Session
    from proxies.shards import Shard


def settle_plan(session: Session, plan: AnyPlan, shards: Mapping[str, Shard]) -> None:
    """Gets consent before runs are trained in place of finished ones that no longer count, and records the plan.

    A first or resumed run needs none. Raises MixoptError, with what is stale, why and what new runs cost, where it is
    refused or there is no terminal.
    """
    folder, texts = session.folder, contents(shards)
    ids = [job.run_id for job in plan.jobs]
    there = {path.stem for path in folder.runs.glob("[!.]*.json")}
    before = read_json(folder.plan, made_by="run") if folder.plan.is_file() else {"runs": sorted(there)}
    left = {job.run_id: to_do(job, folder.runs, folder.weights) for job in plan.jobs}
    missing = [job for job in left.values() if job and not job.evaluate]
    useful = set(ids).difference(job.run_id for job in missing)
    with restoring(folder.plan, remake("run")):
        stale = sorted(there.intersection(before["runs"]).difference(useful))
        changed = changes(before, session.decisive, texts)
    if stale and missing:
        recipes = [job.recipe or plan.recipe for job in missing]
        seconds = Clock(session).seconds(recipes)
        why = (
            f"{counted(len(stale), 'finished run')} can no longer be used: "
            f"{changed}; {len(ids) - len(missing)} of "
            f"{counted(len(ids), 'planned run')} are there, training the others takes "
            f"{count_text(sum(recipe.tokens_seen for recipe in recipes))} tokens"
        )
        why += f", about {duration(seconds)}" if seconds is not None else ""
        if not session.may_retrain(why):
            remedy = "add --yes (from Python retrain=True) to train them, or undo the edit"
            raise MixoptError(f"{session.path}: {why}: {remedy}")
    write_json(folder.plan, {"study": session.decisive, "texts": texts, "runs": ids})


def changes(before: Json, study: Json, texts: Mapping[str, str]) -> str:
    """What differs from the study file and the texts that runs were trained for, in words."""
    old, new = (dict(leaves(one)) for one in (before.get("study", {}), study))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)] if old else []
    parts = [f"{key} was {old.get(key, 'not given')} and is {new.get(key, 'not given')}" for key in keys]
    old_texts = before.get("texts", texts)
    if not parts and (other := [name for name in texts if old_texts.get(name) != texts[name]]):
        parts = [f"the tokens of {listed(other)} have changed"]
    parts[4:] = [f"{len(parts) - 4} more changes"] if len(parts) > 4 else []
    return listed(parts) or "the study file, its texts or mixopt's version changed"


def leaves(value: Json, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every key path of a study file with what stands there."""
    for key, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from leaves(inner, f"{above}{key}.")
        else:
            yield f"{above}{key}", f"{inner:g}" if isinstance(inner, float) else inner
