"""Groups of layers, by stamp set or by depth, that composite to the same picture as no groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from diffbmp.exporters.naming import StampName, depth_name
from diffbmp.exporters.options import Grouping

__all__ = ["DEPTH", "LayerGroup", "group_stamps"]

DEPTH = 100
"""Stamps in a group by depth."""


@dataclass(frozen=True)
class LayerGroup:
    """Layers that lie directly upon each other.

    Attributes:
        name: what the group is called, or None where its layers are in no group.
        stamps: indices into the list of stamps, the back first.
    """

    name: str | None
    stamps: tuple[int, ...]


def group_stamps(names: Sequence[StampName], boxes: npt.NDArray[np.int64], grouping: Grouping) -> list[LayerGroup]:
    """Return the groups, the back first, such that painting them in order gives the picture of the plain order.

    By depth, each group is a run of ``DEPTH`` stamps. By set (or by kind where they are of none), stamps trade places
    only where their boxes do not overlap, which changes no pixel; so a set that lies between others at some places
    needs several groups (``petals 1``, ``petals 2``), and they are made as few and as large as a greedy choice finds
    them. Where all stamps would be in one group there is none: it would tell nothing, and Krita 5.1 shows such a file
    empty.

    Args:
        names: the stamps in painting order.
        boxes: ``(N, 4)``, (left, top, width, height) of what each shows.
        grouping: "none", "set" or "depth".
    """
    if not names:
        return []
    if grouping == "none" or (grouping == "depth" and len(names) <= DEPTH):
        return [LayerGroup(None, tuple(range(len(names))))]
    if grouping == "depth":
        starts = range(0, len(names), DEPTH)
        return [
            LayerGroup(depth_name(names[start : start + DEPTH]), tuple(range(start, min(start + DEPTH, len(names)))))
            for start in starts
        ]
    runs = _runs_by_set([name.group for name in names], boxes)
    total = Counter(label for label, _ in runs)
    seen: Counter[str] = Counter()
    groups = []
    for label, stamps in runs:
        seen[label] += 1
        groups.append(LayerGroup(f"{label} {seen[label]}" if total[label] > 1 else label, tuple(stamps)))
    return groups if len(groups) > 1 else [LayerGroup(None, groups[0].stamps)]


def _runs_by_set(sets: Sequence[str], boxes: npt.NDArray[np.int64]) -> list[tuple[str, list[int]]]:
    """Return runs of stamps of one set: each takes every stamp of the set that has nothing unpainted below it."""
    if len(set(sets)) == 1:
        return [(sets[0], list(range(len(sets))))]
    below, above = _overlaps(boxes)
    ready: dict[str, list[int]] = {label: [] for label in dict.fromkeys(sets)}
    for index, count in enumerate(below):
        if count == 0:
            ready[sets[index]].append(index)
    runs: list[tuple[str, list[int]]] = []
    while any(ready.values()):
        label = max(ready, key=lambda name: len(ready[name]))
        run: list[int] = []
        while ready[label]:
            free, ready[label] = ready[label], []
            run.extend(free)
            for index in free:
                for over in above[index].tolist():
                    below[over] -= 1
                    if below[over] == 0:
                        ready[sets[over]].append(over)
        # Within a run the painting order is a valid one, and the one that people expect.
        runs.append((label, sorted(run)))
    return runs


def _overlaps(boxes: npt.NDArray[np.int64]) -> tuple[list[int], list[npt.NDArray[np.int64]]]:
    """Return how many stamps below each one it overlaps, and which ones above."""
    left, top, width, height = boxes.T
    right, bottom = left + width, top + height
    below = np.zeros(len(boxes), dtype=np.int64)
    above = []
    for index in range(len(boxes)):
        later = slice(index + 1, None)
        hit = (left[later] < right[index]) & (left[index] < right[later])
        hit &= (top[later] < bottom[index]) & (top[index] < bottom[later])
        found = np.flatnonzero(hit) + index + 1
        below[found] += 1
        above.append(found)
    return below.tolist(), above
