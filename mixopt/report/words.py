"""Numbers and sentences as a reader says them."""

from collections.abc import Iterable, Mapping, Sequence
from math import floor, isfinite, log10
from typing import Any, TypeGuard

UNKNOWN = "–"
NAMED = 6  # domains named in a sentence before the others are summed up


def known(value: Any) -> TypeGuard[float]:
    """Whether the value is a finite number (a missing one is None or NaN)."""
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def loss(value: Any, digits: int = 3) -> str:
    """Nats/token with a fixed number of decimals."""
    return f"{value:.{digits}f}" if known(value) else UNKNOWN


def digits_for(width: Any) -> int:
    """Decimals that show an interval of this width (nats/token) with two digits; 3 when it is unknown."""
    if not known(width) or width <= 0:
        return 3
    return min(4, max(2, 1 - floor(log10(width))))


def signed(value: Any, digits: int = 3) -> str:
    """A difference with its sign, a true minus for a negative one."""
    if not known(value):
        return UNKNOWN
    text = f"{abs(value):.{digits}f}"
    if float(text) == 0:
        return text
    return ("−" if value < 0 else "+") + text


def against(value: Any, other: Any, digits: int = 3) -> str:
    """How far a loss is from another one: '0.21 below', '0.02 above' or 'level with'."""
    gap = f"{abs(value - other):.{digits}f}"
    if float(gap) == 0:
        return "level with"
    return f"{gap} below" if value < other else f"{gap} above"


def share(value: Any) -> str:
    """A share of training tokens as a percentage."""
    if not known(value):
        return UNKNOWN
    if 0 < value < 0.001:
        return "<0.1%"
    if value == 0:
        return "0%"
    return f"{100 * value:.0f}%" if value >= 0.0995 else f"{100 * value:.1f}%"


def share_cell(value: Any) -> str:
    """A share for a column of shares: one decimal throughout."""
    if not known(value):
        return UNKNOWN
    return "<0.1%" if 0 < value < 0.0005 else f"{100 * value:.1f}%"


def amount(value: Any) -> str:
    """A count of tokens, parameters, bytes or documents to three digits: '1.23M', '140B'."""
    if not known(value):
        return UNKNOWN
    if abs(value) < 1000:
        return f"{value:.0f}"
    for limit, scale, unit in ((999.5e3, 1e3, "K"), (999.5e6, 1e6, "M"), (999.5e9, 1e9, "B")):
        if abs(value) < limit:
            return f"{value / scale:.3g}{unit}"
    return f"{value / 1e12:.3g}T"


def size(value: Any) -> str:
    """Bytes in decimal units: '3.20 MB'."""
    if not known(value):
        return UNKNOWN
    for scale, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f} B"


def passes(value: Any) -> str:
    """Epochs over a domain."""
    if not known(value):
        return UNKNOWN
    if 0 < value < 0.01:
        return "<0.01"
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(parts: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1] if parts else ""


def mixture(shares: Mapping[str, float], named: int = NAMED) -> str:
    """'31% medical, 24% legal and 8% in 3 others', largest first; domains without a share are left out."""
    ranked = sorted(((w, d) for d, w in shares.items() if known(w) and w > 0), key=lambda pair: (-pair[0], pair[1]))
    cut = len(ranked) if len(ranked) <= named + 1 else named
    parts = [f"{share(w)} {d}" for w, d in ranked[:cut]]
    if ranked[cut:]:
        parts.append(f"{share(sum(w for w, _ in ranked[cut:]))} in {len(ranked) - cut} others")
    return listed(parts)


def scale(of: Mapping[str, Any]) -> str:
    """'7B parameters and 140B tokens', with whichever of the two is known; empty when neither is."""
    parts = [f"{amount(of[key])} {word}" for key, word in SIZES if known(of.get(key))]
    return listed(parts)


SIZES = (("params", "parameters"), ("tokens", "tokens"))


def mean(values: Iterable[Any]) -> float | None:
    """Mean of the known values; None when there are none."""
    finite = [value for value in values if known(value)]
    return sum(finite) / len(finite) if finite else None
