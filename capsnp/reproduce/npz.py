"""Images in NPZ files."""

from io import BytesIO
from pathlib import Path

import numpy as np

from capsnp.training import write_atomic


def write_npz(path: Path, images: np.ndarray) -> None:
    """Write images as ``images`` of float32, (N, H, W, C), in an NPZ file, whole or not at all."""
    buffer = BytesIO()
    np.savez_compressed(buffer, images=np.clip(images, 0.0, 1.0).astype(np.float32))
    write_atomic(path, buffer.getvalue())
