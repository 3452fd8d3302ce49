"""What a plugin's author gets wrong would fail late, far away or silently: each is one sentence that names the kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
import torch
from torch import Tensor, nn

import diffbmp
from diffbmp import DiffbmpError, Learnable
from diffbmp.fitting.checkpoint import save_checkpoint
from diffbmp.testing import registered

TARGET = torch.rand(3, 12, 16, generator=torch.Generator().manual_seed(0))


class Dots(diffbmp.Primitive):
    """Dots, as they should be."""

    name = "dots"
    axes: ClassVar[Mapping[str, int | None]] = {"position": -2, "size": -1, "color": -2, "texture": -1}

    def __init__(self, position: Tensor, size: Tensor, color: Tensor, texture: Tensor) -> None:
        super().__init__()
        self.position, self.size, self.color = (nn.Parameter(value.clone()) for value in (position, size, color))
        self.texture = nn.Buffer(texture.clone())

    def forward(self, atlas: diffbmp.Atlas) -> diffbmp.Sprites:
        square = torch.eye(2).to(self.size) * self.size[..., None, None]
        frame = torch.cat([square, self.position[..., None]], dim=-1)
        one = torch.ones_like(self.size)
        return diffbmp.Sprites(frame, one, self.color, self.texture, 0 * one)

    def learnables(self) -> dict[str, Learnable]:
        size = self.size.detach()
        return {
            "position": Learnable(self.position, 0.1, size[..., None]),
            "size": Learnable(self.size, 0.1, size),
            "color": Learnable(self.color, 0.05),
        }

    def constrain(self, palette: Tensor | None, progress: float) -> None:
        super().constrain(palette, progress)
        self.size.data.clamp_(min=1)
        self.color.data.clamp_(0, 1)

    @classmethod
    def textures(cls, settings: Any, loaders: Any) -> list[diffbmp.Texture]:
        return [diffbmp.Texture("dot", torch.ones(1, 3, 3))]

    @classmethod
    def start(cls, inputs: diffbmp.StartInputs, settings: Any) -> Self:
        return cls(**cls.values(inputs, inputs.count))

    @classmethod
    def values(cls, inputs: diffbmp.StartInputs, count: int) -> dict[str, Tensor]:
        random = torch.rand(count, 3, generator=inputs.generator)
        position = random[:, :2] * torch.tensor([inputs.width, inputs.height])
        return {
            "position": position, "size": torch.full((count,), 2.0), "color": random,
            "texture": inputs.usable[:1].expand(count),
        }  # fmt: skip


def begin(kind: type[diffbmp.Primitive], **options: Any) -> diffbmp.Fit:
    table = {"kind": kind, "n": 6, **options.pop("table", {})}
    return diffbmp.start_fit(TARGET, primitives=[table], steps=2, **options)


def refusal(call: Callable[[], object], kind: str) -> str:
    """Return the one sentence that something is refused with, which must name the kind."""
    with pytest.raises(DiffbmpError) as caught:
        call()
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert f"'{kind}'" in sentence or kind in sentence.split(), sentence
    return sentence


def test_what_is_right_is_fitted() -> None:
    fit = begin(Dots).run()
    assert fit.next_step == 2
    assert len(fit.front) == 6


class TestLearnables:
    def test_a_parameter_that_nobody_learns(self) -> None:
        class Forgetful(Dots):
            """Does not list its size."""

            name = "forgetful"

            def learnables(self) -> dict[str, Learnable]:
                return {name: one for name, one in super().learnables().items() if name != "size"}

        sentence = refusal(lambda: begin(Forgetful), "forgetful")
        assert sentence == (
            "The parameter 'size' of the primitive 'forgetful' requires a gradient, but no learnable is made of it; "
            "name it in learnables(), or make it a buffer."
        )

    def test_a_learnable_without_a_gradient(self) -> None:
        class Still(Dots):
            """Switches a gradient off, so that nothing would ever move."""

            name = "still"

            def __init__(self, **values: Tensor) -> None:
                super().__init__(**values)
                self.size.requires_grad_(False)

        assert "'size' of the primitive 'still' does not require a gradient" in refusal(lambda: begin(Still), "still")

    @pytest.mark.parametrize("shape", [(6,), (3,), (6, 2, 1), (7, 1)])
    def test_an_extent_that_does_not_broadcast(self, shape: tuple[int, ...]) -> None:
        class Measured(Dots):
            """Measures positions by something of another shape."""

            name = "measured"

            def learnables(self) -> dict[str, Learnable]:
                return {**super().learnables(), "position": Learnable(self.position, 0.1, torch.ones(shape))}

        sentence = refusal(lambda: begin(Measured), "measured")
        assert "The parameter 'position' of the primitive 'measured' has shape (6, 2), to which its extent" in sentence

    def test_a_parameter_that_is_not_contiguous(self) -> None:
        class Strided(Dots):
            """Keeps its colours the other way round in memory."""

            name = "strided"

            def __init__(self, **values: Tensor) -> None:
                super().__init__(**values)
                self.color = nn.Parameter(values["color"].T.contiguous().T)

        assert "'color' of the primitive 'strided' is not contiguous" in refusal(lambda: begin(Strided), "strided")

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            (lambda self: Learnable(self.position.clone(), 0.1), "is not one of its parameters"),
            (lambda self: (self.position, 0.1), "must be a diffbmp.Learnable, got tuple"),
            (lambda self: Learnable(self.position, -0.1), "must have a learning rate of at least 0, got -0.1"),
            (lambda self: Learnable(self.position, float("nan")), "must have a learning rate of at least 0, got nan"),
            (lambda self: Learnable(self.size, 0.1), "The parameter 'size' of the primitive 'wrong' is learned twice"),
        ],
    )
    def test_what_is_no_learnable(self, wrong: Callable[[Any], Any], said: str) -> None:
        class Wrong(Dots):
            """Lists something else as its position."""

            name = "wrong"

            def learnables(self) -> dict[str, Learnable]:
                return {"position": wrong(self), **{k: v for k, v in super().learnables().items() if k != "position"}}

        assert said in refusal(lambda: begin(Wrong), "wrong")

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"table": {"freeze": ["seize"]}}, "parameter to freeze of the primitive 'dots' 'seize'"),
            ({"table": {"learning_rates": {"seize": 1.0}}}, "parameter of the primitive 'dots' 'seize'"),
            ({"optimizer": {"other": {"seize": 1.0}}}, "parameter in optimizer.other 'seize'"),  # of any kind
        ],
    )
    def test_a_name_that_does_not_exist(self, options: dict[str, Any], said: str) -> None:
        with pytest.raises(DiffbmpError) as caught:
            begin(Dots, **options)
        assert str(caught.value).startswith(f"Unknown {said}; did you mean 'size'?")

    def test_a_value_that_a_parameter_cannot_be_frozen_at(self) -> None:
        sentence = refusal(lambda: begin(Dots, table={"freeze": ["size=3"]}), "dots")
        assert "'size' of the primitive 'dots' cannot be locked at a value, only where it starts" in sentence

    def test_a_palette_for_a_kind_that_takes_none(self) -> None:
        assert "no colours that a palette could hold" in refusal(
            lambda: begin(Dots, table={"palette": ["red"]}), "dots"
        )


class TestAxes:
    @pytest.mark.parametrize(
        ("axes", "said"),
        [
            ({"position": -2, "size": -1, "color": -2}, "has the tensor 'texture', which its `axes` do not declare"),
            ({**Dots.axes, "color": -1}, "'color' of the primitive 'turned' has shape (6, 3), but its instance axis"),
            ({**Dots.axes, "color": 0}, "'color' of the primitive 'turned' has shape (6, 3), but its instance axis"),
            ({**Dots.axes, "size": -2}, "'size' of the primitive 'turned' has shape (6,), but its instance axis"),
            ({"weight": -1, **Dots.axes}, "has no tensor 'weight', which its `axes` declare"),
            ({**Dots.axes, "weight": -1}, "has no tensor 'weight', which its `axes` declare"),
            (dict.fromkeys(Dots.axes), "declares no tensor with an instance axis; define __len__"),
        ],
    )
    def test_axes_that_do_not_fit_the_tensors(self, axes: dict[str, int | None], said: str) -> None:
        class Turned(Dots):
            """Declares other axes."""

            name = "turned"

        Turned.axes = axes
        assert said in refusal(lambda: begin(Turned), "turned")

    def test_single_locks_with_a_parameter_that_all_share(self) -> None:
        class Shared(Dots):
            """Dots of one size, which is learned."""

            name = "shared"
            axes: ClassVar[Mapping[str, int | None]] = {**Dots.axes, "size": None}

            def __init__(self, **values: Tensor) -> None:
                super().__init__(**{**values, "size": values["size"][0]})

            def forward(self, atlas: diffbmp.Atlas) -> diffbmp.Sprites:
                alike = Dots(
                    self.position, self.size[..., None].expand(*self.position.shape[:-1]), self.color, self.texture
                )
                return alike(atlas)

            def learnables(self) -> dict[str, Learnable]:
                learnables = super().learnables()
                return {**learnables, "position": Learnable(self.position, 0.1)}

        assert begin(Shared).run().next_step == 2
        sentence = refusal(lambda: begin(Shared, table={"lock": "2"}), "shared")
        assert sentence == (
            "Single instances of 'shared' cannot be locked while all share the learned parameter 'size'; freeze it "
            "too (freeze size)."
        )
        assert begin(Shared, table={"lock": "2", "freeze": "size"}).run().next_step == 2
        assert begin(Shared, table={"lock": "1-6"}).run().next_step == 2  # then nothing is learned


class TestStarts:
    CHANGES: ClassVar[dict[str, tuple[Callable[[Any, Any], Any], str]]] = {
        "too few": (
            lambda cls, inputs: cls(**cls.values(inputs, inputs.count - 1)),
            "was asked for 6 instances and returned 5",
        ),
        "of another kind": (lambda cls, inputs: Dots.start(inputs, None), "must return Started, got Dots"),
        "nothing": (lambda cls, inputs: None, "must return Started, got NoneType"),
        "in double precision": (
            lambda cls, inputs: cls.start_with(inputs).double(),
            "returned 'position' of torch.float64; it must be torch.float32",
        ),
        "with NaN": (
            lambda cls, inputs: cls.start_with(inputs, size=torch.full((6,), float("nan"))),
            "returned 'size' with NaN or infinity",
        ),
        "with another's texture": (
            lambda cls, inputs: cls.start_with(inputs, texture=torch.tensor([0, 0, 1, 0, 0, 0])),
            "uses the texture 1, which is not one of those that it may use (0 to 0)",
        ),
        "with no texture at all": (
            lambda cls, inputs: cls.start_with(inputs, texture=torch.full((6,), -1)),
            "uses the texture -1",
        ),
        "of a batch": (
            lambda cls, inputs: cls(**{name: value[None] for name, value in cls.values(inputs, 6).items()}),
            "must return instances of one canvas, got a batch (1,)",
        ),
    }

    @pytest.mark.parametrize("change", CHANGES)
    def test_a_start_that_is_not_what_was_asked_for(self, change: str) -> None:
        returned, said = self.CHANGES[change]

        class Started(Dots):
            """Starts otherwise."""

            name = "started"

            @classmethod
            def start_with(cls, inputs: diffbmp.StartInputs, **values: Tensor) -> Self:
                return cls(**{**cls.values(inputs, inputs.count), **values})

            @classmethod
            def start(cls, inputs: diffbmp.StartInputs, settings: Any) -> Any:
                return returned(cls, inputs)

        sentence = refusal(lambda: begin(Started), "started")
        assert sentence.startswith("The start of the primitive 'started' ")
        assert said in sentence

    def test_textures_that_are_another_primitives(self) -> None:
        class Thief(Dots):
            """Starts with the first texture of all."""

            name = "thief"

            @classmethod
            def start(cls, inputs: diffbmp.StartInputs, settings: Any) -> Self:
                return cls(**{**cls.values(inputs, inputs.count), "texture": torch.zeros(inputs.count).long()})

        tables = [{"kind": Dots, "n": 2}, {"kind": Thief, "n": 2}]
        sentence = refusal(lambda: diffbmp.start_fit(TARGET, primitives=tables, steps=2), "thief")
        assert "uses the texture 0, which is not one of those that it may use (1 to 1)" in sentence

    def test_shares_of_sets(self) -> None:
        class Partial(diffbmp.Initializer):
            """Deals the first texture only."""

            name = "partial"

            def __call__(self, inputs: diffbmp.StartInputs) -> diffbmp.Stamps:
                n = inputs.count
                return diffbmp.Stamps(
                    torch.zeros(n, 2), torch.ones(n), torch.zeros(n), torch.zeros(n), torch.zeros(n, 3),
                    torch.zeros(n, dtype=torch.int64),
                )  # fmt: skip

        def start() -> object:
            return diffbmp.start_fit(
                TARGET, stamps=["shape:disc:3", "shape:star:5"], initializer=Partial, steps=2, refine=[]
            )

        assert "placed 8 instances of a set of textures that is to have 3 of 8" in refusal(start, "partial")

    @pytest.mark.parametrize("wanted", [0, -1, 7, 2.0, True, None])
    def test_a_refiner_that_asks_for_another_number(self, wanted: Any) -> None:
        class Asking(diffbmp.Refiner):
            """Asks for an impossible start."""

            name = "asking"
            places = True

            def start_count(self, n: int, steps: int) -> int:
                return wanted

            def refine(self, fit: diffbmp.Fit, step: diffbmp.Step) -> None:
                pass

        sentence = refusal(lambda: begin(Dots, refine=[Asking]), "asking")
        assert "it must be a whole number from 1 to 6" in sentence

    def test_textures_that_are_none(self) -> None:
        class Bare(Dots):
            """Brings bare tensors."""

            name = "bare"

            @classmethod
            def textures(cls, settings: Any, loaders: Any) -> Any:
                return [torch.ones(1, 3, 3)]

        assert "must bring textures, got Tensor" in refusal(lambda: begin(Bare), "bare")


class TestSaving:
    def test_a_class_that_ignores_its_tensors(self, tmp_path: Path) -> None:
        class Ignoring(Dots):
            """Comes back from a file somewhere else."""

            name = "ignoring"

            @classmethod
            def from_saved(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], atlas: Any) -> Self:
                return cls(**{**tensors, "position": torch.zeros(6, 2)})

        class Dropping(Dots):
            """Comes back from a file with one dot less."""

            name = "dropping"

            @classmethod
            def from_saved(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], atlas: Any) -> Self:
                return cls(**{name: tensor[1:] for name, tensor in tensors.items()})

        for kind, lost in ((Ignoring, "position"), (Dropping, "color")):
            fit = begin(Dots)
            dots = kind(**{name: tensor.detach() for name, tensor in fit.front.state_dict().items()})
            scene = diffbmp.Scene(16, 12, fit.scene.atlas, [dots])
            with registered(kind):
                diffbmp.save_scene(scene, tmp_path / "a.diffbmp")
                sentence = refusal(lambda: diffbmp.load_scene(tmp_path / "a.diffbmp"), kind.name)
            assert f"from_saved of the primitive '{kind.name}' does not keep the tensor '{lost}'" in sentence

    def test_what_no_loss_depends_on_has_no_moments_and_still_resumes(self, tmp_path: Path) -> None:
        def spread(inputs: diffbmp.LossInputs) -> Tensor:
            return inputs.sprites.frame[..., 2].square().mean()

        with registered(Dots):
            fit = begin(Dots, loss=spread)
            next(iter(fit))
            save_checkpoint(fit, tmp_path / "a.diffbmp")
            resumed = diffbmp.resume_fit(tmp_path / "a.diffbmp", loss=spread).run()
        whole = begin(Dots, loss=spread).run()
        for name, tensor in whole.front.state_dict().items():
            assert torch.equal(resumed.front.state_dict()[name], tensor), name


class TestPainting:
    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            (lambda sprites: sprites.frame, "must give Sprites, got Tensor"),
            (lambda sprites: diffbmp.Sprites.concatenate([sprites, sprites]), "has 6 instances but gives 12 sprites"),
            (lambda sprites: with_instance(sprites, [0, 1, 2, 3, 4]), "must be int64 of shape (6,)"),
            (lambda sprites: with_instance(sprites, [0, 1, 0, 3, 4, 5]), "must lie next to each other"),
            (lambda sprites: with_instance(sprites, [0, 1, 2, 3, 4, 6]), "must lie next to each other"),
        ],
    )
    def test_sprites_that_cannot_be_counted(self, wrong: Callable[[Any], Any], said: str) -> None:
        class Miscounted(Dots):
            """Gives other sprites."""

            name = "miscounted"

            def forward(self, atlas: diffbmp.Atlas) -> Any:
                return wrong(super().forward(atlas))

        assert said in refusal(lambda: begin(Miscounted).run(), "miscounted")

    @pytest.mark.parametrize(
        ("layer", "said"),
        [
            (lambda canvas: torch.zeros(3, *canvas.size), "must draw a premultiplied RGBA layer of shape (4, 12, 16)"),
            (lambda canvas: torch.zeros(4, 12, 15), "must draw a premultiplied RGBA layer of shape (4, 12, 16)"),
            (lambda canvas: torch.zeros(4, *canvas.size).long(), "got torch.int64 of (4, 12, 16)"),
            (lambda canvas: None, "got NoneType"),
        ],
    )
    def test_a_layer_of_another_shape(self, layer: Callable[[Any], Any], said: str) -> None:
        class Layered(Dots):
            """Draws a wrong layer."""

            name = "layered"

            def draw(self, canvas: diffbmp.Canvas) -> Any:
                return layer(canvas)

        assert said in refusal(lambda: begin(Layered).run(), "layered")


def with_instance(sprites: diffbmp.Sprites, instance: list[int]) -> diffbmp.Sprites:
    return diffbmp.Sprites(
        sprites.frame, sprites.opacity, sprites.color, sprites.texture, sprites.color_blend, torch.tensor(instance)
    )
