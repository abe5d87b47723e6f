"""The measured check: the recommended mixture trained beside its rivals, next to what was predicted."""

from collections.abc import Mapping
from typing import Any

from mixopt.formatting import UNKNOWN, against, counted, known, listed, loss, mean, scale, signed
from mixopt.mixture.report.inputs import Study
from mixopt.report.html import Column, Safe, join, paragraph, section, table, tag
from mixopt.report.svg import strip

ARMS = ("recommended", "uniform", "natural")


def measured_check(study: Study) -> Safe:
    """Measured losses of the recommended, natural and uniform mixtures, by size; empty without a check."""
    sizes = [size for size in (study.verified or {}).get("sizes") or [] if size.get("arms")]
    if not sizes:
        return Safe("")
    note = paragraph(
        "These runs were trained after the recommendation was made and took no part in the fits. "
        "Predicted differences are at proxy scale.",
        class_="note",
    )
    return section("check", "Measured check", note, *(_one_size(study, size) for size in sizes))


def _values(size: Mapping[str, Any], arm: str) -> list[float]:
    return [value for value in size["arms"].get(arm) or [] if known(value)]


def _one_size(study: Study, size: Mapping[str, Any]) -> Safe:
    title = scale(size) or "unnamed size"
    arms = [arm for arm in (*ARMS, *sorted(set(size["arms"]) - set(ARMS))) if _values(size, arm)]
    if not arms:
        return join((tag("h3", title), paragraph("None of the runs has a loss.")))
    body = [_row(study, size, arm) for arm in arms]
    columns = [Column("Mixture", numeric=False)] + [
        Column(name) for name in ("Mean", "Lowest", "Highest", "Seeds", "Measured gap", "Predicted gap")
    ]
    measured = table(
        f"Measured target loss, nats/token, at {title}; a gap is recommended minus this mixture",
        columns,
        body,
        marked=0,
    )
    return join((tag("h3", title), paragraph(_verdict(study, size)), _dots(size, arms), measured))


def _row(study: Study, size: Mapping[str, Any], arm: str) -> tuple[str, ...]:
    values = _values(size, arm)
    centre, best = mean(values), mean(_values(size, "recommended"))
    guess, other = study.predicted("recommended").get("loss"), study.predicted(arm).get("loss")
    rival = arm != "recommended"
    return (
        arm.capitalize(),
        loss(centre),
        loss(min(values)),
        loss(max(values)),
        str(len(values)),
        signed(best - centre) if rival and known(best) and known(centre) else UNKNOWN,
        signed(guess - other) if rival and known(guess) and known(other) else UNKNOWN,
    )


def _verdict(study: Study, size: Mapping[str, Any]) -> str:
    """'At 1.2M parameters the recommended mixture measured 3.03: 0.19 below uniform (predicted 0.21 below) ...'"""
    best = mean(_values(size, "recommended"))
    if best is None:
        return "The recommended mixture has no measured loss at this size."
    guess = study.predicted("recommended").get("loss")
    parts = []
    for arm in ARMS[1:]:
        other, expected = mean(_values(size, arm)), study.predicted(arm).get("loss")
        if other is None:
            continue
        told = f"{against(best, other)} {arm}"
        if known(guess) and known(expected):
            told += f" (predicted: {against(guess, expected)})"
        parts.append(told + _seeds_won(size, arm))
    seeds = counted(len(_values(size, "recommended")), "seed")
    rest = f": {listed(parts)}" if parts else ""
    return f"The recommended mixture measured {loss(best)} nats/token (mean of {seeds}){rest}."


def _seeds_won(size: Mapping[str, Any], arm: str) -> str:
    """In how many seeds the recommendation was the better of the two, where both have the same seeds."""
    ours, theirs = size["arms"].get("recommended") or [], size["arms"].get(arm) or []
    if len(ours) != len(theirs) or len(ours) < 2 or not all(map(known, [*ours, *theirs])):
        return ""
    return f", better in {sum(a < b for a, b in zip(ours, theirs, strict=True))} of {len(ours)} seeds"


def _dots(size: Mapping[str, Any], arms: list[str]) -> Safe:
    groups = [(arm, _values(size, arm)) for arm in arms]
    low = min(min(values) for _, values in groups)
    high = max(max(values) for _, values in groups)
    rows = (
        tag(
            "li",
            tag("span", arm, class_="name"),
            strip([(arm, values)], low=low, high=high, marked="recommended"),
            tag("span", loss(mean(values)), class_="value"),
        )
        for arm, values in groups
    )
    caption = f"One dot a run, from {loss(low)} (left) to {loss(high)} nats/token (right); the number is the mean."
    return tag("figure", tag("ul", *rows, class_="rows"), tag("figcaption", caption))
