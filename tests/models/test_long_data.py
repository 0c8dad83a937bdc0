"""Training on memory-mapped data that do not fit into memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits data apart from files")
@pytest.mark.parametrize("model", ["capsules", "autoencoder"])
def test_a_model_trains_on_more_than_it_may_hold(model, tmp_path):
    script = Path(__file__).with_name("long_data.py")
    threads = {"OPENBLAS_NUM_THREADS": "1", "CAPSNP_NUM_THREADS": "2"}
    result = subprocess.run(
        [sys.executable, script, model, tmp_path / "rows.npy", "150"],
        capture_output=True,
        text=True,
        env=os.environ | threads,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert int(first.split()[2]) > 390e6
    assert second == "they do not fit"
