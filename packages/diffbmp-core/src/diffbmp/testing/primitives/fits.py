"""A primitive in a fit: its start, locks, and the same bits however it is run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from diffbmp.errors import DiffbmpError
from diffbmp.fitting.checkpoint import load_checkpoint, save_checkpoint
from diffbmp.fitting.learning import checked_learnables
from diffbmp.fitting.start import start_fit
from diffbmp.primitives.instances import canvas_of, stacked, tensors_of
from diffbmp.primitives.primitive import Primitive
from diffbmp.scene.scene import Scene
from diffbmp.testing.primitives.comparing import assert_same, blends_of, copies, own_name
from diffbmp.testing.primitives.suite import COUNT, STEPS, PrimitiveSuite

__all__ = ["Fits"]


class Fits(PrimitiveSuite):
    """Tests of fits."""

    def test_locked_instances_keep_every_bit(self) -> None:
        """Single locks hold through every step, and all locked means that nothing changes."""
        locked = torch.arange(COUNT) % 2 == 0
        for batched in (False, True):
            for mask in (locked, torch.ones_like(locked)):
                primitive, atlas = self.build()
                shared = [
                    name
                    for name, learnable in primitive.learnables().items()
                    if primitive.axes[own_name(primitive, learnable.parameter)] is None
                ]
                if batched:
                    primitive = stacked([primitive, self.build(1)[0]])
                primitive.settings = primitive.settings.model_copy(update={"freeze": shared})
                primitive.locked = mask
                before = copies(primitive)
                after = tensors_of(self.fit(primitive, atlas).run().scene.primitives[0])
                moved = False
                for name, tensor in before.items():
                    axis = primitive.axes[name]
                    rows = slice(None) if axis is None else mask
                    was, now = (t if axis is None else t.movedim(axis, 0) for t in (tensor, after[name]))
                    assert torch.equal(now[rows], was[rows]), f"'{name}' of a locked instance has changed"
                    moved |= axis is not None and not torch.equal(now, was)
                assert moved != bool(mask.all()), "nothing that is not locked has moved"

    def test_frozen_parameters_stay(self) -> None:
        """A learnable that is frozen keeps its bits, and the others move."""
        for name in self.build()[0].learnables():
            primitive, atlas = self.build()
            primitive.settings = primitive.settings.model_copy(update={"freeze": [name]})
            fit = self.fit(primitive, atlas).run()
            before, after = primitive.learnables(), fit.scene.primitives[0].learnables()
            same = {key: torch.equal(before[key].parameter, after[key].parameter) for key in before}
            assert same[name], f"'{name}' is frozen and has changed"
            assert len(same) == 1 or not all(same.values()), f"with '{name}' frozen nothing moves"

    @pytest.mark.parametrize("batched", [False, True])
    def test_a_resumed_fit_goes_on_with_the_same_bits(self, batched: bool, tmp_path: Path) -> None:
        """A fit that stops half way and goes on from its checkpoint ends like one that did not."""
        primitive, atlas = self.build()
        if batched:
            primitive = stacked([primitive, self.build(1)[0]])
        with self.registered():
            whole = self.fit(primitive, atlas).run()
            part = self.fit(primitive, atlas)
            for step in part:
                part.stopping = step.index + 1 == STEPS // 2
            save_checkpoint(part, tmp_path / "checkpoint.diffbmp")
            resumed = load_checkpoint(tmp_path / "checkpoint.diffbmp").run()
        assert resumed.losses == whole.losses
        assert_same(resumed.scene.primitives[0], whole.scene.primitives[0])

    def test_a_batch_of_fits_has_the_bits_of_each(self) -> None:
        """Three canvases in one fit end like three fits."""
        canvases = [self.build(seed)[0] for seed in range(3)]
        atlas, _ = self.joint_atlas()
        batch = self.fit(stacked(canvases), atlas).run()
        assert batch.target is not None
        for index, canvas in enumerate(canvases):
            height, width = self.size
            scene = Scene(width, height, atlas, [canvas], blend=blends_of(canvas)[0])
            alone = start_fit(batch.target.canvas(index), scene=scene, refine=[], steps=STEPS, loss="mse").run()
            assert_same(canvas_of(batch.scene.primitives[0], index), alone.scene.primitives[0])

    @pytest.mark.parametrize("given", ["a target", "a cut-out target", "no target"])
    def test_start_gives_what_is_asked_for(self, given: str) -> None:
        """Count, type, device and textures are right, and the seed alone decides."""
        if getattr(self.kind.start, "__func__", None) is getattr(Primitive.start, "__func__", None):
            pytest.skip("it has no start of its own")
        atlas, textures = self.joint_atlas()
        alpha = torch.zeros(1, *self.size)
        alpha[:, 4:-4, 6:-6] = 1
        cases: dict[str, dict[str, Any]] = {
            "a target": {},
            "a cut-out target": {"target_alpha": alpha},
            "no target": {"target": None},
        }
        for count in (1, 7):
            started = []
            for seed, other in ((3, 1), (3, 2), (4, 1)):
                torch.manual_seed(other)  # not the seed that counts
                inputs = self.start_inputs(count, seed, atlas, **cases[given])
                try:
                    started.append(self.kind.start(inputs, self.parsed_settings))
                except DiffbmpError:
                    if given == "no target":
                        pytest.skip("it does not start without a target")
                    raise
            first, again, another = started
            assert type(first) is self.kind
            assert (len(first), first.batch) == (count, ())
            checked_learnables(first)
            assert_same(first, again)
            assert any(not torch.equal(t, tensors_of(another)[n]) for n, t in tensors_of(first).items())
            for name, tensor in tensors_of(first).items():
                assert tensor.device == atlas.texels.device
                assert not tensor.is_floating_point() or tensor.dtype == atlas.texels.dtype, f"'{name}': {tensor.dtype}"
                assert not tensor.is_floating_point() or bool(torch.isfinite(tensor).all()), f"'{name}' is not finite"
            if not first.draws:
                outside = set(first(atlas).texture.flatten().tolist()) - set(textures.tolist())
                assert not outside, f"start uses the textures {outside}, which are not its own ({textures.tolist()})"
