"""Training: the loop, optimisers, and runs that survive."""

from capsnp.training.checkpoint import Contents, read_checkpoint, write_checkpoint
from capsnp.training.files import write_atomic
from capsnp.training.loop import Observer, Training, batch_indices, tracking, train
from capsnp.training.optimisers import Adam, Momentum
from capsnp.training.progress import Progress, track
from capsnp.training.recording import Checkpoints, MetricsLog, record
from capsnp.training.run import RunFolder, Saved
from capsnp.training.sharing import Share
from capsnp.training.watchdog import Watchdog

__all__ = [
    "Adam",
    "Checkpoints",
    "Contents",
    "MetricsLog",
    "Momentum",
    "Observer",
    "Progress",
    "RunFolder",
    "Saved",
    "Share",
    "Training",
    "Watchdog",
    "batch_indices",
    "read_checkpoint",
    "record",
    "track",
    "tracking",
    "train",
    "write_atomic",
    "write_checkpoint",
]
