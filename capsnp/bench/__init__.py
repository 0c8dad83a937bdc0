"""capsnp beside what people would use instead, on the same data with the same result.

`plan` says what is to be measured, `run` measures it; ``capsnp bench`` shows it as tables.
"""

from capsnp.bench.report import tables
from capsnp.bench.running import PARTNERS, WORKS, Plan, Results, plan, run

__all__ = ["PARTNERS", "WORKS", "Plan", "Results", "plan", "run", "tables"]
