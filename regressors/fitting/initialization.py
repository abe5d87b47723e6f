"""Starting points: random draws, or variable projection over a grid of shape parameters.

Draws come from the priors. For a law whose loss is linear in all but a few shape parameters there is variable
projection (Golub & Pereyra 1973): shapes are laid out on a grid, and each point gets the amplitudes that fit best, in
closed form. Amplitudes must not be negative, so every set of them that may be above 0 is tried. A law that isn't linear
may name another one that is, and start where that one's grid is best.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np

from regressors.fitting.posterior import Posterior
from regressors.fitting.transforms import Space
from regressors.law import Array, Law, Values

MAX_AMPLITUDES = 6  # 63 sets of them
POINTS = {1: 60, 2: 12, 3: 7, 4: 5, 5: 4}  # a side of the grid, by the number of shapes
MIN_AMPLITUDE = 1e-4  # of the mean loss: an amplitude that fits best at 0 starts here, as its log has no 0


def has_grid(law: Law) -> bool:
    """Whether the law, or the one that it starts from, has nothing but gridded shapes and a few amplitudes."""
    if law.starts_from is not None:
        return has_grid(law.starts_from[0])
    shapes = [p for p in law.params if p.grid is not None]
    amplitudes = [p for p in law.params if p.amplitude]
    whole = all(not p.per_domain and p.copies is None for p in law.params)
    known = len(shapes) + len(amplitudes) == len(law.params)
    return whole and known and len(shapes) in POINTS and len(amplitudes) <= MAX_AMPLITUDES


def random_starts(posterior: Posterior, n_starts: int, rng: np.random.Generator) -> Array:
    """Vectors from half the priors' width, the same for all targets: (n_starts, n_params)."""
    return 0.5 * rng.standard_normal((n_starts, posterior.space.size))


def grid_starts(posterior: Posterior, n_starts: int) -> Array:
    """The grid's best points, best first: (n_starts, n_targets, n_params)."""
    if posterior.law.starts_from is not None:
        return grid_starts_by(*posterior.law.starts_from, posterior, n_starts)
    law, space, targets = posterior.law, posterior.space, np.arange(len(posterior.noise))
    shapes = grid_of(law)
    points = len(next(iter(shapes.values())))
    names = [p.name for p in law.params if p.amplitude]
    best = np.zeros((points, len(targets), 0))
    if names:
        basis, fixed = basis_at(posterior, shapes, names), fixed_at(posterior, shapes, names)
        best = amplitudes_at(posterior, basis, fixed)  # (points, n_targets, n_amplitudes)
    y = np.exp(posterior.rows.y) if posterior.criterion.log else posterior.rows.y
    floor = MIN_AMPLITUDE * np.abs(y).mean(axis=1)[None, :, None]
    best = np.maximum(best, floor)
    target = np.tile(targets, points)
    values = {name: np.repeat(shape, len(targets)) for name, shape in shapes.items()}
    values |= {name: best[:, :, k].reshape(-1) for k, name in enumerate(names)}
    z = space.z_of(values, target)
    objective = posterior.objective(z, target).reshape(points, len(targets))
    order = objective.argsort(axis=0, kind="stable")[:n_starts]
    return z.reshape(points, len(targets), -1)[order, targets]


def grid_starts_by(
    law: Law, convert: Callable[[Values], dict[str, Array]], posterior: Posterior, n_starts: int
) -> Array:
    """Starts where another law's grid is best, in terms of the posterior's own: (n_starts, n_targets, n_params)."""
    rows, space = posterior.rows, posterior.space
    plain = replace(rows, y=np.exp(rows.y)) if posterior.criterion.log else rows
    other = Posterior(law, plain, Space(law, space.scale), posterior.criterion, spread=posterior.spread)
    z = grid_starts(other, n_starts)
    target = np.tile(np.arange(len(posterior.noise)), len(z))
    return space.z_of(convert(other.space.values(z.reshape(len(target), -1), target)), target).reshape(*z.shape[:2], -1)


def grid_of(law: Law) -> dict[str, Array]:
    """Shape parameters at every point of their grid, even in logs: name -> (points,)."""
    shapes = [p for p in law.params if p.grid is not None]
    sides = [np.geomspace(*p.grid, POINTS[len(shapes)]) for p in shapes if p.grid is not None]
    mesh = np.meshgrid(*sides, indexing="ij")
    return {p.name: side.ravel() for p, side in zip(shapes, mesh, strict=True)}


def fixed_at(posterior: Posterior, shapes: dict[str, Array], names: list[str]) -> Array:
    """The loss with all amplitudes at 0, (points, n_runs): what frozen ones add."""
    none = {name: np.zeros(len(next(iter(shapes.values())))) for name in names}
    return posterior.law.formula(*posterior.rows.inputs, **shapes, **none)


def basis_at(posterior: Posterior, shapes: dict[str, Array], names: list[str]) -> Array:
    """The loss that each amplitude adds at 1: (points, n_runs, n_amplitudes)."""
    points = len(next(iter(shapes.values())))
    alone, fixed = [], fixed_at(posterior, shapes, names)
    for name in names:
        amplitudes = {other: np.full(points, float(other == name)) for other in names}
        alone.append(posterior.law.formula(*posterior.rows.inputs, **shapes, **amplitudes) - fixed)
    return np.stack(alone, axis=-1)


def amplitudes_at(posterior: Posterior, basis: Array, fixed: Array | None = None) -> Array:
    """Non-negative least squares in closed form at every point of the grid: (points, n_targets, n_amplitudes).

    fixed: (points, n_runs), the loss without any of them; None: 0. On log losses rows count by their relative error,
    which is the same to first order.
    """
    rows = posterior.rows
    y = np.exp(rows.y) if posterior.criterion.log else rows.y
    weight = rows.weight / y**2 if posterior.criterion.log else rows.weight
    products = (basis[..., :, None] * basis[..., None, :]).reshape(*basis.shape[:2], -1)
    count = basis.shape[2]
    normal = np.matmul(weight[None], products).reshape(len(basis), len(y), count, count)
    pull = np.matmul((weight * y)[None], basis)
    if fixed is not None:
        pull = pull - np.matmul(weight[None] * fixed[:, None], basis)
    best = np.zeros(pull.shape)
    lowest = np.zeros(pull.shape[:2])
    for chosen in (list(c) for size in range(1, count + 1) for c in combinations(range(count), size)):
        part = normal[..., chosen, :][..., chosen]
        ridge = 1e-12 * np.trace(part, axis1=-2, axis2=-1)[..., None, None] * np.eye(len(chosen))
        found = np.linalg.solve(part + ridge + np.finfo(float).tiny * np.eye(len(chosen)), pull[..., chosen, None])[
            ..., 0
        ]
        gain = -0.5 * (found * pull[..., chosen]).sum(axis=-1)
        better = (found >= 0).all(axis=-1) & (gain < lowest)
        lowest = np.where(better, gain, lowest)
        whole = np.zeros(pull.shape)
        whole[..., chosen] = found
        best = np.where(better[..., None], whole, best)
    return best
