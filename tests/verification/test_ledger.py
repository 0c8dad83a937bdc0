"""Each row of the ledger is a test by its name, on every array library in both dtypes."""

import pytest

from capsnp.verification import Lab, examine, ledger

CLAIMS = {claim.name: claim for claim in ledger()}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CLAIMS)
def test_claim(name, dtype, library):
    if library.name == "numpy-read-only":
        pytest.skip("the ledger runs on writeable arrays; read-only ones have tests of their own")
    if library.name == "jax" and dtype == "float32":
        pytest.skip("JAX compiles every shape again, for minutes: capsnp verify --everywhere")
    with library.backend.holding(dtype):
        result = examine(CLAIMS[name], Lab(library.backend, dtype, 0, name))
    if result.status == "not run":
        pytest.skip(result.reason)
    assert result.status != "fails", f"{result.equation} {result.claim}: {result.reason}"
    assert result.cases > 0
