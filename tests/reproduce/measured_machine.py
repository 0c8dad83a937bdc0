"""What a run of a machine holds in memory: prints the peak that was measured and what was told.

``measured_machine.py FOLDER IMAGES.npy NAME=VALUE ...``
"""

import json
import sys
from pathlib import Path

from measured import Peak

from capsnp.reproduce import machine_figures, resolve, train_machine
from capsnp.reproduce.given import parse_assignments
from capsnp.reproduce.machine_memory import memory_of_machine
from capsnp.reproduce.pipeline import Data

machine_figures.STEPS = (0, 1, 2)

if __name__ == "__main__":
    folder, images, *assignments = sys.argv[1:]
    settings = resolve({"model": "rbm", "data": images}, parse_assignments(assignments))
    with Peak() as peak:
        train_machine(Path(folder), settings.values, quiet=True, say=lambda _: None)
    told = memory_of_machine(settings, *Data(settings).sizes)
    print(json.dumps({"measured": peak.bytes, "told": sum(told.values())}))
