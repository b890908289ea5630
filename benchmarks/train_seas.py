"""Train SAROSS-Net on real seas, or go on with it.

python -m benchmarks.train_seas --imagenet efficientnet-lite0-57934424.pth --out runs/seas --held-out SIN --steps 500
python -m benchmarks.train_seas --start saross-nano-5 --masks runs/masks --out runs/seas --held-out SIN --steps 2000
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
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
    parser.add_argument("--start", default="", help="model to begin with, in place of ImageNet's weights")
    parser.add_argument("--masks", type=Path, help="folder of masks of chips with oil, see benchmarks.draw_masks")
    for name in ("size", "calm", "inserted", "weak", "simulated", "coarse", "encoder_rate", "learning_rate", "seed"):
        default = getattr(SeaOptions, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    given = {name: value for name, value in vars(arguments).items() if name in SeaOptions.__dataclass_fields__}
    options = SeaOptions(**{**given, "held_out": tuple(arguments.held_out)})
    try:
        train_on_seas(options, arguments.out, data_root(), arguments.imagenet, print_now, arguments.masks)
    except SlickwatchError as error:
        print(f"train_seas: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


print_now = partial(print, flush=True)


if __name__ == "__main__":
    main()
