"""Data sets of labelled images: SOS, OSD, folders of pairs, simulated chips; what leaks in them, and how to see it."""

from models.datasets.catalogue import DATASETS, data_root, open_dataset
from models.datasets.cut import Cut
from models.datasets.folder import ImageMaskFolder, image_mask_folder, open_folder
from models.datasets.folds import grouped_folds, held_out_fold
from models.datasets.osd import OSDImages, osd
from models.datasets.pairs import (
    GreyPair,
    LabelledImages,
    Pair,
    Selection,
    Split,
    augmented,
    chip_input,
    class_indices,
    grey_image,
    groups_or_names,
)
from models.datasets.reduced import Reduced
from models.datasets.simulated import (
    VALIDATION_SEED,
    SimulatedChips,
    flat_pair,
    simulated,
    simulated_pair,
)
from models.datasets.sos import SOSImages, copy_group, sos_clean, sos_official, without_leak

__all__ = [
    "DATASETS",
    "VALIDATION_SEED",
    "Cut",
    "GreyPair",
    "ImageMaskFolder",
    "LabelledImages",
    "OSDImages",
    "Pair",
    "Reduced",
    "SOSImages",
    "Selection",
    "SimulatedChips",
    "Split",
    "augmented",
    "chip_input",
    "class_indices",
    "copy_group",
    "data_root",
    "flat_pair",
    "grey_image",
    "grouped_folds",
    "groups_or_names",
    "held_out_fold",
    "image_mask_folder",
    "open_dataset",
    "open_folder",
    "osd",
    "simulated",
    "simulated_pair",
    "sos_clean",
    "sos_official",
    "without_leak",
]
