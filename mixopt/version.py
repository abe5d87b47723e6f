"""The version of mixopt, and of everything that decides the numbers of a fit."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

__version__ = "0.1.0"


def versions() -> dict[str, str]:
    """Of everything that decides a fit's numbers."""
    found = {"mixopt": __version__}
    for name in ("numpy", "scipy", "scikit-learn", "lightgbm"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
