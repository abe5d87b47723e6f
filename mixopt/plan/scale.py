"""How large a model for how many tokens: the least loss for a budget, or the fewest FLOPs for a loss, use included.

Lifetime FLOPs are 6 N D of training and 2 N a token of inference (Sardana et al. 2024, Beyond Chinchilla-Optimal,
arXiv:2401.00448). All losses are nats/token.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixopt.plan.epochs import beyond, finite, interval, run_record, sees_repetition
from mixopt.plan.optimum import LEAST, best_run, cheapest_to_use, least_compute, tokens_for
from mixopt.plan.surface import INFERENCE, TRAINING, UNLIMITED, Run, Surface, losses

POINTS = 97  # of a curve
SIDE = 16.0  # a curve goes from the best size over this to the best size times it


@dataclass(frozen=True)
class Demand:
    """What a model is to be: as good as compute makes it, or of a given loss; and how many tokens it will serve."""

    compute: float | None = None
    loss: float | None = None
    inference: float = 0.0
    unique: float = UNLIMITED

    def plain(self, surface: Surface) -> Run | None:
        """The best run when only training counts; None where the loss can't be reached."""
        if self.compute is not None:
            return best_run(surface, self.compute, self.unique)
        return least_compute(surface, float(self.loss or 0), self.unique)

    def answer(self, surface: Surface, plain: Run) -> Run:
        """The run as good as the plain one that costs the fewest lifetime FLOPs."""
        return cheapest_to_use(surface, plain, self.inference) if self.inference else plain

    def richer(self, surface: Surface, plain: Run) -> Run:
        """The best run for the lifetime FLOPs of the plain one."""
        return best_run(surface, self.lifetime(plain), self.unique, inference=self.inference)

    def lifetime(self, run: Run) -> float:
        return run.compute + INFERENCE * run.params * self.inference

    def record(self) -> dict[str, float]:
        names = {"compute": self.compute, "loss": self.loss, "inference_tokens": self.inference or None}
        names["unique"] = None if self.unique == UNLIMITED else self.unique
        return {key: value for key, value in names.items() if value is not None}


def scale_record(demand: Demand, surfaces: Sequence[Surface]) -> dict[str, Any] | None:
    """Everything that `mixopt plan scale` tells, JSON-able; None where the leading form never reaches the loss."""
    lead = surfaces[0]
    plain = demand.plain(lead)
    if plain is None:
        return None
    run = demand.answer(lead, plain)
    # losses of other sources are of other texts: the others are asked what they would do with as much compute
    others = replace(demand, compute=plain.compute, loss=None)
    forms = [form_record(demand if one is lead else others, one) for one in surfaces]
    richer = demand.richer(lead, plain)
    return {
        "kind": "scale",
        "given": demand.record(),
        "form": lead.name,
        "answer": told(demand, run) | {"interval": forms[0]["interval"]},
        "interval": {"level": lead.level, "over": lead.allowed},
        "plain": told(demand, plain),
        "same_lifetime": told(demand, richer),
        "saved": {
            "flops": demand.lifetime(plain) - demand.lifetime(run),
            "share": 1 - demand.lifetime(run) / demand.lifetime(plain),
            "loss_at_same_lifetime": richer.loss - plain.loss,
        },
        "forms": forms,
        "disagreement": disagreement(forms),
        "curve": curve(demand, surfaces, run),
        "beyond": beyond(lead, run),
        "notes": [],
    }


def told(demand: Demand, run: Run) -> dict[str, Any]:
    """A run with what it costs to use."""
    record = run_record(run) | {
        "tokens_per_param": run.tokens / run.params,
        "inference_compute": INFERENCE * run.params * demand.inference,
        "lifetime_compute": demand.lifetime(run),
    }
    if run.unique == UNLIMITED:
        record |= {"unique": None, "epochs": None, "repeats": False}
    return record


def form_record(demand: Demand, surface: Surface) -> dict[str, Any]:
    """One form's answer."""
    about = {"form": surface.name, "made": surface.made, "source": surface.source, "note": surface.note}
    plain = demand.plain(surface)
    assert plain is not None  # the leading form's was found, the others have a budget
    run = demand.answer(surface, plain)
    runs = []
    for loss in surface.members if demand.unique < UNLIMITED or surface.level else ():
        one = surface.at(loss)
        if (its := demand.plain(one)) is not None:
            runs.append(demand.answer(one, its))
    names = ("params", "tokens", "epochs", "compute", "loss")
    names = names if demand.unique < UNLIMITED else tuple(name for name in names if name != "epochs")
    ends = {name: interval([getattr(r, name) for r in runs], surface.level, getattr(run, name)) for name in names}
    seen = sees_repetition(surface, run) if demand.unique < UNLIMITED else None
    return about | told(demand, run) | {"interval": ends, "sees_repetition": seen}


def disagreement(forms: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The lowest and highest answers of the forms; where text repeats, of those that see that."""
    seeing = [form for form in forms if form["sees_repetition"]] or list(forms)
    ends = {key: [min(f[key] for f in seeing), max(f[key] for f in seeing)] for key in ("params", "tokens")}
    return ends | {"forms": len(seeing)}


def curve(demand: Demand, surfaces: Sequence[Surface], run: Run) -> dict[str, Any]:
    """Against parameters: each form's loss at equal compute, or the leading form's FLOPs at equal loss."""
    params = np.geomspace(max(run.params / SIDE, LEAST), run.params * SIDE, POINTS)
    if demand.compute is not None and not demand.inference:
        tokens = demand.compute / TRAINING / params
        drawn = {one.name: finite(losses(one, params, tokens, demand.unique)) for one in surfaces}
        return {"of": "loss", "params": params.tolist(), "loss": drawn}
    tokens = tokens_for(surfaces[0], run.loss, params, demand.unique)
    training = TRAINING * params * tokens
    return {
        "of": "compute",
        "params": params.tolist(),
        "tokens": finite(tokens),
        "training": finite(training),
        "lifetime": finite(training + INFERENCE * params * demand.inference),
    }
