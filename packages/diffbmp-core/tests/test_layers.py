"""Layers drawn alone composite to the picture that the renderer draws."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.exporters.instances import picked
from diffbmp.exporters.options import ExportOptions
from diffbmp.exporters.stack import LayerStack
from diffbmp.metrics import psnr
from diffbmp.rendering import layers as layers_module
from diffbmp.rendering.layers import draw_layers, sprite_boxes, straight_layers
from diffbmp.rendering.quantize import split_opacity
from diffbmp.scene.scene import Scene
from diffbmp.testing.exports import EXPORT_SCENES, ExportScene, over_flat
from diffbmp.testing.scenes import SCENES

SCALES = [1.0, 4.0, 0.37, 1.7]


def drawn_alone(scene: Scene, scale: float, renderer: str = "auto") -> Tensor:
    """Return the scene's layers, in floats, laid over each other: premultiplied RGBA."""
    height, width = scene.scaled_size(scale)
    canvas = torch.zeros(4, height, width, dtype=torch.float64)
    for layer in draw_layers(scene.sprites(), scene.drawing(scale=scale, renderer=renderer)):
        rows, columns = layer.pixels.shape[1:]
        part = canvas[:, layer.top : layer.top + rows, layer.left : layer.left + columns]
        part.copy_(layer.pixels + part * (1 - layer.pixels[3:]))
    return canvas


def stacked(scene: Scene, **options: object) -> Tensor:
    """Return the 8-bit layers of a file laid over each other as an editor does: premultiplied RGBA in floats."""
    stack = LayerStack(scene, ExportOptions.model_validate(options), renderer="auto", progress=lambda fraction: None)
    canvas = np.zeros((4, stack.height, stack.width))
    for layer in [stack.background(), stack.flattened(), *stack.layers()]:
        if layer is None:
            continue
        rows, columns = layer.pixels.shape[1:]
        part = canvas[:, layer.top : layer.top + rows, layer.left : layer.left + columns]
        alpha = layer.pixels[3:] / 255 * (layer.opacity / 255)
        color = layer.pixels[:3] / 255 * alpha
        if layer.added:
            part[:3] = np.minimum(part[:3] + color, 1)
            part[3:] = alpha + part[3:] * (1 - alpha)
        else:
            part[:] = np.concatenate([color, alpha]) + part * (1 - alpha)
    return torch.from_numpy(canvas)


def with_alpha(image: Tensor) -> Tensor:
    return image.double() if len(image) == 4 else torch.cat([image, torch.ones_like(image[:1])]).double()


@torch.no_grad()
def assert_alike(found: Tensor, scene: Scene, scale: float) -> None:
    """Within 2/255 and at least 45 dB, on white, on black and on transparent."""
    ours = with_alpha(scene.render(scale=scale))
    for value in (None, 0.0, 1.0):
        a, b = (found, ours) if value is None else (over_flat(found, value), over_flat(ours, value))
        assert float((a - b).abs().max()) <= 2 / 255
        assert psnr(a, b) >= 45


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("spec", EXPORT_SCENES, ids=lambda spec: spec.name)
@torch.no_grad()
def test_float_layers_over_each_other_are_the_picture(spec: ExportScene, scale: float) -> None:
    scene = spec.scene()
    torch.testing.assert_close(
        drawn_alone(scene, scale), scene.layer(scale=scale).double(), atol=2e-5, rtol=0, check_dtype=False
    )


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("spec", EXPORT_SCENES, ids=lambda spec: spec.name)
def test_layers_of_files_over_each_other_are_the_picture(spec: ExportScene, scale: float) -> None:
    scene = spec.scene()
    assert_alike(stacked(scene, scale=scale), scene, scale)


@pytest.mark.parametrize("options", [{"groups": "set"}, {"groups": "depth"}, {"flatten_below": 31}], ids=str)
def test_groups_and_a_flattened_layer_change_nothing(options: dict[str, object]) -> None:
    scene = ExportScene("grouped", "both", 0.5, count=250, background="blue").scene()
    assert_alike(stacked(scene, **options), scene, 1.0)


@pytest.mark.parametrize("blend", [0.0, 0.5, 1.0])
def test_stamps_that_are_added_up_over_black(blend: float) -> None:
    scene = ExportScene("added", "both", blend, count=40, opacity=0.2).scene()
    scene.blend, scene.background = "add", torch.zeros(3)
    assert_alike(stacked(scene), scene, 1.0)
    assert_alike(stacked(scene, flatten_below=21), scene, 1.0)


@pytest.mark.parametrize("background", ["white", "transparent"])
def test_stamps_that_are_added_up_over_anything_else_are_refused(background: str) -> None:
    scene = ExportScene("added", background=background).scene()  # type: ignore[arg-type]
    scene.blend = "add"
    with pytest.raises(DiffbmpError, match=r"over black only: give --background black"):
        stacked(scene)


@torch.no_grad()
@pytest.mark.parametrize("name", ["over-nearest_texel", "add-nearest_texel"])
def test_native_layers_of_nearest_texels_are_those_of_the_reference(name: str) -> None:
    inputs = next(scene for scene in SCENES if scene.name == name).build()
    boxes = layers_module.layer_boxes(inputs)
    from diffbmp.rendering.cpu import Cpu
    from diffbmp.rendering.reference import Reference

    torch.testing.assert_close(Cpu().layers(inputs, boxes), Reference().layers(inputs, boxes), atol=2e-4, rtol=0)
    found, inner = Cpu().layer_bytes(inputs, boxes)
    wanted, _ = Reference().layer_bytes(inputs, boxes)
    assert bool((inner[:, :2] + inner[:, 2:] <= boxes[:, 2:]).all())
    start = 0
    for width, height in boxes[:, 2:].tolist():
        part = slice(start, start + 4 * width * height)
        start = part.stop
        a, b = (x[part].view(4, height, width).int() for x in (found, wanted))
        assert int((a[3] - b[3]).abs().amax()) <= 1 if a.numel() else True
        solid = (a[3] > 32) & (b[3] > 32)
        assert int(((a - b).abs() * solid).amax()) <= 2 if a.numel() else True


@torch.no_grad()
def test_nothing_of_a_sprite_lies_outside_its_box() -> None:
    scene = ExportScene("boxes", "both", 0.5, opacity=1.0).scene()
    sprites = scene.sprites()
    boxes = sprite_boxes(sprites, scene.drawing())
    for index, (left, top, width, height) in enumerate(boxes.tolist()):
        alpha = scene.layer(sprites=[picked(sprites, torch.tensor([index]))])[3].clone()
        alpha[top : top + height, left : left + width] = 0
        assert float(alpha.max()) == 0


@torch.no_grad()
def test_memory_stays_that_of_a_few_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches hold ``BATCH_PIXELS`` however many sprites there are, and are drawn only when asked for."""
    monkeypatch.setattr(layers_module, "BATCH_PIXELS", 1000)
    scene = ExportScene("stream", count=60, radius=(3.0, 5.0)).scene()
    sizes: list[int] = []
    from diffbmp.rendering.reference import Reference

    original = Reference.layers

    def counting(self: Reference, inputs: object, boxes: Tensor) -> Tensor:
        flat = original(self, inputs, boxes)  # type: ignore[arg-type]
        sizes.append(flat.numel() // 4)
        return flat

    monkeypatch.setattr(Reference, "layers", counting)
    drawing = draw_layers(scene.sprites(), scene.drawing(renderer="reference"))
    next(drawing)
    assert len(sizes) == 1
    assert len(list(drawing)) == 59
    assert max(sizes) <= 1000
    assert len(sizes) > 5


@torch.no_grad()
def test_the_same_bytes_for_any_number_of_threads() -> None:
    scene = ExportScene("threads", "both", 0.5).scene()
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            found.append(list(straight_layers(scene.sprites(), scene.drawing())))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(found[0], other, strict=True))


def test_a_batch_of_canvases_has_no_layers() -> None:
    scene = ExportScene("batch").scene()
    sprites = scene.sprites()
    batch = dataclasses.replace(sprites, frame=sprites.frame[None].expand(2, -1, -1, -1))
    with pytest.raises(DiffbmpError, match="pass one canvas at a time"):
        next(draw_layers(batch, scene.drawing()))


def test_opacity_is_split_into_a_byte_and_a_factor() -> None:
    opacity = torch.cat([torch.linspace(0, 1, 1001), torch.arange(256) / 255])
    byte, factor = split_opacity(opacity)
    assert int(byte.min()) >= 1
    torch.testing.assert_close(byte / 255 * factor, opacity, atol=2e-5, rtol=0)
    assert float(factor[opacity > 0.02].min()) > 0.8
