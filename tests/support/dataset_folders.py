"""Small copies of what the data sets look like on disk."""

import numpy as np
from PIL import Image

OSD_COLOURS = np.array([(0, 0, 0), (0, 255, 255), (255, 0, 0), (153, 76, 0), (0, 153, 0)], np.uint8)


def write(path, values, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def image_and_mask(seed=0, size=(12, 10)):
    rng = np.random.default_rng(seed)
    oil = rng.random(size) < 0.4
    return np.where(oil, 30, 120).astype(np.uint8), np.where(oil, 255, 0).astype(np.uint8)


def plain_pair(folder, name, **kwargs):
    """A pair as NAME.jpg beside NAME.png."""
    image, mask = image_and_mask(int(name), **kwargs)
    write(folder / f"{name}.jpg", image)
    write(folder / f"{name}.png", mask)


def released_sos(root, sensor, train, test):
    """SOS as its authors' code reads it: train/SENSOR/N_sat.jpg + N_mask.png, test/SENSOR/sat and gt."""
    for part, numbers in (("train", train), ("test", test)):
        folder = root / part / sensor
        images, masks = (folder, folder) if part == "train" else (folder / "sat", folder / "gt")
        for number in numbers:
            image, mask = image_and_mask(number)
            write(images / f"{number}_sat.jpg", np.stack([image] * 3, axis=-1))
            write(masks / f"{number}_mask.png", np.stack([mask] * 3, axis=-1))


def osd_part(folder, labels, kinds=("labels", "labels_1D")):
    """One part of OSD, train/ or test/, of label arrays."""
    for i, indices in enumerate(labels, start=1):
        grey = (200 - 40 * indices).astype(np.uint8)
        write(folder / "images" / f"img_{i:04}.jpg", np.stack([grey] * 3, axis=-1))
        if "labels" in kinds:
            write(folder / "labels" / f"img_{i:04}.png", OSD_COLOURS[indices])
        if "labels_1D" in kinds:
            write(folder / "labels_1D" / f"img_{i:04}.png", indices.astype(np.uint8))
