"""The scene file: everything comes back bit by bit, and whatever a stranger sends is refused in one sentence."""

from __future__ import annotations

import io
import json
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import BaseModel
from torch import Tensor

import diffbmp
from diffbmp.errors import DiffbmpError
from diffbmp.plugins.registry import Entry, registry
from diffbmp.scene import encoding, saving, schema
from diffbmp.scene.archive import write_archive
from diffbmp.scene.file import FitState, load_fit_state, load_scene, save_scene

PAGE = Path(__file__).parents[3] / "docs" / "scene-format.md"
HEIGHT, WIDTH = 9, 12

Entries = dict[str, bytes]


def bytes_255(random: torch.Generator, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randint(0, 256, shape, generator=random).to(dtype) / 255


def make_stamps(random: torch.Generator, shape: tuple[int, ...], texture: Tensor) -> diffbmp.Stamps:
    def normal(*tail: int) -> Tensor:
        return torch.randn(*shape, *tail, generator=random)

    return diffbmp.Stamps(
        normal(2) * 4 + 5, normal().abs() + 1, normal(), normal(), normal(3), texture, normal().sigmoid()
    )


def make_scene(background: Tensor | None = None) -> diffbmp.Scene:
    """Two primitives on two canvases, and a texture for every way of being stored."""
    random = torch.Generator().manual_seed(0)
    clear = bytes_255(random, 4, 6, 4)
    clear[3, :3] = 0  # colours under alpha 0 are part of the texture
    signed = bytes_255(random, 1, 3, 3)
    signed[0, 0, 0] = -0.0
    textures = [
        diffbmp.Texture("disc", bytes_255(random, 1, 5, 7)),
        diffbmp.Texture("花びら \U0001f33a", clear),
        diffbmp.Texture("disc", torch.rand(1, 4, 4, generator=random)),
        diffbmp.Texture("float", torch.rand(4, 2, 3, generator=random)),
        diffbmp.Texture("signed", signed),
        diffbmp.Texture("not \udcff unicode", torch.ones(1, 1, 1)),
    ]
    primitives = [
        make_stamps(random, (2, 3), torch.tensor([0, 1, 5])),
        make_stamps(random, (2, 4), torch.tensor([[3, 2, 4, 1], [0, 2, 2, 5]])),
    ]
    return diffbmp.Scene(WIDTH, HEIGHT, diffbmp.Atlas(textures), primitives, background=background, alpha_max=0.9)


def assert_same(loaded: diffbmp.Scene, scene: diffbmp.Scene) -> None:
    def bits(tensor: Tensor) -> bytes:
        return tensor.detach().contiguous().view(torch.uint8).numpy().tobytes() if tensor.numel() else b""

    def listing(scene: diffbmp.Scene) -> dict[str, Any]:
        tensors = {**scene.state_dict(), **{f"texture {k}": t.pixels for k, t in enumerate(scene.atlas.textures)}}
        return {name: (tensor.dtype, tensor.shape, bits(tensor)) for name, tensor in tensors.items()}

    assert listing(loaded) == listing(scene)
    for name in ("width", "height", "alpha_max", "blend", "filter", "linked"):
        assert getattr(loaded, name) == getattr(scene, name)
    assert [type(one) for one in loaded.primitives] == [type(one) for one in scene.primitives]
    for one, other in zip(loaded.primitives, scene.primitives, strict=True):
        assert (one.locked is None) == (other.locked is None)
        assert one.locked is None or torch.equal(one.locked, other.locked)


def entries_of(path: Path) -> Entries:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def document_of(entries: Entries) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(entries[schema.FILE])
    return document


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture(scope="module")
def saved(folder: Path) -> Path:
    """Return a checkpoint with every kind of entry."""
    path = folder / "valid.diffbmp"
    background = bytes_255(torch.Generator().manual_seed(1), 3, HEIGHT, WIDTH)
    fit = FitState({"next_step": 7, "settings": {"n": 3}}, {"optimizer/0/position": torch.arange(6.0)})
    save_scene(make_scene(background), path, fit=fit)
    return path


Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def altered(saved: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes the valid file with some of its entries or its document changed."""

    def write(entries: Mapping[str, bytes | None] | None = None, document: Change | None = None) -> Path:
        kept: dict[str, bytes | None] = {**entries_of(saved), **(entries or {})}
        if document is not None:
            values = document_of(entries_of(saved))
            document(values)
            kept[schema.FILE] = json.dumps(values).encode()
        path = tmp_path / "altered.diffbmp"
        write_archive(path, {name: data for name, data in kept.items() if data is not None})
        return path

    return write


def check_sentence(error: DiffbmpError, path: Path) -> None:
    sentence = str(error)
    assert sentence.startswith(f"Scene '{path}' ")
    assert sentence.endswith((".", "?"))
    assert sentence.replace(str(path), "").isprintable()
    assert len(sentence) < 1000


def refusal(path: Path) -> str:
    """Return the one sentence that refuses a file."""
    with pytest.raises(DiffbmpError) as caught:
        load_scene(path)
    check_sentence(caught.value, path)
    return str(caught.value).removeprefix(f"Scene '{path}' ").removesuffix(".")


class TestRoundTrip:
    @pytest.mark.parametrize("kind", ["transparent", "color", "picture", "float picture"])
    def test_every_tensor_comes_back(self, tmp_path: Path, kind: str) -> None:
        random = torch.Generator().manual_seed(2)
        background = {
            "transparent": None,
            "color": torch.rand(3, generator=random),
            "picture": bytes_255(random, 3, HEIGHT, WIDTH),
            "float picture": torch.rand(3, HEIGHT, WIDTH, generator=random),
        }[kind]
        scene = make_scene(background)
        save_scene(scene, tmp_path / "a.diffbmp")
        loaded = load_scene(tmp_path / "a.diffbmp")
        assert_same(loaded, scene)
        assert torch.equal(loaded.render(renderer="reference"), scene.render(renderer="reference"))
        names = [texture.name for texture in loaded.atlas.textures]
        assert names == ["disc", "花びら \U0001f33a", "disc", "float", "signed", r"not \udcff unicode"]
        assert ("background.png" in entries_of(tmp_path / "a.diffbmp")) == (kind == "picture")

    def test_float64(self, tmp_path: Path) -> None:
        ramp = torch.arange(256).reshape(1, 16, 16).double() / 255
        atlas = diffbmp.Atlas.from_pixels([ramp, ramp.expand(4, 16, 16), torch.rand(3, 3).double()])
        stamps = make_stamps(torch.Generator().manual_seed(0), (2,), torch.tensor([0, 2])).double()
        scene = diffbmp.Scene(5, 4, atlas, [stamps], background=torch.rand(3).double(), blend="add", filter="trilinear")
        save_scene(scene, tmp_path / "a.diffbmp")
        assert_same(load_scene(tmp_path / "a.diffbmp"), scene)
        pictures = [name for name in entries_of(tmp_path / "a.diffbmp") if name.endswith(".png")]
        assert pictures == ["textures/00000.png", "textures/00001.png"]

    @pytest.mark.parametrize("dtype", schema.DTYPES)
    def test_every_byte_of_every_dtype(self, dtype: torch.dtype) -> None:
        ramp = torch.arange(256).reshape(1, 16, 16).to(dtype) / 255
        values = encoding.exact_bytes(ramp)
        assert values is not None
        assert values.flatten().tolist() == list(range(256))
        assert torch.equal(encoding.from_bytes(values, dtype), ramp)
        for off in (0.001, -0.0, 1.02, -1.0):
            other = ramp.clone()
            other[0, 8, 8] = off
            assert encoding.exact_bytes(other) is None

    def test_half_precision_where_the_device_cannot(self, altered: Callable[..., Path], saved: Path) -> None:
        def half(document: dict[str, Any]) -> None:
            document["texture_dtype"] = "float16"

        tensors = safetensors.torch.load(entries_of(saved)[schema.TENSORS])
        tensors = {name: t.half() if name.startswith("textures") else t for name, t in tensors.items()}
        path = altered({schema.TENSORS: safetensors.torch.save(tensors)}, document=half)
        try:
            scene = load_scene(path)
        except DiffbmpError as error:
            check_sentence(error, path)
            assert "holds textures of float16, which PyTorch cannot filter on cpu" in str(error)  # noqa: PT017
        else:
            assert scene.atlas.texels.dtype == torch.float16

    def test_no_stamps_at_all(self, tmp_path: Path) -> None:
        stamps = make_stamps(torch.Generator(), (0,), torch.zeros(0, dtype=torch.int64))
        scene = diffbmp.Scene(5, 4, diffbmp.Atlas.from_pixels([torch.ones(2, 2)]), [stamps])
        save_scene(scene, tmp_path / "a.diffbmp")
        assert_same(load_scene(tmp_path / "a.diffbmp"), scene)

    def test_learned_shared_and_expanded_tensors(self, tmp_path: Path) -> None:
        pixels = torch.rand(1, 3, 3, requires_grad=True)
        scene = diffbmp.Scene(5, 4, diffbmp.Atlas.from_pixels([pixels, pixels]), [make_scene().primitives[1]])
        scene.primitives[0].texture = torch.zeros(1, dtype=torch.int64).expand(4)
        scene.register_buffer("background", torch.rand(3, 1, 1).expand(3, 4, 5))
        save_scene(scene, tmp_path / "a.diffbmp")
        assert_same(load_scene(tmp_path / "a.diffbmp"), scene)

    def test_locks_and_links(self, tmp_path: Path) -> None:
        scene = make_scene()
        scene.linked = True
        scene.primitives[1].locked = torch.tensor([True, False, False, True])
        save_scene(scene, tmp_path / "a.diffbmp")
        assert_same(load_scene(tmp_path / "a.diffbmp"), scene)

    def test_carries_the_lowest_version_that_holds_it(self, tmp_path: Path) -> None:
        def version(scene: diffbmp.Scene) -> int:
            save_scene(scene, tmp_path / "a.diffbmp")
            number: int = document_of(entries_of(tmp_path / "a.diffbmp"))["version"]
            return number

        assert version(make_scene()) == 1
        scene = make_scene()
        scene.atlas = diffbmp.Atlas([diffbmp.Texture("leaf", t.pixels, "leaves") for t in scene.atlas.textures])
        assert version(scene) == 2
        scene.primitives[0].locked = torch.tensor([False, True, False])
        assert version(scene) == 3
        scene = make_scene()
        scene.linked = True
        assert version(scene) == 3

    def test_the_same_scene_gives_the_same_bytes(self, tmp_path: Path, saved: Path) -> None:
        again = tmp_path / "again.diffbmp"
        save_scene(load_scene(saved), again, fit=load_fit_state(saved))
        assert again.read_bytes() == saved.read_bytes()

    def test_beyond_the_budget_textures_become_tensors(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        scene = make_scene()
        for name, module, limit in (("MOST_PNG_ENTRIES", saving, 1), ("MOST_PNG_VALUES", schema, 40)):
            with monkeypatch.context() as patch:
                patch.setattr(module, name, limit)
                save_scene(scene, tmp_path / "a.diffbmp")
                assert_same(load_scene(tmp_path / "a.diffbmp"), scene)
            assert sum(name.endswith(".png") for name in entries_of(tmp_path / "a.diffbmp")) < 3

    def test_a_kind_of_a_plugin(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        class Dot(diffbmp.Primitive):
            """One dot; keeps its place as metadata."""

            name = "dot"
            axes: ClassVar[Mapping[str, int | None]] = {"mask": -1}

            def __init__(self, place: float) -> None:
                super().__init__()
                self.place = place
                self.mask = torch.nn.Buffer(torch.tensor([True, False]))

            def forward(self, atlas: diffbmp.Atlas) -> diffbmp.Sprites:
                raise NotImplementedError

            def learnables(self) -> Mapping[str, diffbmp.Learnable]:
                return {}

            def metadata(self) -> dict[str, Any]:
                return {"place": self.place}

            @classmethod
            def from_saved(cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], _: Any) -> Self:
                assert tensors["mask"].dtype == torch.bool
                return cls(metadata["place"])

        path = tmp_path / "a.diffbmp"
        scene = diffbmp.Scene(5, 4, diffbmp.Atlas.from_pixels([torch.ones(2, 2)]), [Dot(0.1)])
        save_scene(scene, path)
        assert "needs the primitive 'dot', which no installed plugin brings; install the plugin" in refusal(path)
        monkeypatch.setitem(registry()._entries, ("primitives", "dot"), Entry("primitives", "dot", Dot, "test"))
        loaded = load_scene(path)
        assert_same(loaded, scene)
        assert loaded.primitives[0].place == 0.1
        damaged = {**entries_of(path)}
        damaged[schema.FILE] = damaged[schema.FILE].replace(b'"place"', b'"plate"')
        write_archive(path, damaged)
        assert refusal(path) == "is damaged: primitive 0 (dot) cannot be built: 'place'"

    def test_fit_state(self, saved: Path, tmp_path: Path) -> None:
        state = load_fit_state(saved)
        assert state is not None
        assert state.metadata == {"next_step": 7, "settings": {"n": 3}}
        assert torch.equal(state.tensors["optimizer/0/position"], torch.arange(6.0))
        save_scene(make_scene(), tmp_path / "a.diffbmp")
        assert load_fit_state(tmp_path / "a.diffbmp") is None
        save_scene(make_scene(), tmp_path / "a.diffbmp", fit=FitState({}, {"moment": torch.tensor(float("inf"))}))
        state = load_fit_state(tmp_path / "a.diffbmp")
        assert state is not None
        assert state.tensors["moment"] == float("inf")


class TestSaveRefuses:
    def test_what_a_file_cannot_hold(self, tmp_path: Path) -> None:
        path = tmp_path / "a.diffbmp"

        def message(scene: diffbmp.Scene, fit: FitState | None = None) -> str:
            with pytest.raises(DiffbmpError) as caught:
                save_scene(scene, path, fit=fit)
            assert not list(tmp_path.iterdir())
            return str(caught.value)

        scene = make_scene()
        scene.primitives[1].scale.data[1, 2] = float("nan")
        assert message(scene) == f"Scene '{path}' cannot be saved: the tensor 'parts/1/scale' holds NaN or infinity."
        scene = make_scene()
        scene.alpha_max = 1.5
        assert "cannot be saved: 'scene.json' at 'alpha_max': input should be less than" in message(scene)
        scene = make_scene()
        scene.atlas = scene.atlas.blurred(1.0)
        assert "cannot hold a blurred atlas" in message(scene)
        scene = make_scene()
        scene.primitives[0].register_buffer("wave", torch.zeros(2, dtype=torch.complex64))
        assert "cannot hold the tensor 'parts/0/wave': torch.complex64" in message(scene)
        assert "cannot hold fit.json: Object of type Tensor" in message(make_scene(), FitState({"x": torch.ones(1)}))
        assert "cannot hold fit.json: Out of range float" in message(make_scene(), FitState({"x": float("nan")}))

    def test_a_path_that_cannot_be_written(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(DiffbmpError, match="a part of its path is a file"):
            save_scene(make_scene(), tmp_path / "file" / "a.diffbmp")

    def test_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("diffbmp.scene.archive.MOST_BYTES", 100)
        with pytest.raises(DiffbmpError, match=r"would be 0\.0 GB large; the limit is"):
            save_scene(make_scene(), tmp_path / "a.diffbmp")
        assert not list(tmp_path.iterdir())


class TestWrongFiles:
    def test_missing_and_folder(self, tmp_path: Path) -> None:
        assert "does not exist" in refusal(tmp_path / "missing.diffbmp")
        assert "is a folder" in refusal(tmp_path)

    def test_no_scene(self, tmp_path: Path) -> None:
        path = tmp_path / "a.diffbmp"
        for content in (b"hello", b"\x89PNG\r\n\x1a\n" + bytes(50), pickle.dumps(make_scene)):
            path.write_bytes(content)
            assert refusal(path) == "is not a scene file of DiffBMP"
        torch.save({"a": torch.ones(1)}, path)
        assert refusal(path)
        write_archive(path, {"word/document.xml": b"<x/>"})
        assert refusal(path) == "is not a scene file of DiffBMP: it holds no 'scene.json'"
        write_archive(path, {"scene.json": b'{"format": "other", "version": 1}'})
        assert refusal(path) == "is not a scene file of DiffBMP: its 'scene.json' has another format"

    def test_newer_version(self, altered: Callable[..., Path]) -> None:
        def newer(document: dict[str, Any]) -> None:
            document.update(version=4, written_by="diffbmp 9.0", new_thing=True)

        assert refusal(altered({"new.bin": b""}, document=newer)) == (
            "was written by 'diffbmp 9.0' in version 4 of the format, and this program reads versions up to 3; "
            "install a newer diffbmp-core"
        )

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            (lambda d: d.update(author="x"), "'scene.json' at 'author': extra inputs are not permitted"),
            (lambda d: d["canvas"].update(depth=1), "'scene.json' at 'canvas.depth': extra inputs"),
            (lambda d: d.pop("version"), "'version': field required"),
            (lambda d: d.update(version=0), "'version': input should be greater than or equal to 1"),
            (lambda d: d.update(version=True), "'version': input should be a valid integer"),
            (lambda d: d["canvas"].update(width=65_536), "'canvas.width': input should be less than or equal to 65535"),
            (lambda d: d["canvas"].update(height=0), "'canvas.height': input should be greater than or equal to 1"),
            (lambda d: d["canvas"].update(height="9"), "'canvas.height': input should be a valid integer"),
            (lambda d: d.update(alpha_max=2), "'alpha_max'"),
            (lambda d: d.update(blend="multiply"), "'blend': input should be 'over' or 'add'"),
            (lambda d: d.update(parts=[]), "'parts': list should have at least 1 item"),
            (lambda d: d["parts"][0].update(kind="wave"), "needs the primitive 'wave', which no installed plugin"),
            (lambda d: d["parts"][0].update(metadata={"a": 1}), "(stamps) cannot be built: Saved stamps have"),
            (lambda d: d["parts"][0]["tensors"].pop(), "cannot be built: Saved stamps lack ['texture']"),
            (lambda d: d["parts"][0]["tensors"].append("scale"), "lacks the tensor 'parts/0/scale'"),
            (lambda d: d["parts"].pop(), "the tensor 'parts/1/color_blend' has no place"),
            (lambda d: d["textures"].pop(), "'textures/00005.png' has no place"),
            (lambda d: d["textures"][0].update(width=8), "'textures/00000.png' is L of 7 x 5, expected L of 8 x 5"),
            (lambda d: d["textures"][0].update(channels="rgba"), "is L of 7 x 5, expected RGBA of 7 x 5"),
            (lambda d: d["textures"][0].update(storage="tensor"), "'textures/00000.png' has no place"),
            (lambda d: d["textures"][2].update(storage="png"), "'textures/00002.png' is missing"),
            (lambda d: d["textures"][2].update(height=5), "the tensor 'textures/2' is torch.float32 of (1, 4, 4)"),
            (lambda d: d.update(texture_dtype="float64"), "the tensor 'textures/2' is torch.float32 of (1, 4, 4)"),
            (
                lambda d: d["textures"][0].update(width=65_535, height=65_535),
                "'textures/00000.png' has 65535 x 65535 pixels; the limit is",
            ),
            (
                lambda d: [t.update(width=16_000, height=10_000) for t in d["textures"] if t["storage"] == "png"],
                "its PNG pictures hold",
            ),
        ],
    )  # fmt: skip
    def test_documents(self, altered: Callable[..., Path], change: Change, expected: str) -> None:
        assert expected in refusal(altered(document=change))

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            (b"", "no valid JSON"),
            (b"\xff\xfe", "no valid JSON"),
            (b"[]", "has another format"),
            (b'{"a": 1, "a": 2}', "key 'a' is given twice"),
            (b'{"a": NaN}', "NaN is not a finite number"),
            (b'{"a": 1e999}', "1e999 is not a finite number"),
            (b'{"a": ' + b"9" * 5000 + b"}", "no valid JSON"),
            (b"[" * 100_000, "no valid JSON"),
            (b"[" * 40 + b"]" * 40, "nested deeper than 32"),
            (b"[" + b"0," * 600_000 + b"0]", "holds 600001 values; the limit is"),
            (b" " * (2**24 + 1), "'scene.json' has 16777217 bytes; the limit is"),
        ],
    )
    def test_json(self, altered: Callable[..., Path], text: bytes, expected: str) -> None:
        assert expected in refusal(altered({schema.FILE: text}))

    def test_primitives_of_different_batches(self, altered: Callable[..., Path], saved: Path) -> None:
        tensors = safetensors.torch.load(entries_of(saved)[schema.TENSORS])
        tensors = {name: t[0].clone() if name.startswith("parts/1/") else t for name, t in tensors.items()}
        assert refusal(altered({schema.TENSORS: safetensors.torch.save(tensors)})) == (
            "is damaged: The primitives of a scene share none or one leading dimension, got 'stamps' (2,), 'stamps' ()"
        )

    @pytest.mark.parametrize(
        ("name", "value", "expected"),
        [
            ("parts/0/scale", torch.full((2, 3), float("nan")), "the tensor 'parts/0/scale' holds NaN or infinity"),
            ("textures/2", torch.full((1, 4, 4), float("inf")), "the tensor 'textures/2' holds NaN or infinity"),
            ("parts/1/texture", torch.tensor([0, 1, 2, 6]), "use textures outside the atlas of 6"),
            ("parts/1/texture", torch.tensor([0, 1, 2, -1]), "use textures outside the atlas of 6"),
            ("parts/1/texture", torch.tensor([0.0, 1.0, 2.0, 1.0]), "texture must hold integers"),
            ("parts/1/scale", torch.ones(5), "must have shape"),
            ("parts/1/scale", torch.ones(4, dtype=torch.int64), "scale must hold float32 or float64"),
            ("parts/1/scale", torch.ones(4, dtype=torch.complex64), "holds torch.complex64"),
            ("evil", torch.ones(1), "the tensor 'evil' has no place"),
            ("parts/1/scale", None, "lacks the tensor 'parts/1/scale'"),
        ],
    )
    def test_tensors(
        self, altered: Callable[..., Path], saved: Path, name: str, value: Tensor | None, expected: str
    ) -> None:
        tensors = safetensors.torch.load(entries_of(saved)[schema.TENSORS])
        tensors = {key: tensor for key, tensor in {**tensors, name: value}.items() if tensor is not None}
        assert expected in refusal(altered({schema.TENSORS: safetensors.torch.save(tensors)}))

    def test_a_pickle_in_place_of_tensors(self, altered: Callable[..., Path], tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> tuple[Any, ...]:
                return Path.touch, (tmp_path / "ran",)

        assert "'tensors.safetensors'" in refusal(altered({schema.TENSORS: pickle.dumps(Bomb())}))
        assert refusal(altered({"data.pkl": pickle.dumps(Bomb())})) == (
            "is refused: 'data.pkl' has no place in a scene file"
        )
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize("name", ["../evil", "/etc/evil", "textures/", "Scene.json", "textures/0.png", "e\x1b[2Jl"])
    def test_unexpected_entries(self, altered: Callable[..., Path], name: str) -> None:
        assert refusal(altered({name: b"x"})) == f"is refused: {name!r} has no place in a scene file"

    @pytest.mark.parametrize("name", [schema.TENSORS, schema.FIT_TENSORS, "textures/00000.png", "background.png"])
    def test_missing_entries(self, altered: Callable[..., Path], name: str) -> None:
        assert refusal(altered({name: None})) == f"is damaged: '{name}' is missing"

    def test_pictures_that_are_not_what_they_are_called(self, altered: Callable[..., Path]) -> None:
        file = io.BytesIO()
        Image.new("L", (7, 5)).save(file, "BMP")
        assert "'textures/00000.png' is no whole PNG" in refusal(altered({"textures/00000.png": file.getvalue()}))
        bomb = io.BytesIO()
        Image.new("L", (7, 5)).save(bomb, "PNG")
        huge = bomb.getvalue()[:16] + struct.pack(">II", 60_000, 60_000) + bomb.getvalue()[24:]
        assert "'textures/00000.png'" in refusal(altered({"textures/00000.png": huge}))


class TestHostileZips:
    def zipped(self, path: Path, saved: Path, change: Callable[[zipfile.ZipFile], None], **options: Any) -> Path:
        with zipfile.ZipFile(path, "w", **options) as archive:
            for name, data in entries_of(saved).items():
                archive.writestr(name, data)
            change(archive)
        return path

    def test_a_bomb_is_never_unpacked(self, tmp_path: Path, saved: Path) -> None:
        bomb = zipfile.ZipInfo("tensors.safetensors")
        bomb.compress_type = zipfile.ZIP_DEFLATED
        path = tmp_path / "a.diffbmp"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries_of(saved).items():
                archive.writestr(*((bomb, bytes(50_000_000)) if name == bomb.filename else (name, data)))
        assert path.stat().st_size < 100_000
        assert refusal(path) == (
            "is refused: 'tensors.safetensors' is compressed; entries of a scene file are stored as they are"
        )

    @pytest.mark.filterwarnings("ignore:Duplicate name")
    def test_an_entry_twice(self, tmp_path: Path, saved: Path) -> None:
        path = self.zipped(tmp_path / "a", saved, lambda archive: archive.writestr("fit.json", b"{}"))
        assert refusal(path) == "is refused: it holds 'fit.json' twice"

    def test_entries_that_share_bytes(self, tmp_path: Path, saved: Path) -> None:
        def overlap(archive: zipfile.ZipFile) -> None:
            archive.getinfo("textures/00001.png").header_offset = archive.getinfo("textures/00000.png").header_offset

        assert "lies outside the file or upon another entry" in refusal(self.zipped(tmp_path / "a", saved, overlap))

    def test_a_directory_that_lies_about_sizes(self, tmp_path: Path, saved: Path) -> None:
        def shrink(archive: zipfile.ZipFile) -> None:
            info = archive.getinfo("tensors.safetensors")
            info.file_size = info.compress_size = 10

        def stretch(archive: zipfile.ZipFile) -> None:
            info = archive.getinfo("tensors.safetensors")
            info.file_size = info.compress_size = 4_000_000_000

        assert "'tensors.safetensors' cannot be read" in refusal(self.zipped(tmp_path / "a", saved, shrink))
        assert "lies outside the file" in refusal(self.zipped(tmp_path / "b", saved, stretch))

    def test_encrypted(self, tmp_path: Path, saved: Path) -> None:
        def encrypt(archive: zipfile.ZipFile) -> None:
            archive.getinfo("scene.json").flag_bits |= 1

        assert "'scene.json' is encrypted" in refusal(self.zipped(tmp_path / "a", saved, encrypt))

    def test_comments_and_64_bit_records(self, tmp_path: Path, saved: Path) -> None:
        def comment(archive: zipfile.ZipFile) -> None:
            archive.comment = b"hello"

        assert "damaged or cut short" in refusal(self.zipped(tmp_path / "a", saved, comment))
        data = saved.read_bytes()
        path = tmp_path / "b"
        path.write_bytes(data[:-22] + b"PK\x06\x07" + bytes(16) + data[-22:])
        assert "64-bit zip" in refusal(path)
        path.write_bytes(data[:-10] + struct.pack("<L", 2**31) + data[-6:])
        assert "its directory has 2147483648 bytes; the limit is" in refusal(path)

    def test_larger_than_any_scene(self, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("diffbmp.scene.archive.MOST_BYTES", 1000)
        assert "the limit is 0.0 GB" in refusal(saved)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def check(path: Path, folder: Path) -> None:
    """Check that a file is refused in one sentence, or gives a scene that can be saved and comes back the same."""
    try:
        scene = load_scene(path)
    except DiffbmpError as error:
        check_sentence(error, path)
    else:
        save_scene(scene, folder / "again.diffbmp")
        assert_same(load_scene(folder / "again.diffbmp"), scene)
    try:
        load_fit_state(path)
    except DiffbmpError as error:
        check_sentence(error, path)


class TestMutations:
    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_bytes_of_the_file(self, saved: Path, folder: Path, data: st.DataObject) -> None:
        content = bytearray(saved.read_bytes())
        path = folder / "mutated.diffbmp"
        for _ in range(data.draw(st.integers(1, 3))):
            start = data.draw(st.integers(0, len(content)))
            stop = min(len(content), start + data.draw(st.integers(0, 8)))
            content[start:stop] = data.draw(st.binary(max_size=8))
        path.write_bytes(content)
        try:
            loaded = load_scene(path)
        except DiffbmpError as error:
            check_sentence(error, path)
        else:
            assert_same(loaded, load_scene(saved))  # checksums leave only dates and the like to change

    @settings(max_examples=60, deadline=None)
    @given(share=st.floats(0, 1, exclude_max=True))
    def test_cut_short(self, saved: Path, folder: Path, share: float) -> None:
        content = saved.read_bytes()
        path = folder / "short.diffbmp"
        path.write_bytes(content[: int(len(content) * share)])
        assert re.match(r"is damaged or cut short|is not a scene file|is empty", refusal(path))

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_bytes_of_an_entry(self, saved: Path, folder: Path, data: st.DataObject) -> None:
        entries = entries_of(saved)
        name = data.draw(st.sampled_from(sorted(entries)))
        content = bytearray(entries[name])
        start = data.draw(st.integers(0, len(content)))
        content[start : start + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
        path = folder / "entry.diffbmp"
        write_archive(path, {**entries, name: bytes(content)})
        check(path, folder)

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_values_of_the_document(self, saved: Path, folder: Path, data: st.DataObject) -> None:
        entries = entries_of(saved)
        document = document_of(entries)
        node: Any = document
        while True:
            keys = sorted(node) if isinstance(node, dict) else list(range(len(node)))
            key = data.draw(st.sampled_from(keys))
            if not (isinstance(node[key], (dict, list)) and node[key] and data.draw(st.booleans())):
                break
            node = node[key]
        if data.draw(st.booleans()):
            node[key] = data.draw(JSON_VALUES)
        else:
            del node[key]
        path = folder / "document.diffbmp"
        write_archive(path, {**entries, schema.FILE: json.dumps(document).encode()})
        check(path, folder)


class TestPage:
    def test_the_program_on_the_page_reads_a_file(self, saved: Path) -> None:
        program = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
        assert "diffbmp" not in program
        command = [sys.executable, "-X", "utf8", "-W", "error", "-c", program, str(saved)]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
        assert done.stderr == ""
        lines = done.stdout.splitlines()
        assert lines[:5] == [
            f"{WIDTH} x {HEIGHT}",
            "disc L (7, 5)",
            "花びら \U0001f33a RGBA (4, 6)",
            "disc (1, 4, 4)",
            "float (4, 2, 3)",
        ]
        assert "'position': (2, 3, 2)" in lines[7]
        assert "'position': (2, 4, 2)" in lines[8]

    def test_every_key_and_limit_is_on_the_page(self) -> None:
        page = PAGE.read_text(encoding="utf-8")
        models = [value for value in vars(schema).values() if isinstance(value, type) and issubclass(value, BaseModel)]
        assert schema.SceneDocument in models
        for key in {key for model in models for key in model.model_fields}:
            assert f"`{key}`" in page, key
        for limit in (
            schema.LARGEST_CANVAS,
            schema.MOST_PNG_VALUES,
            schema.MOST_TEXTURES,
            schema.MOST_PRIMITIVES,
            encoding.MOST_JSON_VALUES,
            saving.LARGEST_PICTURE,
            saving.MOST_ENTRIES,
        ):
            assert f"{limit:,}" in page
