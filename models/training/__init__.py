"""Training segmentation networks on simulated and real pairs."""

from models.training.loop import train
from models.training.options import TrainOptions, read_options

__all__ = ["TrainOptions", "read_options", "train"]
