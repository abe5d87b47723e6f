"""The answer of a study of repetition: how often to repeat, what one more epoch is worth, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log10
from typing import TYPE_CHECKING, Any

from mixopt.formatting import amount, counted, listed, loss, passes
from mixopt.plan.epochs import Question, epochs_record
from mixopt.plan.surface import Surface
from mixopt.repetition.config import BUDGETS, RepetitionStudy
from mixopt.repetition.fit import AVERAGE, LEVEL, Arm, RepetitionFit, preset_of
from mixopt.repetition.scores import LARGEST
from mixopt.serialization import CACHE_KEY, cached, digest, nan_to_null
from mixopt.version import __version__

if TYPE_CHECKING:
    from mixopt.study.kind import Session

MEMBERS = 30  # refits that the answer's interval is over
TENFOLD = 1.0  # orders of magnitude beyond the runs from which an answer is called an extrapolation of scale
SLIGHT = 0.02  # orders of magnitude beyond the runs that aren't worth a word
UNSURE = 10.0  # an interval of R* whose ends differ by more says little


def advise_repetition(session: Session, fitted: RepetitionFit) -> dict[str, Any]:
    """Answers the study's question from every ladder and writes recommendation.json; as before if nothing changed."""
    study, folder, progress = session.study, session.folder, session.progress
    progress.stage("answer", total=len(fitted.arms))

    def compute() -> dict[str, Any]:
        arms = []
        for n, arm in enumerate(fitted.arms):
            progress.update(n, f"weight decay {arm.weight_decay:g}")
            plan = nan_to_null(answer(arm, study, fitted.record["scale"]))
            arms.append({"weight_decay": arm.weight_decay, "plan": plan})
        chosen = min(range(len(arms)), key=lambda n: arms[n]["plan"]["answer"]["loss"])
        run = arms[chosen]["plan"]["answer"]
        progress.finish(f"{passes(run['epochs'])} epochs, {amount(run['params'])} parameters")
        return {
            "kind": "repetition",
            "mixopt": __version__,
            "study": study.name,
            "target": {"weights": fitted.record["target"], "unit": "nats/token"},
            "full": {key: value for key, value in study.full.model_dump().items() if value is not None},
            "scale": fitted.record["scale"],
            "level": LEVEL,
            "arms": arms,
            "chosen": chosen,
            "best": best_rows(fitted.arms),
            "r_star": {f"{arm.weight_decay:g}": r_star_row(arm.record["r_star"]) for arm in fitted.arms},
            "warnings": warnings(fitted, arms[chosen]),
        }

    key = digest([__version__, fitted.record[CACHE_KEY], study.full.model_dump(), study.name])
    return cached(folder.recommendation, key, compute, on_hit=lambda: progress.finish("as before"))


def answer(arm: Arm, study: RepetitionStudy, scale: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """What `mixopt plan epochs` tells, by the laws of one ladder."""
    full = study.full
    question = Question(full.unique, **{key: getattr(full, key) for key in BUDGETS})
    return epochs_record(question, surfaces(arm, scale))


def surfaces(arm: Arm, scale: Mapping[str, Sequence[float]]) -> list[Surface]:
    """The average of the forms with its refits, and every form that has a weight in it."""
    fitted_to = f"fitted to {arm.record['runs']} cells of this study, weight decay {arm.weight_decay:g}"
    within = {key: (low, high) for key, (low, high) in scale.items() if key != "unique"}
    refits = arm.estimator.refits(MEMBERS)
    lead = Surface(
        AVERAGE,
        arm.estimator.loss,
        "the forms below, averaged by what they predict of cells left out",
        note=fitted_to,
        members=tuple(loss_of(refit) for refit in refits),
        allowed="refits to configurations drawn again",
        level=LEVEL,
        within=within,
        made="runs",
    )
    alone = []
    for form, weight in arm.estimator.forms_.items():
        if weight > 0:
            preset = preset_of(arm.estimator, form, f"{fitted_to}; weight {weight:.0%}")
            alone.append(Surface(form, preset.loss, preset.source, note=preset.note, within=within, made="runs"))
    return [lead, *alone]


def loss_of(refit: Any) -> Any:
    """A refit as a loss of counts; its values have a leading axis of one."""

    def loss(params: Any, tokens: Any, unique: Any) -> Any:
        return refit.loss(params, tokens, unique)[0]

    return loss


def best_rows(arms: Sequence[Arm]) -> list[dict[str, Any]]:
    """At each trained size and amount of text, every ladder's best number of epochs, fitted and measured."""
    keys = ("best", "best_low", "best_high", "least", "longest", "measured_best", "measured_least", "measured_last")
    rows: dict[tuple[float, float], dict[str, Any]] = {}
    for arm in arms:
        for curve in arm.record["curves"]:
            at = curve["params"], curve["unique"]
            row = rows.setdefault(at, {"params": at[0], "unique": at[1], "by_decay": {}})
            row["by_decay"][f"{arm.weight_decay:g}"] = {key: curve[key] for key in keys}
    return [rows[at] for at in sorted(rows)]


def r_star_row(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """R* of the heaviest form that has one."""
    if not rows:
        return None
    return {key: rows[0][key] for key in ("form", "weight", "value", "low", "high")}


def warnings(fitted: RepetitionFit, chosen: Mapping[str, Any]) -> list[str]:
    """What to be careful about, a sentence each."""
    plan, record = chosen["plan"], fitted.record
    said = [scale_warning(plan["answer"], record["scale"])]
    said.append(size_warning(fitted, chosen))
    said += [arm_warning(arm) for arm in fitted.arms]
    said.append(noise_warning(record))
    gone = record["left_out"]
    if gone:
        said.append(
            f"{counted(len(gone), 'run')} diverged and took no part: {listed([r['run_id'] for r in gone[:4]])}."
        )
    return [sentence for sentence in [*said, *plan["notes"]] if sentence]


def scale_warning(run: Mapping[str, Any], scale: Mapping[str, Sequence[float]]) -> str:
    """How far the answer lies from the runs."""
    far = {
        "parameters": log10(run["params"] / scale["params"][1]),
        "unique tokens": log10(run["unique"] / scale["unique"][1]),
        "training tokens": log10(run["tokens"] / scale["tokens"][1]),
    }
    beyond = [f"{times(orders)} times the {what}" for what, orders in far.items() if orders > SLIGHT]
    if not beyond:
        return ""
    told = f"The answer extrapolates: it has {listed(beyond)} of the largest run."
    if far["parameters"] > SLIGHT:
        told += " How many epochs so large a model bears is not measured here."
    if max(far.values()) >= TENFOLD:
        told += (
            " At such distances its direction may hold, its numbers hardly do: train a ladder nearer to the run "
            "(proxy.width, design.unique) before you rely on it."
        )
    return told


def size_warning(fitted: RepetitionFit, chosen: Mapping[str, Any]) -> str:
    """What the laws missed the largest size by, where it was held out and the answer is at least as large."""
    arm = next(arm.record for arm in fitted.arms if arm.weight_decay == chosen["weight_decay"])
    row = next((r for r in arm["scores"] if r["form"] == AVERAGE and r["case"] == LARGEST), None)
    if row is None or row["rmse"] is None or chosen["plan"]["answer"]["params"] < fitted.record["scale"]["params"][1]:
        return ""
    return (
        f"Fitted without the largest size, the laws missed its losses by {loss(row['rmse'])} nats/token: expect no "
        "less of models that are larger still."
    )


def times(orders: float) -> str:
    """10 to the orders, as a reader says it."""
    return f"{10**orders:.2g}" if orders < 2 else f"10^{orders:.1f}"


def arm_warning(arm: Arm) -> str:
    """Where a ladder leaves something open: it never turned, or its R* is not identified."""
    said = []
    if all(curve["measured_last"] <= curve["measured_least"] + 1e-12 for curve in arm.record["curves"]):
        said.append("no curve turned up within the ladder, so where repetition begins to harm is not known: add epochs")
    row = arm.record["r_star"][0] if arm.record["r_star"] else None
    if row and (row["low"] is None or row["high"] is None or row["high"] > UNSURE * row["low"]):
        ends = f"{told_end(row['low'], 'anything')} to {told_end(row['high'], 'any size')}"
        said.append(f"R* is barely identified ({ends}): what a repeat is worth is told by the curves, not by R*")
    return f"At weight decay {arm.weight_decay:g} {'; '.join(said)}." if said else ""


def told_end(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else passes(value)


def noise_warning(record: Mapping[str, Any]) -> str:
    """Run-to-run noise against the law's own error."""
    rows = record["noise"]
    if not rows:
        return "No cell was trained twice, so run-to-run noise is unknown: set design.repeats."
    worst = max(rows, key=lambda row: row["sd"])
    return (
        f"Runs of one cell on other seeds and other text differ by up to {loss(worst['sd'])} nats/token (standard "
        f"deviation at {amount(worst['unique'])} unique tokens, {passes(worst['epochs'])} epochs)."
    )
