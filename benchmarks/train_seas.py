"""Train SAROSS-Net with EfficientNet-Lite0 on real seas, or go on with it.

python -m benchmarks.train_seas --imagenet efficientnet-lite0-57934424.pth --out runs/seas --held-out SIN --steps 500
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from ingest.errors import SlickwatchError
from models.datasets.catalogue import data_root
from models.training.seas import SeaOptions, train_on_seas


def main() -> None:
    """Train and save after every so many steps; started again, it goes on where it stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--imagenet", type=Path, help="weights to begin with")
    parser.add_argument("--held-out", nargs="*", default=["SIN"], help="regions not to learn from")
    parser.add_argument("--steps", type=int, default=SeaOptions.steps)
    parser.add_argument("--save-every", type=int, default=SeaOptions.save_every)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    options = SeaOptions(tuple(arguments.held_out), arguments.steps, save_every=arguments.save_every)
    try:
        train_on_seas(options, arguments.out, data_root(), arguments.imagenet)
    except SlickwatchError as error:
        print(f"train_seas: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
