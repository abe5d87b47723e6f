"""Published constants of scaling laws, with the source of each: losses without any runs.

They hold for the data, the models and the recipe that they were fitted to; elsewhere they tell of proportions at best.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import exp

import numpy as np

from regressors.law import Array, Law
from regressors.laws.repetition import COUNTS, DATA_CONSTRAINED
from regressors.laws.scaling import CHINCHILLA


@dataclass(frozen=True)
class Preset:
    """A law with the values that its authors published, for counts of parameters and tokens as they are."""

    name: str
    law: Law
    values: Mapping[str, float]  # amplitudes at one parameter and one token
    source: str
    note: str  # what they were fitted to

    def loss(self, params: Array | float, tokens: Array | float, unique: Array | float | None = None) -> Array:
        """Nats/token, in the common shape of the counts, each above 0, real or complex.

        unique: unique tokens among the training tokens; None, or more than those: nothing is repeated. A law that
        knows nothing of repetition takes repeated tokens for new ones.
        """
        unique = tokens if unique is None else unique
        given = np.broadcast_arrays(params, tokens, unique)
        flat = {name: a.ravel() for name, a in zip(COUNTS, given, strict=True)}
        values = {name: np.asarray(value) for name, value in self.values.items()}
        return self.law.formula(*(flat[name] for name in self.law.inputs), **values).reshape(given[0].shape)


PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="data-constrained",
            law=DATA_CONSTRAINED,
            values={
                "E": exp(0.6254804),
                "A": exp(6.255414),
                "B": exp(7.3049974),
                "alpha": 0.3526596,
                "beta": 0.3526596,
                "r_star_d": 15.387756,
                "r_star_n": 5.309743,
            },
            source="Muennighoff et al. 2023, arXiv:2305.16264, with the digits of the authors' code",
            note="C4, 7M to 8.7B parameters, at least 100M unique tokens: E, A, B and the exponent from single-epoch "
            "runs, then both R* from 182 runs, with those left out whose loss rose as text was repeated",
        ),
        Preset(
            name="chinchilla",
            law=CHINCHILLA,
            values={"E": 1.81722, "A": 477.83, "B": 2143.4, "alpha": 0.34731, "beta": 0.36717},
            source="the lowest point of the objective of Besiroglu et al. 2024, arXiv:2404.10102, on their rows",
            note="240 of Hoffmann et al.'s runs on MassiveText, 44M to 16B parameters, read off a figure; all tokens "
            "new. Their paper prints E 1.8172, A 482.01, B 2085.43, alpha .3478, beta .3658: losses .001 higher",
        ),
        Preset(
            name="chinchilla-2022",
            law=CHINCHILLA,
            values={"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
            source="Hoffmann et al. 2022, arXiv:2203.15556, appendix D.3",
            note="over 400 runs on MassiveText, 44M to 16B parameters; Besiroglu et al. 2024, arXiv:2404.10102, found "
            "the fit unfinished and its digits too few",
        ),
    )
}
