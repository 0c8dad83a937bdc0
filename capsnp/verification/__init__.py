"""Every equation of the papers checked against another way to the same number.

`verify` checks the claims of the ledger and says of each whether it holds; ``capsnp verify`` shows
them as a table.
"""

from capsnp.verification.bias import GradientBias, gradient_bias
from capsnp.verification.decomposition import (
    GradientDecomposition,
    decompose_gradient,
    decompose_training,
)
from capsnp.verification.exact import Balls, ExactCapsules
from capsnp.verification.lab import Lab, NotRun
from capsnp.verification.ledger import Check, Checks, Claim, claim, ledger
from capsnp.verification.running import (
    Result,
    examine,
    select,
    summary,
    table_of,
    table_of_backends,
    to_json,
    verify,
    write_report,
)
from capsnp.verification.stationarity import Stationarity, check_stationarity

__all__ = [
    "Balls",
    "Check",
    "Checks",
    "Claim",
    "ExactCapsules",
    "GradientBias",
    "GradientDecomposition",
    "Lab",
    "NotRun",
    "Result",
    "Stationarity",
    "check_stationarity",
    "claim",
    "decompose_gradient",
    "decompose_training",
    "examine",
    "gradient_bias",
    "ledger",
    "select",
    "summary",
    "table_of",
    "table_of_backends",
    "to_json",
    "verify",
    "write_report",
]
