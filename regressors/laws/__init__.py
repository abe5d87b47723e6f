"""Laws of the mixture as data, by name in `LAWS`. Coefficients may not be identifiable: compare predictions."""

from regressors.laws.additive import ADDITIVE_OFFSET, ADDITIVE_OFFSET_FACTOR, ADDITIVE_POWER, ADDITIVE_POWER_FACTOR
from regressors.laws.effective import EFFECTIVE_DATA, EFFECTIVE_DATA_2, make_effective_data
from regressors.laws.epochs import EPOCH_AWARE
from regressors.laws.mixing import AUTOSCALE, BIMIX, EXPONENTIAL, LOG_LINEAR

__all__ = [
    "ADDITIVE_OFFSET",
    "ADDITIVE_OFFSET_FACTOR",
    "ADDITIVE_POWER",
    "ADDITIVE_POWER_FACTOR",
    "AUTOSCALE",
    "BIMIX",
    "EFFECTIVE_DATA",
    "EFFECTIVE_DATA_2",
    "EPOCH_AWARE",
    "EXPONENTIAL",
    "LAWS",
    "LOG_LINEAR",
    "make_effective_data",
]

LAWS = {
    law.name: law
    for law in (
        EXPONENTIAL,
        LOG_LINEAR,
        BIMIX,
        AUTOSCALE,
        ADDITIVE_POWER,
        ADDITIVE_OFFSET,
        ADDITIVE_POWER_FACTOR,
        ADDITIVE_OFFSET_FACTOR,
        EPOCH_AWARE,
        EFFECTIVE_DATA,
        EFFECTIVE_DATA_2,
    )
}
