"""A handful of pairs that a small diffusion model learns by heart: dark discs of oil on a textured sea."""

import numpy as np
from PIL import Image

SIZE = 16
DISCS = ((4, 4, 3.2), (11, 11, 4.0), (4, 11, 3.0), (11, 4, 2.6))  # line, pixel, radius


def disc_pairs():
    """Four images (4, 16, 16) of 8-bit grey, and where their oil is."""
    line, pixel = np.mgrid[:SIZE, :SIZE]
    oil = np.stack([(line - y) ** 2 + (pixel - x) ** 2 < r * r for y, x, r in DISCS])
    texture = np.stack([np.random.default_rng(i).standard_normal((SIZE, SIZE)) for i in range(len(DISCS))])
    grey = np.clip(np.where(oil, 51, 153) + 19 * texture, 0, 255)
    return grey.astype(np.uint8), oil


def write_disc_pairs(folder):
    """Write them as a data set with train/ and test/ (the same ones)."""
    grey, oil = disc_pairs()
    for part in ("train", "test"):
        for kind in ("images", "masks"):
            (folder / part / kind).mkdir(parents=True)
        for i in range(len(grey)):
            Image.fromarray(grey[i]).save(folder / part / "images" / f"{i}.png")
            Image.fromarray(oil[i].astype(np.uint8) * 255).save(folder / part / "masks" / f"{i}.png")
    return folder
