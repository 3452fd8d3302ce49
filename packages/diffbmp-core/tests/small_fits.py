"""Small fits for tests: pictures and textures made on the spot, awkward numbers, and every refiner at work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

import diffbmp
from diffbmp import Atlas, Canvas, Fit, Texture, start_fit

N = 37

OPTIONS: dict[str, Any] = {
    "n": N,
    "steps": 8,
    "device": "cpu",
    "initializers": {"greedy": {"per_stamp": 4}},
    "refiners": {
        "grow": {"per_stamp": 4, "stages": 4},
        "relocate": {
            "per_stamp": 4, "every": 3, "after": 0.3, "until": 1.0, "margin": 0, "probes": 2, "share": 0.1,
        },
        "reinitialize": {"every": 4, "after": 0, "until": 1, "below": 0.6},
    },
}  # fmt: skip
"""Of a fit in which every refiner acts."""


def picture(number: int = 0, height: int = 19, width: int = 29) -> Tensor:
    """Return a smooth picture ``(3, height, width)``; another one for each number."""
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    red = (0.5 + 0.5 * torch.sin((4 + number) * x + number)).clamp(0, 1)
    return torch.stack([red, y * (1 - 0.2 * number) + 0.05 * number, 0.5 + 0.5 * torch.cos((3 + number) * x * y)])


def pictures(count: int = 3, height: int = 19, width: int = 29) -> list[Tensor]:
    """Return several pictures of one size."""
    return [picture(number, height, width) for number in range(count)]


def ellipse(height: int, width: int) -> Tensor:
    """Return the alpha ``(1, height, width)`` of an ellipse that fills it."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij")
    return ((1.0 - (x * x + y * y).sqrt()) * 4).clamp(0, 1)[None]


def shaped(target: Tensor) -> Tensor:
    """Return a picture ``(4, H, W)`` that is transparent around an ellipse."""
    return torch.cat([target, (ellipse(*target.shape[1:]) * 4).clamp(0, 1)])


def atlas() -> Atlas:
    """Return two alpha-only textures and a coloured one, of two sets."""
    leaf = torch.rand((4, 7, 12), generator=torch.Generator().manual_seed(3))
    leaf[3] = ellipse(7, 12)[0]
    return Atlas(
        [
            Texture("disc", ellipse(9, 9), "plain"),
            Texture("bar", ellipse(6, 13), "plain"),
            Texture("leaf", leaf, "coloured"),
        ]
    )


def started(target: Any = None, **options: Any) -> Fit:
    """Return a small fit of ``target`` before its first step."""
    values = {**OPTIONS, **options}
    if "primitives" in options:
        values.pop("n")
    return start_fit(target, stamps=values.pop("stamps", None) or atlas(), **values)


def going_on(target: Any, scene: Any, **options: Any) -> Fit:
    """Return a small fit that goes on from a scene or a fit."""
    kept = {name: value for name, value in OPTIONS.items() if name not in ("n", "initializers")}
    return start_fit(target, scene=scene, **{**kept, **options})


def tensors(scene: Any) -> dict[str, Tensor]:
    """Return copies of the tensors of a scene or a primitive, by name."""
    return {name: value.clone() for name, value in scene.state_dict().items()}


def moments(fit: Fit, canvas: int | None = None) -> dict[str, Tensor]:
    """Return copies of the optimiser's moments, of one canvas of a batch where it is given."""
    return {
        f"{group}/{moment}": (value if canvas is None or moment == "step" else value[canvas]).clone()
        for group, moment, value in fit.learning.moments()
    }


def assert_same_bits(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    """Assert that two sets of tensors by name hold the same bits."""
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].shape == value.shape, name
        assert found[name].dtype == value.dtype, name
        assert torch.equal(found[name], value), name


def all_of(fit: Fit) -> dict[str, Tensor]:
    """Return everything that a step may change, by name."""
    return {**tensors(fit.scene), **moments(fit)}


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Run the block on this many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Veils(diffbmp.Primitive):
    """Rectangles that paint a layer of their own: N boxes with soft edges, painted in order."""

    name = "veils"
    axes: ClassVar[dict[str, int | None]] = {"centre": -2, "tint": -2, "softness": None}
    blends = ("over",)

    def __init__(self, centre: Tensor, tint: Tensor, softness: Tensor) -> None:
        super().__init__()
        self.centre, self.tint = nn.Parameter(centre.clone()), nn.Parameter(tint.clone())
        self.softness = nn.Parameter(softness.clone())

    @classmethod
    def start(cls, inputs: diffbmp.StartInputs, settings: Any) -> Veils:
        size = torch.tensor([inputs.width, inputs.height])
        random = torch.rand((inputs.count, 5), generator=inputs.generator)
        return cls(random[:, :2] * size, random[:, 2:], torch.tensor([2.0]))

    def learnables(self) -> dict[str, diffbmp.Learnable]:
        return {
            "centre": diffbmp.Learnable(self.centre, 0.5),
            "tint": diffbmp.Learnable(self.tint, 0.05),
            "softness": diffbmp.Learnable(self.softness, 0.01),
        }

    def draw(self, canvas: Canvas) -> Tensor:
        height, width = canvas.size
        y = (torch.arange(height) + 0.5) / canvas.scale[1] + canvas.offset[1]
        x = (torch.arange(width) + 0.5) / canvas.scale[0] + canvas.offset[0]
        like = self.centre
        picture = like.new_zeros((*self.batch, 4, height, width))
        for index in range(len(self)):
            far = (x.to(like) - like[..., index, :1]).abs()[..., None, :]
            far = torch.maximum(far, (y.to(like) - like[..., index, 1:]).abs()[..., :, None])
            alpha = canvas.alpha_max * torch.sigmoid((4 - far) / self.softness[..., None])[..., None, :, :]
            painted = self.tint[..., index, :, None, None] * alpha
            picture = torch.cat([painted, alpha], dim=-3) + (1 - alpha) * picture
        return picture
