"""The laws, as data: `LAWS` by name. Coefficients are not always identifiable: compare predictions, never these."""

from regressors.laws.effective import EFFECTIVE_DATA, make_effective_data
from regressors.laws.mixing import EXPONENTIAL

__all__ = ["EFFECTIVE_DATA", "EXPONENTIAL", "LAWS", "make_effective_data"]

LAWS = {law.name: law for law in (EXPONENTIAL, EFFECTIVE_DATA)}
