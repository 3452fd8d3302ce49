"""What is saved, and what a file of a stranger's may do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.primitives.instances import check_axes, stacked
from diffbmp.scene.file import load_scene, save_scene
from diffbmp.scene.scene import Scene
from diffbmp.testing.primitives.comparing import assert_same, assert_tensors, blends_of, copies
from diffbmp.testing.primitives.suite import COUNT, PrimitiveSuite

__all__ = ["Saving"]


class Saving(PrimitiveSuite):
    """Tests of ``metadata`` and ``from_saved``."""

    def test_saved_and_loaded_it_is_the_same(self, tmp_path: Path) -> None:
        """Tensors, metadata (as JSON), locks and rendering, of one canvas and of a batch."""
        one, atlas = self.build()
        one.locked = torch.arange(COUNT) < 2
        height, width = self.size
        for primitive in (one, stacked([one, self.build(1)[0]])):
            metadata = json.loads(json.dumps(primitive.metadata()))
            again = self.kind.from_saved(copies(primitive), metadata, atlas)
            assert type(again) is self.kind
            assert_tensors(again, copies(primitive), "from_saved changed")
            assert again.metadata() == primitive.metadata()
            scene = Scene(width, height, atlas, [primitive, primitive], blend=blends_of(primitive)[0])
            with self.registered():
                save_scene(scene, tmp_path / "scene.diffbmp")
                loaded = load_scene(tmp_path / "scene.diffbmp")
            for was, now in zip(scene.primitives, loaded.primitives, strict=True):
                assert_same(now, was)
            assert torch.equal(loaded.render(), scene.render()), "a loaded scene is drawn otherwise"

    def test_damaged_files_are_refused(self) -> None:
        """``from_saved`` refuses what a file of a stranger's lacks or has too much."""
        primitive, atlas = self.build()
        tensors, metadata = copies(primitive), primitive.metadata()

        def refuse(given: Mapping[str, Tensor], values: Mapping[str, Any], what: str) -> None:
            try:
                check_axes(self.kind.from_saved(given, values, atlas))
            except DiffbmpError:
                return
            raise AssertionError(f"from_saved takes {what}")

        refuse({**tensors, "nothing-like-that": torch.zeros(COUNT)}, metadata, "a tensor that it does not know")
        refuse(tensors, {**metadata, "nothing-like-that": 1}, "metadata that it does not know")
        for name, tensor in tensors.items():
            refuse({key: value for key, value in tensors.items() if key != name}, metadata, f"tensors without '{name}'")
            axis = primitive.axes[name]
            if axis is not None and sum(a is not None for a in primitive.axes.values()) > 1:
                fewer = tensor.narrow(axis, 0, COUNT - 1).contiguous()
                refuse({**tensors, name: fewer}, metadata, f"'{name}' of too few instances")
