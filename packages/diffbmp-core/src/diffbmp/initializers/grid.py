"""Regular start: rows and columns."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from diffbmp.initializers.initializer import Initializer
from diffbmp.placement.starting import PlacementSettings, build_stamps, check_start, foreground, scale_range
from diffbmp.primitives.start import StartInputs
from diffbmp.stamps.stamps import Stamps

__all__ = ["Grid", "grid_cells"]


class Grid(Initializer):
    """Stamps in rows and columns over the canvas, or over the visible part of a transparent target.

    Cells are as square as the count allows and all of one area; where the count does not fill every row alike,
    rows differ by one stamp and still span the whole width. Painted row by row.
    """

    name = "grid"
    whole = True

    class Settings(PlacementSettings):
        """Settings of the grid; scales are half a cell's side, between the smallest and, if given, the largest."""

        jitter: float = Field(0.0, ge=0, le=1)
        """Random shift within the cell, as a fraction of the cell's side; 0 is exactly regular."""

    settings: Settings

    def __call__(self, start: StartInputs) -> Stamps:
        """Return the stamps.

        Raises:
            DiffbmpError: for a fully transparent target.
        """
        check_start(start)
        smallest, _ = scale_range(start, self.settings)
        visible = (foreground(start) > 0).numpy()
        position, side = grid_cells(visible, start.count)
        if self.settings.jitter > 0:
            edge = torch.tensor([start.width, start.height], dtype=torch.float64)
            shift = torch.rand(position.shape, generator=start.generator, dtype=torch.float64) - 0.5
            position = position + self.settings.jitter * side * shift
            position = position.clamp(min=torch.zeros_like(edge), max=edge)
        largest = self.settings.maximum_scale
        scale = torch.full((start.count,), side / 2, dtype=torch.float64).clamp(smallest, largest)
        return build_stamps(start, self.settings, position, scale)


def grid_cells(visible: NDArray[np.bool_], count: int) -> tuple[Tensor, float]:
    """Cut the visible area into ``count`` cells of one area, in rows.

    Rows are strips of an area in proportion to their number of cells, each cut into cells of one area; a cell's
    centre is where half of its area is to the left, at half of the strip's area. Over a full canvas that is a
    regular grid.

    Args:
        visible: ``(H, W)`` bool, true somewhere.
        count: number of cells N.

    Returns:
        Centres ``(N, 2)`` float64 (x, y) in rows, each on a visible pixel, and the side of a square of a cell's area.
    """
    used_rows = np.flatnonzero(visible.any(axis=1))
    area = int(visible.sum())
    rows = _row_count(int(used_rows[-1] - used_rows[0] + 1), area, count)
    ends = [count * (row + 1) // rows for row in range(rows)]  # number of cells up to each row's end
    rows_below = _cumulative(visible.sum(axis=1))
    centres: list[NDArray[np.float64]] = []
    begin = 0
    for end in ends:
        top, middle, bottom = _quantiles(rows_below, np.array([begin, (begin + end) / 2, end]) / count)
        row = np.arange(int(top), int(bottom) + 1)
        share = np.minimum(bottom, row + 1) - np.maximum(top, row)  # how much of each pixel row is in the strip
        strip = visible[row] * share[:, None]
        cells = end - begin
        x = _quantiles(_cumulative(strip.sum(axis=0)), (np.arange(cells) + 0.5) / cells)
        y = row[0] + _nearest_visible(strip > 0, x, float(middle) - row[0])
        centres.append(np.stack([x, y], axis=-1))
        begin = end
    return torch.from_numpy(np.concatenate(centres)), math.sqrt(area / count)


def _row_count(height: int, area: int, count: int) -> int:
    """Return the number of rows with which cells of an area of this height are nearest to squares."""
    width = area / height  # mean width of the area

    def stretch(rows: int) -> float:
        return abs(math.log((height / rows) / (width * rows / count)))

    ideal = math.sqrt(count * height / width)
    return min(
        {min(count, max(1, math.floor(ideal))), min(count, math.ceil(ideal))}, key=lambda rows: (stretch(rows), rows)
    )


def _cumulative(area: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the fraction of the area before each edge of a row of pixels, ``(n + 1,)`` from 0 to 1."""
    total = np.concatenate([[0.0], np.cumsum(area, dtype=np.float64)])
    return np.asarray(total / total[-1], dtype=np.float64)


def _quantiles(cumulative: NDArray[np.float64], fraction: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coordinates before which these fractions of the area lie, in pixels that have a part in it."""
    index = np.clip(np.searchsorted(cumulative, fraction, side="right"), 1, len(cumulative) - 1)
    before, after = cumulative[index - 1], cumulative[index]
    step = np.where(after > before, after - before, 1.0)
    return np.asarray(index - 1 + np.clip((fraction - before) / step, 0, 1 - 1e-9), dtype=np.float64)


def _nearest_visible(strip: NDArray[np.bool_], x: NDArray[np.float64], y: float) -> NDArray[np.float64]:
    """Return ``y`` for each x, or the centre of the nearest row where the strip is not visible there."""
    columns = strip[:, x.astype(np.int64)]  # (H, n)
    distance = np.abs(np.arange(strip.shape[0]) + 0.5 - y)
    nearest = np.where(columns, distance[:, None], np.inf).argmin(axis=0)
    return np.where(columns[int(y)], y, nearest + 0.5)
