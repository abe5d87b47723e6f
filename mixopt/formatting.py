"""Numbers as text and text as numbers: counts, percentages, losses, epochs, FLOPs, intervals and lists of names."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import floor, isfinite, log10
from typing import Any, TypeGuard

SUFFIXES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def parse_count(value: Any) -> Any:
    """20B, 300M, 800K, 1e9, 350,000,000 or a plain number as a float; anything else is left for pydantic to refuse."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([KMBT])\s*", value, re.IGNORECASE)
        if match:
            return float(match[1].replace("_", "")) * SUFFIXES[match[2].upper()]
        if re.fullmatch(r"\s*[1-9][0-9]{0,2}(,[0-9]{3})+\s*", value):  # 350,000,000
            return float(value.replace(",", ""))
        raise ValueError(f"{value!r} is not a count: write a number such as 1e9, or with a suffix K, M, B or T")
    if not isinstance(value, int) or isinstance(value, bool):
        return value
    return float(value) if abs(value) < 1 << 1000 else math.inf if value > 0 else -math.inf


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


def percent(value: Any) -> str:
    """A share of training tokens as a percentage."""
    if not known(value):
        return UNKNOWN
    if 0 < value < 0.001:
        return "<0.1%"
    if value == 0:
        return "0%"
    return f"{100 * value:.0f}%" if value >= 0.0995 else f"{100 * value:.1f}%"


def percent_cell(value: Any) -> str:
    """A share for a column of shares: one decimal throughout."""
    if not known(value):
        return UNKNOWN
    return "<0.1%" if 0 < value < 0.0005 else f"{100 * value:.1f}%"


def count_text(value: Any) -> str:
    """A count of tokens, parameters, bytes or documents to three digits: '1.23M', '140B'."""
    if not known(value):
        return UNKNOWN
    if abs(value) < 1000:
        return f"{value:.0f}"
    for limit, scale, unit in ((999.5e3, 1e3, "K"), (999.5e6, 1e6, "M"), (999.5e9, 1e9, "B")):
        if abs(value) < limit:
            return f"{value / scale:.3g}{unit}"
    return f"{value / 1e12:.3g}T"


def bytes_text(value: Any) -> str:
    """Bytes in decimal units: '3.20 MB'."""
    if not known(value):
        return UNKNOWN
    for scale, unit in ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "KB")):
        if abs(value) >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value:.0f} B"


def epochs_text(value: Any) -> str:
    """Epochs over a domain."""
    if not known(value):
        return UNKNOWN
    if 0 < value < 0.01:
        return "<0.01"
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"


def duration(seconds: float) -> str:
    """'40 s', '12 minutes', '3.5 hours'."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.2g} hours"


def counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}{'es' if noun.endswith('s') else 's'}"


def listed(parts: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1] if parts else ""


def mixture(shares: Mapping[str, float], named: int = NAMED) -> str:
    """'31% medical, 24% legal and 8% in 3 others', largest first; domains without a share are left out."""
    ranked = sorted(((w, d) for d, w in shares.items() if known(w) and w > 0), key=lambda pair: (-pair[0], pair[1]))
    cut = len(ranked) if len(ranked) <= named + 1 else named
    parts = [f"{percent(w)} {d}" for w, d in ranked[:cut]]
    if ranked[cut:]:
        parts.append(f"{percent(sum(w for w, _ in ranked[cut:]))} in {len(ranked) - cut} others")
    return listed(parts)


def scale(of: Mapping[str, object]) -> str:
    """'7B parameters and 140B tokens', with whichever of the two is known; empty when neither is."""
    parts = [f"{count_text(of[key])} {word}" for key, word in SIZES if known(of.get(key))]
    return listed(parts)


SIZES = (("params", "parameters"), ("tokens", "tokens"))


def mean(values: Iterable[Any]) -> float | None:
    """Mean of the known values; None when there are none."""
    finite = [value for value in values if known(value)]
    return sum(finite) / len(finite) if finite else None


def format_target(target: Mapping[str, float], most: int = 4) -> str:
    """'x', '0.7 x + 0.3 y' or 'the mean of 13 losses'."""
    if len(target) == 1:
        return next(iter(target))
    if len(target) > most and max(target.values()) - min(target.values()) < 1e-9:
        return f"the mean of {len(target)} losses"
    parts = [f"{weight:.3g} {name}" for name, weight in target.items()]
    return " + ".join(parts if len(parts) <= most else [*parts[: most - 1], f"{len(parts) - most + 1} more"])


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def comma_list(names: Sequence[object], most: int = 8) -> str:
    """The first names, and how many more."""
    more = len(names) - most
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {more} more" if more > 0 else "")


FOREVER = 1000.0  # epochs; more are shown as so many


def epochs_or_never(value: float | None) -> str:
    """Epochs; very many are shown as such."""
    return "never" if value is None else f">{FOREVER:.0f}" if value > FOREVER else epochs_text(value)


def flops(value: Any) -> str:
    return f"{value:.2e}".replace("e+", "e") if known(value) else UNKNOWN


def interval(ends: Sequence[float] | None, text: Callable[[Any], str]) -> str:
    """An interval, or nothing where none is known."""
    return "" if ends is None else f"{text(ends[0])} to {text(ends[1])}"


def as_number(text: object) -> float | None:
    """A number, with a suffix K, M, B or T if need be; None for other text."""
    try:
        value = parse_count(text)
    except ValueError:
        value = None
    return value if isinstance(value, float) else to_float(text)


def value_counts(values: Sequence[object], most: int = 6) -> str:
    """'122M (654 rows) and 310M (654 rows)': the different values in their own order, with how often each stands."""
    counts: dict[object, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    numbers = {value: number for value in counts if (number := as_number(value)) is not None}
    ordered = sorted(counts, key=numbers.__getitem__) if len(numbers) == len(counts) else list(counts)
    shown = ordered if len(ordered) <= most else [*ordered[: most - 2], ordered[-1]]
    parts = [f"{exact_count(value)} ({counts[value]} row{'s' if counts[value] > 1 else ''})" for value in shown]
    if len(shown) < len(ordered):
        parts[-1:] = [f"{len(ordered) - len(shown)} more", f"up to {parts[-1]}"]
    return ", ".join(parts)


def exact_count(value: object) -> str:
    """122000000.0 as 122M and 1998000000 as 1.998B; text, and numbers of many digits, as they are."""
    number = to_float(value)
    if number is None or not isfinite(number):
        return str(value)
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(number) >= size:
            scaled = f"{number / size:.10g}"
            return f"{scaled}{letter}" if len(scaled) <= 10 else f"{number:.12g}"
    return f"{number:.12g}"


def did_you_mean(name: str, names: Iterable[str], *, otherwise: str = "") -> str:
    """How to fix a name that isn't there: those like it, or else what to choose from, by default the first names."""
    names = list(names)
    plain = {one: re.sub(r"[^0-9a-z]", "", one.lower()) for one in names}
    wanted = re.sub(r"[^0-9a-z]", "", name.lower())
    near = [one for one in names if wanted and wanted in plain[one]]
    for alike in difflib.get_close_matches(wanted, plain.values(), n=2):
        near += [one for one in names if plain[one] == alike]
    near = list(dict.fromkeys(near))[:3]
    return f"did you mean {' or '.join(map(repr, near))}?" if near else otherwise or f"choose from {comma_list(names)}"


def comma_separated(text: str) -> list[str]:
    r"""a, b and c of 'a, b,c', empty ones left out. \, is a comma within a name."""
    return [part for each in re.split(r"(?<!\\),", text) if (part := each.strip().replace("\\,", ","))]


def name_and_value(text: str) -> tuple[str | None, str]:
    r"""name and value of 'name=value', None and the text where there is no =. \= is one within the name or text."""
    *name, value = (part.strip().replace("\\=", "=") for part in re.split(r"(?<!\\)=", text, maxsplit=1))
    return (name[0] if name else None), value


def is_empty(cell: object) -> bool:
    """Whether a cell of a table is missing or NaN."""
    return cell is None or (isinstance(cell, float) and math.isnan(cell))


def to_float(cell: object) -> float | None:
    """The number in a cell, exactly; NaN for an empty one, None for text, and for true and false."""
    if is_empty(cell):
        return math.nan
    if type(cell).__name__ in ("bool", "bool_"):  # Python's and NumPy's
        return None
    try:
        return float(cell)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError):
        return None


def number_advice(cell: object) -> str:
    """How to write what is no number as one."""
    text = str(cell).strip()
    if text.endswith("%") and (value := to_float(text[:-1])) is not None:
        return f"write {value / 100:.10g} without a percent sign"
    if re.fullmatch(r"[+-]?\d{1,3}(,\d{3})+\.\d+", text):
        return f"write {text.replace(',', '')}, without commas"
    return "write one with a decimal point" if re.search(r"\d", text) else "write one, or leave the cell empty"


def count_advice(cell: object, otherwise: str = "write one such as 70M or 1e9") -> str:
    """How to write what is no count as one: 20B for 20BT."""
    units = r"\s*(t|toks?|tokens?|params?|parameters?|flops?)"
    match = re.fullmatch(rf"\s*([0-9.]+)\s*([kmbt]?){units}\s*", str(cell), re.IGNORECASE)
    written = match and match[1] + match[2].upper()
    return f"write {written}" if written and as_number(written) is not None else otherwise


MIN_SHARE = 5e-4  # a share that prints as 0.0%


def two_digits(value: float) -> str:
    """Two digits that count, without an exponent where one can read it."""
    rounded = float(f"{value:.2g}")
    if abs(rounded) >= 1 or rounded == 0:
        return f"{rounded:g}"
    return f"{rounded:.7f}".rstrip("0") if abs(rounded) >= 1e-5 else f"{rounded:.0e}"
