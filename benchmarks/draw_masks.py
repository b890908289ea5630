"""Draw masks of chips of which only that is known that they have oil: the slicks that a model would publish.

python -m benchmarks.draw_masks --model saross-nano-5 --held-out SIN --out runs/masks
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ingest.files import whole_file
from ingest.progress import step
from models.classes import IGNORE, LOOK_ALIKE, OIL
from models.datasets.catalogue import data_root
from models.datasets.csiro import labelled_chips
from models.datasets.pairs import chip_input, chip_power
from models.segment import Segmenter, load_segmenter

LEAST = 0.2  # probability that the likeliest candidate must have for a chip to get a mask
_SURE = 0.5  # probability of candidates, and of pixels within them, that are oil
_NO_OIL = 0


def main() -> None:
    """Draw the masks that are not there yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="default")
    parser.add_argument("--held-out", nargs="*", default=[], help="regions that get no masks")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="chips at most, of a random order")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    segmenter = load_segmenter(arguments.model)
    chips = labelled_chips(data_root() / "csiro").outside(arguments.held_out).with_oil(True)
    order = np.random.default_rng(0).permutation(len(chips))[: arguments.limit]
    with step("masks") as advance:
        for done, i in enumerate(order):
            path = arguments.out / f"{chips.name(i)}.png"
            if not path.is_file():
                mask = drawn(segmenter, chips.image(i))
                if mask is not None:
                    with whole_file(path) as hidden:
                        Image.fromarray(mask).save(hidden, format="PNG")
            advance(done + 1, len(order))


def drawn(segmenter: Segmenter, grey: NDArray[np.float32]) -> NDArray[np.uint8] | None:
    """Return the mask of a chip (H, W), NaN = no data: `OIL`, 0 for none, and `IGNORE`; None where too little is sure.

    Candidates are oil if they are likelier than not to be, or the likeliest of the chip; other ones are unlabelled.
    """
    probability, verdicts = segmenter.segment(chip_input(grey, segmenter.checkpoint.preprocess)[None], chip_power(grey))
    likeliest = max((verdict.oil_probability for verdict in verdicts), default=0.0)
    if likeliest < LEAST:
        return None
    mask = np.where(np.isnan(grey), IGNORE, _NO_OIL).astype(np.uint8)
    for verdict in verdicts:
        candidate = verdict.candidate
        window, p = mask[candidate.rows, candidate.columns], probability[:, candidate.rows, candidate.columns]
        oil = p[OIL] if verdict.accepted else p[LOOK_ALIKE]  # where the object stage moved it
        window[candidate.cells] = IGNORE
        if verdict.oil_probability >= min(_SURE, likeliest):
            window[candidate.cells & (oil >= _SURE)] = OIL
    return mask


if __name__ == "__main__":
    main()
