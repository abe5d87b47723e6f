"""Counts of tokens, parameters and FLOPs as people write them."""

import re
from typing import Any

SUFFIXES = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


def parse_count(value: Any) -> Any:
    """20B, 300M, 800K, 1e9 or a plain number as a float; anything else is left for pydantic to refuse."""
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([KMBT])\s*", value, re.IGNORECASE)
        if match:
            return float(match[1].replace("_", "")) * SUFFIXES[match[2].upper()]
        raise ValueError(f"{value!r} is not a count: write a number such as 1e9, or with a suffix K, M, B or T")
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value
