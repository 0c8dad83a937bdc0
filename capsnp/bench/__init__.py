"""capsnp beside what people would use instead, on the same data with the same result.

`plan` says what is to be measured, `run` measures it; ``capsnp bench`` shows it as tables.
"""

from capsnp.bench.check import BASELINE, Change, change_table, compare, read_baseline
from capsnp.bench.report import page, tables
from capsnp.bench.running import PARTNERS, WORKS, Plan, Results, plan, run

__all__ = [
    "BASELINE",
    "PARTNERS",
    "WORKS",
    "Change",
    "Plan",
    "Results",
    "change_table",
    "compare",
    "page",
    "plan",
    "read_baseline",
    "run",
    "tables",
]
