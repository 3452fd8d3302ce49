"""Targets as people have them: files, tensors, NumPy arrays, PIL pictures, and several of these."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from small_fits import assert_same_bits, picture, pictures, shaped, started, tensors
from torch import Tensor

import diffbmp
from diffbmp import DiffbmpError, Target, resume_fit
from diffbmp.fitting.checkpoint import save_checkpoint
from diffbmp.fitting.target import read_target
from diffbmp.images import read_image


def pixels(image: Tensor) -> np.ndarray[Any, Any]:
    """Return an image ``(C, H, W)`` as 8-bit ``(H, W, C)``."""
    return (image.movedim(0, -1) * 255).round().to(torch.uint8).numpy()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    Image.fromarray(pixels(picture())).save(tmp_path / "target.png")
    return tmp_path / "target.png"


@pytest.fixture
def clear(tmp_path: Path) -> Path:
    Image.fromarray(pixels(shaped(picture()))).save(tmp_path / "clear.png")
    return tmp_path / "clear.png"


def forms(path: Path) -> dict[str, Any]:
    """Return the picture in a file in every form that a target may have."""
    image = read_image(path)
    with Image.open(path) as opened:
        opened.load()
        held = opened.copy()
    array = np.asarray(held)
    return {
        "text": str(path),
        "path": path,
        "tensor": image,
        "double": image.double(),
        "strided": image.movedim(0, -1).contiguous().movedim(-1, 0),
        "learned": image.clone().requires_grad_(True) * 1,
        "array": array,
        "floats": array.astype(np.float32) / np.float32(255),
        "doubles": array / 255,
        "long doubles": array / np.longdouble(255),
        "other byte order": (array.astype(np.float32) / np.float32(255)).astype(">f4"),
        "strided array": np.asfortranarray(array)[::1],
        "picture": held,
        "palette": None if held.mode == "RGBA" else held.quantize(256),
        "target": Target.from_image(image),
    }


class TestForms:
    @pytest.mark.parametrize("name", ["file", "clear"])
    def test_all_give_the_same_target_and_fit(self, name: str, request: pytest.FixtureRequest) -> None:
        path = request.getfixturevalue(name)
        expected = read_target(path)
        assert (expected.alpha is None) == (name == "file")
        fitted = tensors(started(path, steps=3).run().scene)
        for form, target in forms(path).items():
            if target is None:
                continue
            with warnings.catch_warnings(action="error"):
                found = read_target(target)
            close = 1e-6 if form != "palette" else 0.3
            assert torch.allclose(found.image().float(), expected.image(), atol=close), form
            assert found.color.is_contiguous(), form
            assert not found.color.requires_grad, form
            if form not in ("double", "doubles", "palette"):
                assert torch.equal(found.image(), expected.image()), form
                assert_same_bits(tensors(started(target, steps=3).run().scene), fitted)

    def test_grey_arrays_and_pictures(self) -> None:
        grey = pixels(picture())[..., 0]
        for target in (grey, Image.fromarray(grey), grey.astype(np.float32) / 255):
            found = read_target(target)
            assert found.color.shape == (3, 19, 29)
            assert torch.allclose(found.color, torch.from_numpy(grey / 255).float().expand(3, -1, -1))

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
    def test_every_mode_that_pillow_converts(self, mode: str) -> None:
        held = Image.fromarray(pixels(picture())).convert(mode)
        assert read_target(held).size == (19, 29)

    def test_16_bit_pictures_keep_their_brightness(self) -> None:
        values = np.linspace(0, 65535, 19 * 29).reshape(19, 29).astype(np.uint16)
        found = read_target(Image.fromarray(values))
        assert torch.allclose(found.color[0], torch.from_numpy(values / 65535).float(), atol=1 / 255)

    def test_pictures_are_turned_as_their_camera_noted(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise
        Image.fromarray(pixels(picture())).save(tmp_path / "turned.png", exif=exif)
        with Image.open(tmp_path / "turned.png") as opened:
            assert torch.equal(read_target(opened).color, read_target(tmp_path / "turned.png").color)
        assert read_target(tmp_path / "turned.png").size == (29, 19)

    def test_an_alpha_of_1_throughout_is_none(self) -> None:
        opaque = torch.cat([picture(), torch.ones(1, 19, 29)])
        assert read_target(opaque).alpha is None
        assert read_target(pixels(opaque)).alpha is None
        assert read_target(torch.stack([opaque, opaque])).alpha is None
        both = read_target([opaque, shaped(picture())])
        assert both.alpha is not None
        assert both.canvas(0).alpha is None
        assert both.canvas(1).alpha is not None

    def test_a_strided_target_resumes_to_the_same_bits(self, tmp_path: Path) -> None:
        for target in (
            shaped(picture()).movedim(0, -1).contiguous().movedim(-1, 0),
            torch.stack([shaped(one) for one in pictures(2)]).movedim(1, -1).contiguous().movedim(-1, 1),
        ):
            whole = started(target, refine=[]).run()
            fit = started(target, refine=[])
            for step in fit:
                fit.stopping = step.index == 2
            save_checkpoint(fit, tmp_path / "checkpoint.diffbmp")
            assert_same_bits(tensors(resume_fit(tmp_path / "checkpoint.diffbmp").run().scene), tensors(whole.scene))


class TestBatches:
    def test_lists_of_anything_tensors_and_arrays(self, file: Path) -> None:
        several = [file, str(file), picture(), pixels(picture()), Image.fromarray(pixels(picture())),
                   Target.from_image(picture())]  # fmt: skip
        found = read_target(several)
        assert found.batch == 6
        assert torch.allclose(found.color, picture().expand(6, -1, -1, -1), atol=1 / 255)
        assert read_target(tuple(several)).batch == 6
        stacked = read_target(torch.stack(pictures(2)))
        assert torch.equal(stacked.color, read_target(pictures(2)).color)
        array = np.stack([pixels(one) for one in pictures(2)])
        assert torch.equal(read_target(array).color, read_target([*array]).color)

    def test_paths_are_named_in_the_settings(self, file: Path) -> None:
        fit = started([file, str(file)], refine=[], initializer="random")
        assert fit.batch == 2
        assert fit.settings.target == [str(file)] * 2
        assert started([file, picture()], refine=[], initializer="random").settings.target == ""

    def test_one_is_a_batch_of_one(self) -> None:
        options: dict[str, Any] = {"steps": 4}
        batch, alone = started([picture()], **options).run(), started(picture(), **options).run()
        assert batch.batch == 1
        assert_same_bits(tensors(batch.scene.canvas(0)), tensors(alone.scene))

    def test_files_are_resized_alike(self, file: Path) -> None:
        assert read_target([file, file], width=10).size == (7, 10)


WRONG: list[tuple[Any, str]] = [
    (5, "A target is a path, a tensor .*, not int"),
    ({"target": 1}, "not dict"),
    (b"target.png", "not bytes"),
    (iter([]), "not list_iterator"),
    ([], "A batch needs at least one target"),
    ([picture(), 5], "not int"),
    (torch.rand(19, 29), r"must have shape \(3, H, W\) or \(4, H, W\), got \(19, 29\)"),
    (torch.rand(1, 19, 29), r"got \(1, 19, 29\)"),
    (torch.rand(19, 29, 3), r"got \(19, 29, 3\)"),
    (torch.rand(2, 2, 3, 9, 9), r"got \(2, 2, 3, 9, 9\)"),
    (torch.rand(3, 0, 9), r"got \(3, 0, 9\)"),
    (torch.zeros(3, 9, 9, dtype=torch.uint8), "divide 8-bit values by 255"),
    (torch.full((3, 9, 9), torch.nan), "NaN or infinity"),
    (torch.full((3, 9, 9), 255.0), "values from 255 to 255"),
    (np.zeros((3, 19, 29)), r"must have shape \(H, W\), \(H, W, 3\) or \(H, W, 4\), got \(3, 19, 29\)"),
    (np.zeros((9, 9, 1)), r"got \(9, 9, 1\)"),
    (np.zeros(9), r"got \(9,\)"),
    (np.zeros((0, 9, 3)), "must have shape"),
    (np.zeros((9, 9, 3), dtype=np.int64), "8-bit values or floats in .*got int64"),
    (np.zeros((9, 9, 3), dtype=np.uint16), "got uint16"),
    (np.zeros((9, 9, 3), dtype=bool), "got bool"),
    (np.zeros((9, 9, 3), dtype=complex), "got complex128"),
    (np.full((9, 9, 3), 200.0), "values from 200 to 200"),
    (np.full((9, 9, 3), np.inf), "NaN or infinity"),
    (np.zeros((0, 9, 9, 3)), "A batch needs at least one target"),
    ([torch.stack(pictures(2))], "one of those given is a batch itself"),
    ([[picture()], [picture()]], "one of those given is a batch itself"),
    ([picture(), picture(0, 19, 30)], "must be of one size, got 29 x 19, 30 x 19"),
    (Image.new("F", (9, 9)), "32-bit samples"),
    (Image.new("I", (9, 9)), "32-bit samples"),
    ("nowhere.png", "nowhere.png"),
]


class TestRefused:
    @pytest.mark.parametrize(("target", "said"), WRONG)
    def test_in_one_sentence(self, target: Any, said: str) -> None:
        with pytest.raises(DiffbmpError, match=said) as refused:
            diffbmp.start_fit(target, stamps="shape:disc", n=2, steps=1)
        assert "\n" not in str(refused.value)

    def test_a_picture_that_is_cut_short(self) -> None:
        whole = io.BytesIO()
        Image.fromarray(pixels(picture(0, 64, 64))).save(whole, "PNG")
        with Image.open(io.BytesIO(whole.getvalue()[:300])) as cut, pytest.raises(DiffbmpError, match="cannot be read"):
            read_target(cut)

    def test_a_width_for_what_is_no_file(self) -> None:
        for target in (picture(), pixels(picture()), Image.fromarray(pixels(picture()))):
            with pytest.raises(DiffbmpError, match="width resizes a target that is read from a file"):
                read_target(target, width=10)

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=4),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
            max_leaves=4,
        )
    )
    def test_anything_else_gets_a_sentence(self, target: Any) -> None:
        with pytest.raises(DiffbmpError):
            read_target(target)
