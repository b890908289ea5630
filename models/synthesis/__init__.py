"""Synthetic pairs: how a folder of them is written, resumed and read."""

from models.synthesis.manifest import Manifest, Shard, SyntheticPlan, read_manifest
from models.synthesis.shards import SyntheticPairs, SyntheticWriter, grey_levels

__all__ = [
    "Manifest",
    "Shard",
    "SyntheticPairs",
    "SyntheticPlan",
    "SyntheticWriter",
    "grey_levels",
    "read_manifest",
]
