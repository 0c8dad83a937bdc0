"""Fixtures of the tests of whole runs."""

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Small products are quicker on one thread, and much quicker on a machine that is busy."""
    with threadpool_limits(1, "blas"):
        yield
