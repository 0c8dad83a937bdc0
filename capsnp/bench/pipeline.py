"""Wall times of the stages of ``capsnp reproduce``."""

import json
import tempfile
from pathlib import Path

from capsnp.bench.sizes import Sizes
from capsnp.reproduce import finish, open_run


def stage_seconds(sizes: Sizes, *, dtype: str, backend: str) -> dict[str, float]:
    """Seconds of each stage of a run on the digits, made in a folder that is removed again.

    Parameters
    ----------
    sizes : Sizes
        Whose ``pipeline`` holds the run's settings.
    dtype, backend : str

    Returns
    -------
    dict of str to float
    """
    settings = {"data": "digits", "dtype": dtype, "backend": backend} | dict(sizes.pipeline)
    with tempfile.TemporaryDirectory() as parent:
        folder = Path(parent) / "run"
        finish(open_run(folder, settings, quiet=True, say=lambda _: None))
        return json.loads((folder / "seconds.json").read_text("utf-8"))
