"""What more unique text is worth, and how surely the mixture is the best one, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NOTHING = 1e-6  # nats/token that twice the unique text would bring: a price below that is none
SIZES = ((1e12, "trillion"), (1e9, "billion"), (1e6, "million"), (1e3, "thousand"))
SMALL = 0.25  # of a pool; amounts are named that are no larger, as prices hold for small changes
NAMED = 3  # domains named after the first
READ = 1e-5  # nats/token, below which no prediction is read
PROVEN = 1e-4  # nats/token; a gap that no reader would act on


def told_worth(recommendation: Mapping[str, Any]) -> list[str]:
    """Sentences on the shadow prices, what matters most first; none where the recommendation says nothing of them."""
    priced = recommendation.get("shadow_prices")
    if not priced:
        return []
    if priced.get("why"):
        return [f"What more unique text is worth can't be said: {priced['why']}."]
    rows = [row for row in priced["domains"] if row["unique"]]
    worth = sorted((row for row in rows if _counts(row)), key=lambda row: -row["unique"]["gain"])
    told = []
    if not priced["sees_repetition"]:
        what = "only as far as it loosens a cap on epochs" if worth else "unknown"
        told.append(
            "The predictor sees shares alone, not how often text is repeated: what more unique text is worth is "
            f"{what}."
        )
    elif not worth:
        told.append(_nothing_to_gain(rows))
    if worth:
        told.append(_first(worth[0], priced))
        told += _others(worth, priced)
    return [*told, *_caps(priced)]


def told_most(recommendation: Mapping[str, Any]) -> list[str]:
    """The one or two sentences that a terminal has room for; none where there is nothing to say."""
    priced = recommendation.get("shadow_prices") or {}
    told = told_worth(recommendation)
    if priced.get("why") or not priced.get("sees_repetition"):
        priced_caps = [row for row in priced.get("domains") or [] if row["cap"] and row["cap"]["gain"] > NOTHING]
        return told[-1:] if priced_caps else []
    return told[:2]


def told_certificate(recommendation: Mapping[str, Any]) -> str:
    """A sentence on how surely the mixture is the best one of its predictor; empty where nothing is known."""
    certificate = (recommendation.get("search") or {}).get("certificate") or {}
    gap, why = certificate.get("gap"), certificate.get("why", "")
    if gap is None:
        return f"Not certified: {why}." if why else ""
    if certificate["scope"] == "global":
        if gap > PROVEN:
            return f"Not certified as the best: an allowed mixture may be up to {digits(gap)} nats/token lower ({why})."
        return (
            f"Certified: no allowed mixture is predicted more than {digits(max(gap, READ))} nats/token lower ({why})."
        )
    rate = certificate["residual"]
    if rate > 1e-2:
        return (
            f"Not certified: moving tokens between two domains would still gain {digits(rate)} nats/token per unit of "
            "share."
        )
    return (
        f"Certified as the best of its surroundings: first-order conditions hold to {digits(max(rate, READ))} "
        f"nats/token per unit of share. Not as the best of all: {why}."
    )


def _counts(row: Mapping[str, Any]) -> bool:
    return row["unique"]["gain"] * row["pool"] > NOTHING


def _nothing_to_gain(rows: Sequence[Mapping[str, Any]]) -> str:
    repeated = [row["domain"] for row in rows if row["epochs"] > 1 + 1e-6]
    if not repeated:
        return "No domain is repeated: more unique text would change nothing at this budget."
    which = f"{_listed(repeated)} {'is' if len(repeated) == 1 else 'are'} repeated"
    return f"{which}, but by the fitted law more unique text would not lower the loss."


def _first(row: Mapping[str, Any], priced: Mapping[str, Any]) -> str:
    worth = row["worth"]
    if worth is None or worth["gain"] is None:
        told = f"{_tenth(row)} would lower the loss by about {_fall(row, 0.1 * row['pool'], priced)}."
        if worth is None:
            return told
        return f"As far as these runs can tell, a longer run on the same text would not lower the loss. {told}"
    size, name = _unit(row["pool"])
    one = f"One more {name}unique token{'s' if size > 1 else ''} of {row['domain']}"
    span = _interval(worth, priced, size, _tokens)
    return f"{one} is worth what {_tokens(size * worth['gain'])} more training tokens are{span}."


def _tenth(row: Mapping[str, Any]) -> str:
    return f"10% more unique text of {row['domain']} ({_tokens(0.1 * row['pool'])} tokens)"


def _fall(row: Mapping[str, Any], size: float, priced: Mapping[str, Any]) -> str:
    return f"{digits(size * row['unique']['gain'])} nats/token{_interval(row['unique'], priced, size)}"


def _others(worth: Sequence[Mapping[str, Any]], priced: Mapping[str, Any]) -> list[str]:
    """The same amount of the next domains' text, beside the first's."""
    if len(worth) < 2:
        return []
    first, rest = worth[0], worth[1 : 1 + NAMED]
    known = all(row["worth"] and row["worth"]["gain"] is not None for row in worth)
    size, name = _unit(first["pool"]) if known else (0.1 * first["pool"], "")
    if known:
        each = [f"{_tokens(size * row['worth']['gain'])} for {row['domain']}" for row in rest]
        told = f"The same for one more {name}unique token{'s' if size > 1 else ''} of another domain: {_listed(each)}"
    else:
        each = [f"{digits(size * row['unique']['gain'])} for {row['domain']}" for row in rest]
        told = f"As many more unique tokens of another domain would lower it by {_listed(each)}"
    more = len(worth) - 1 - len(rest)
    return [told + (f", and less for {more} other{'s' if more > 1 else ''}." if more else ".")]


def _caps(priced: Mapping[str, Any]) -> list[str]:
    """What a higher cap would bring, for the cap that costs most: 10% more epochs, or 1% of the tokens."""

    def step(cap: Mapping[str, Any]) -> float:
        return 0.1 * cap["at"] if cap["setting"] == "max_epochs" else 0.01

    def gain(row: Mapping[str, Any]) -> float:
        return row["cap"]["gain"] * step(row["cap"])

    capped = sorted((row for row in priced["domains"] if row["cap"] and gain(row) > NOTHING), key=gain, reverse=True)
    if not capped:
        return []
    row = capped[0]
    cap = row["cap"]
    raised = (
        f"{cap['at'] + step(cap):.3g} in place of {cap['at']:.3g} epochs"
        if cap["setting"] == "max_epochs"
        else f"{cap['at'] + step(cap):.1%} in place of {cap['at']:.1%} of the tokens"
    )
    fall = f"{digits(gain(row))} nats/token{_interval(cap, priced, step(cap))}"
    more = len(capped) - 1
    rest = (
        ""
        if not more
        else "; that on another domain costs less"
        if more == 1
        else f"; those on {more} others cost less"
    )
    return [f"A higher cap on {row['domain']}, {raised}, would lower the loss by about {fall}{rest}."]


def _interval(value: Mapping[str, Any], priced: Mapping[str, Any], size: float, told: Any = None) -> str:
    """' (80% interval 1 to 3)'; empty without one, open above where no bound is known."""
    low, high = value["low"], value["high"]
    if low is None:
        return ""
    say = told or digits
    span = f"{say(size * low)} to {say(size * high)}" if high is not None else f"{say(size * low)} and more"
    return f" ({priced['level']:.0%} interval {span})"


def _unit(pool: float) -> tuple[float, str]:
    """An amount of text that is small beside a pool: 1e6, 'million '."""
    return next(((size, f"{name} ") for size, name in SIZES if size <= SMALL * pool), (1.0, ""))


def _tokens(count: float) -> str:
    """3100000 as '3.1 million', to two digits."""
    for size, name in SIZES:
        if abs(count) >= 0.995 * size:
            return f"{digits(count / size)} {name}"
    return digits(count)


def digits(value: float) -> str:
    """Two digits that count, without an exponent where one can read it."""
    rounded = float(f"{value:.2g}")
    if abs(rounded) >= 1 or rounded == 0:
        return f"{rounded:g}"
    return f"{rounded:.7f}".rstrip("0") if abs(rounded) >= 1e-5 else f"{rounded:.0e}"


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
