"""The peak of a process against an array of a known size."""

import sys

import numpy as np
import pytest

from capsnp.bench.memory import peak, start_peak


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets the peak be counted anew")
def test_peak_counts_what_came_and_went():
    np.ones(30_000_000)  # an older, higher peak
    before = start_peak()
    np.ones(10_000_000)
    taken = peak() - before
    assert 80_000_000 <= taken + 4_000_000 <= 110_000_000
