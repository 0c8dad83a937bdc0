"""Settings of networks that take a second, and data that they can learn."""

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

TINY = {
    "capsnet.filters": 6,
    "capsnet.primary_channels": 3,
    "capsnet.primary_dim": 4,
    "capsnet.capsule_dim": 4,
    "capsnet.kernel": 3,
    "capsnet.augment": 0,
    "capsnet.batch_size": 10,
    "capsnet.n_iter": 2,
    "capsnet.learning_rate": 0.01,
    "capsnet.decoder_hidden": [8, 8],
}


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    with threadpool_limits(1, "blas"):
        yield


@pytest.fixture(scope="session")
def bars(tmp_path_factory):
    """Bars across and upright with some noise, 10 × 10, as a file: what a tiny network learns."""
    rng = np.random.default_rng(5)
    labels = np.arange(150) % 3
    images = 0.1 * rng.random((150, 10, 10))
    images[labels == 0, 4:6, 1:9] = 1.0
    images[labels == 1, 1:9, 4:6] = 1.0
    images[labels == 2, 3:7, 3:7] = 1.0
    path = tmp_path_factory.mktemp("bars") / "bars.npz"
    np.savez(path, images=images.astype("float32"), labels=labels)
    return path


@pytest.fixture(scope="session")
def tiny(bars):
    """Settings by dotted names."""
    return TINY | {"data": str(bars), "test_images": 30}
