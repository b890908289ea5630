"""Feature distances of several synthetic sets side by side, all of one extractor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from ingest.errors import UsageError
from models.quality.frechet import FeatureQuality

_HEADER = ("set", "images", "FID", "inception score")


def require_comparable(qualities: Iterable[FeatureQuality]) -> FeatureQuality:
    """Return the first; raises `UsageError` unless all are of one extractor, weights and image size."""
    first, *others = qualities
    for other in others:
        for name in ("extractor", "weights_sha256", "size"):
            one, two = getattr(first, name), getattr(other, name)
            if one != two:
                raise UsageError(f"{one} and {two}", f"values of a different {name} in one table", "make two tables")
    return first


def comparison_table(qualities: Mapping[str, FeatureQuality]) -> str:
    """Return a Markdown table with a row a synthetic set, by name, headed by their common extractor.

    Raises what `require_comparable` raises.
    """
    first = require_comparable(qualities.values())
    rows = [
        (
            name,
            f"{one.n_real} real, {one.n_synthetic} synthetic",
            f"{one.fid:.2f} ± {one.fid_spread:.2f}",
            f"{one.inception_score:.3f} ± {one.inception_score_spread:.3f}",
        )
        for name, one in qualities.items()
    ]
    lines = [_HEADER, ["---"] * len(_HEADER), *rows]
    size = " x ".join(str(n) for n in first.size)
    title = f"Features of `{first.extractor}` (weights {first.weights_sha256[:8]}), images of {size}"
    return f"{title}\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def within_noise(one: FeatureQuality, other: FeatureQuality, deviations: float = 2.0) -> bool:
    """Return whether two FIDs differ by no more than so many standard deviations of their difference.

    Both with the same real images: the spreads are those of sampling synthetic images. Raises what
    `require_comparable` raises, and `UsageError` for different numbers of images, on which FID depends.
    """
    require_comparable((one, other))
    if (one.n_real, one.n_synthetic) != (other.n_real, other.n_synthetic):
        raise UsageError("FID", "different numbers of images", "compare as many images of each set")
    return bool(abs(one.fid - other.fid) <= deviations * np.hypot(one.fid_spread, other.fid_spread))
