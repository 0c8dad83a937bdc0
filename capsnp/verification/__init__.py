"""Every equation of the papers checked against another way to the same number.

`verify` checks the claims of the ledger and says of each whether it holds; ``capsnp verify`` shows
them as a table.
"""

from capsnp.verification.exact import Balls, ExactCapsules
from capsnp.verification.lab import Lab, NotRun
from capsnp.verification.ledger import Check, Checks, Claim, claim, ledger
from capsnp.verification.running import (
    Result,
    examine,
    select,
    summary,
    table_of,
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
    "Lab",
    "NotRun",
    "Result",
    "Stationarity",
    "check_stationarity",
    "claim",
    "examine",
    "ledger",
    "select",
    "summary",
    "table_of",
    "to_json",
    "verify",
    "write_report",
]
