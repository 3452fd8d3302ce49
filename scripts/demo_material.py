"""Write the demo's material: a photograph, and coins cut out of another, both from scikit-image's own data."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data, filters, measure, morphology, segmentation

SMALLEST_COIN = 800
"""Pixels below which a region is dirt, not a coin."""


def cut_coins(folder: Path) -> int:
    """Cut the coins of ``skimage.data.coins`` out, one PNG each: white, with the coin's brightness as alpha."""
    photograph = data.coins()
    background = filters.gaussian(photograph, sigma=40, preserve_range=True)
    mask = photograph > np.maximum(background * 1.05, filters.threshold_otsu(photograph) * 0.8)
    mask = segmentation.clear_border(morphology.closing(mask, morphology.disk(3)))
    regions = [r for r in measure.regionprops(measure.label(mask)) if r.area >= SMALLEST_COIN]
    for number, region in enumerate(regions):
        top, left, bottom, right = region.bbox
        brightness = photograph[top:bottom, left:right].astype(float)
        low, high = np.percentile(brightness[region.image_filled], [1, 90])
        relief = np.clip(0.35 + 0.65 * (brightness - low) / (high - low), 0, 1)
        alpha = relief * filters.gaussian(region.image_filled.astype(float), sigma=0.7)
        pixels = np.full((*alpha.shape, 4), 255, dtype=np.uint8)
        pixels[..., 3] = np.rint(alpha * 255)
        Image.fromarray(pixels, "RGBA").save(folder / f"coin-{number:02d}.png")
    return len(regions)


def main() -> None:
    """Write everything into the folder named on the command line."""
    folder = Path(sys.argv[1])
    coins = folder / "coins"
    coins.mkdir(parents=True, exist_ok=True)
    Image.fromarray(data.astronaut()).save(folder / "astronaut.png")
    print(f"{folder}: a photograph and {cut_coins(coins)} coins")


if __name__ == "__main__":
    main()
