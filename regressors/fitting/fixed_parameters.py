"""Laws with fixed parameters: the others are fitted, as in the two-stage fits of papers."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from regressors.law import Array, Law, Values


def freeze(law: Law, frozen: Mapping[str, float], units: Mapping[str, float]) -> Law:
    """The law in its other parameters alone.

    frozen: values as the source writes them, amplitudes at inputs of 1. units: what the fit divides the inputs by;
    what an amplitude is there may hang on an exponent that is still fitted. The law's `published` gives all values.
    Raises ValueError for a name that the law doesn't have, a value outside its bounds, or no parameter left.
    """
    if not frozen:
        return law
    names = [p.name for p in law.params]
    if unknown := sorted(set(frozen) - set(names)):
        raise ValueError(f"the law {law.name} has no parameter {', '.join(unknown)} to freeze: {', '.join(names)}")
    for param in law.params:
        value = frozen.get(param.name, np.nan)
        low, high = (-np.inf if param.low is None else param.low), (np.inf if param.high is None else param.high)
        if param.name in frozen and not low < value < high:
            raise ValueError(f"frozen {param.name} = {value}: it must lie above {low} and below {high}")
    left = tuple(p for p in law.params if p.name not in frozen)
    if law.starts_from is not None:  # not linear in its amplitudes, so a grid holds only where none of them is left
        left = tuple(replace(p, amplitude=False) for p in left)
    if not left:
        raise ValueError(f"all parameters of {law.name} are frozen: there is nothing to fit")
    back = {name: 1 / unit for name, unit in units.items()}

    def full(values: Values) -> dict[str, Array]:
        """All values at the fit's units."""
        like = next(iter(values.values()))
        natural = {name: np.full(like.shape, float(value)) for name, value in frozen.items()}
        every = dict(values) | natural
        moved = law.published(every, back) if law.published else every
        return dict(values) | {name: moved[name] for name in natural}

    def formula(*inputs: Array, **values: Array) -> Array:
        return law.formula(*inputs, **full(values))

    def published(values: Values, units: Mapping[str, float]) -> dict[str, Array]:
        return law.published(full(values), units) if law.published else full(values)

    return replace(law, formula=formula, jacobian=None, published=published, params=left, starts_from=None)
