"""Small scenes that an exporter must hold: every kind of stamp, background and mix of colours."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.primitives.primitive import Primitive
from diffbmp.scene.scene import Scene
from diffbmp.stamps.stamps import Stamps
from diffbmp.testing.kinds import Ribbons, SoftRectangles

__all__ = ["EXPORT_SCENES", "Backdrop", "ExportScene", "mixed_scene", "over_flat"]

Backdrop = Literal["white", "blue", "picture", "transparent"]


@dataclass(frozen=True)
class ExportScene:
    """A recipe for a scene of rotated stamps of 2 to 60 pixels, some of them half off the canvas.

    Attributes:
        name: for tables and for the ids of tests.
        textures: "alpha", "rgba" or both.
        color_blend: mu of the RGBA stamps.
        opacity: of every stamp; None draws it from [0.05, 0.95].
        background: what is behind.
        count: number of stamps.
        rotated: whether stamps are turned.
        radius: smallest and largest half side in pixels; small ones are the most.
        size: height and width of the canvas.
    """

    name: str
    textures: Literal["alpha", "rgba", "both"] = "alpha"
    color_blend: float = 0.0
    opacity: float | None = None
    background: Backdrop = "white"
    count: int = 60
    rotated: bool = True
    radius: tuple[float, float] = (1.0, 30.0)
    size: tuple[int, int] = (120, 160)

    def scene(self, seed: int = 0) -> Scene:
        """Return the scene; the same seed gives the same one."""
        random = torch.Generator().manual_seed(seed)

        def uniform(*shape: int) -> Tensor:
            return torch.rand(*shape, generator=random)

        height, width = self.size
        textures = list(_textures(self.textures))
        opacity = uniform(self.count) * 0.9 + 0.05
        if self.opacity is not None:
            opacity = torch.full((self.count,), self.opacity)
        low, high = self.radius
        stamps = Stamps(
            (uniform(self.count, 2) * 1.2 - 0.1) * torch.tensor([width, height]),
            low + uniform(self.count) ** 2 * (high - low),
            uniform(self.count) * 2 * math.pi * self.rotated,
            opacity.logit(eps=1e-7),
            (uniform(self.count, 3) * 0.98 + 0.01).logit(),
            torch.randint(0, len(textures), (self.count,), generator=random),
            self.color_blend,
        )
        return Scene(width, height, Atlas(textures), [stamps], background=_background(self.background, self.size))


def mixed_scene(kinds: Sequence[str], *, count: int = 20, seed: int = 0, background: Backdrop = "blue") -> Scene:
    """Return a scene of primitives of these kinds, the first at the back, ``count`` instances of each.

    Args:
        kinds: "stamps", "ribbons" (six sprites an instance), "soft-rectangles" (which draw a layer of their own).
        count: number of instances of each.
        seed: of everything random.
        background: what is behind.
    """
    stamps = ExportScene("mixed", "both", 0.5, count=count, radius=(4.0, 16.0), background=background).scene(seed)
    random = torch.Generator().manual_seed(seed + 1)

    def uniform(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(*shape, generator=random)

    def made(kind: str) -> Primitive:
        if kind == "stamps":
            return stamps.primitives[0]
        place = uniform(-0.1, 1.1, count, 2) * torch.tensor([stamps.width, stamps.height])
        opacity, color = uniform(0.2, 0.9, count), uniform(0, 1, count, 3)
        if kind == "soft-rectangles":
            return SoftRectangles(place, uniform(3, 20, count, 2), opacity, color)
        return Ribbons(place[:, None] + uniform(-30, 30, count, 3, 2), uniform(3, 9, count), opacity, color)

    return Scene(
        stamps.width, stamps.height, stamps.atlas, [made(kind) for kind in kinds], background=stamps.background
    )


def over_flat(image: Tensor, value: float) -> Tensor:
    """Return a rendered picture over a flat grey, RGB ``(3, H, W)``; one without alpha as it is.

    Args:
        image: RGB ``(3, H, W)`` or premultiplied RGBA ``(4, H, W)``.
        value: grey in [0, 1].
    """
    return image if image.shape[0] == 3 else image[:3] + (1 - image[3:]) * value


def _textures(kinds: str) -> Iterator[Texture]:
    if kinds in ("alpha", "both"):
        yield Texture("crescent", _coverage(96, 72, hole=0.35)[None])
        yield Texture('<ring> & "bar"', _coverage(40, 128, hole=0.1)[None])
        yield Texture("dot", torch.ones(1, 1, 1))
    if kinds in ("rgba", "both"):
        for number, (height, width) in enumerate([(90, 70), (33, 64)]):
            y, x = _centres(height, width)
            waves = [0.5 + 0.5 * torch.sin((4 + k) * x + (5 - number) * y + k) for k in range(3)]
            yield Texture(f"petal-{number}", torch.stack([*waves, _coverage(height, width, hole=0.3 * number)]))


def _centres(height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return v and u of the texel centres, ``(h, 1)`` and ``(1, w)``."""
    return ((torch.arange(height) + 0.5) / height * 2 - 1)[:, None], ((torch.arange(width) + 0.5) / width * 2 - 1)[None]


def _coverage(height: int, width: int, hole: float) -> Tensor:
    """Return a soft disc with a hole beside its middle, ``(h, w)``."""
    y, x = _centres(height, width)
    edge = min(height, width) / 4
    disc = ((1 - torch.hypot(x, y)) * edge).clamp(0, 1)
    return disc * ((torch.hypot(x - 0.3, y + 0.2) - hole) * edge).clamp(0, 1)


def _background(kind: Backdrop, size: tuple[int, int]) -> Tensor | None:
    if kind == "picture":
        y, x = _centres(*size)
        return torch.stack([(0.5 + 0.5 * torch.sin(3 * x + k * y)).expand(size) for k in range(3)])
    return {"white": torch.ones(3), "blue": torch.tensor([0.2, 0.4, 0.7]), "transparent": None}[kind]


EXPORT_SCENES: tuple[ExportScene, ...] = (
    ExportScene("alpha-only"),
    ExportScene("alpha-only on transparent", background="transparent"),
    ExportScene("alpha-only on a colour", background="blue"),
    ExportScene("alpha-only on a picture", background="picture"),
    ExportScene("rgba, tint alone", "rgba", 0.0, background="blue"),
    ExportScene("rgba, half tint", "rgba", 0.5),
    ExportScene("rgba, half tint, transparent", "rgba", 0.5, background="transparent"),
    ExportScene("rgba, own colours", "rgba", 1.0),
    ExportScene("rgba, own colours, transparent", "rgba", 1.0, background="transparent"),
    ExportScene("both, upright", "both", 0.5, rotated=False),
    ExportScene("both, opaque", "both", 0.5, opacity=1.0, background="picture"),
    ExportScene("both, 2 % opacity", "both", 0.5, opacity=0.02, count=200, background="transparent"),
    ExportScene("one-pixel stamps", "both", 0.5, radius=(0.5, 0.5), count=300, opacity=1.0),
    ExportScene("enlarged", "both", 1.0, radius=(60.0, 300.0), count=20, background="transparent"),
)
"""What every exporter is tested with."""
