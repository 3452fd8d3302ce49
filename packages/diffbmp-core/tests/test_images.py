"""Pictures from files, as a person has them: every mode, every mistake, and bytes from strangers."""

from __future__ import annotations

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from diffbmp.errors import DiffbmpError
from diffbmp.images import decode_pictures, read_image, write_png


def saved(picture, path, **options):
    picture.save(path, **options)
    return path


def png_bytes(picture, format="PNG"):
    buffer = io.BytesIO()
    picture.save(buffer, format)
    return buffer.getvalue()


def noise(size=(40, 30), mode="RGB"):
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], bands), dtype=np.uint8)
    return Image.fromarray(values[..., 0] if bands == 1 else values)


def rgb(image, x=0, y=0):
    return [round(float(v) * 255) for v in image[:, y, x]]


def test_opaque_colors_are_rgb(tmp_path):
    image = read_image(saved(Image.new("RGB", (3, 2), (255, 128, 0)), tmp_path / "a.png"))
    assert image.shape == (3, 2, 3)
    assert image.dtype == torch.float32
    assert rgb(image, 2, 1) == [255, 128, 0]


def test_alpha_is_straight_and_only_where_there_is_some(tmp_path):
    image = read_image(saved(Image.new("RGBA", (2, 2), (200, 100, 50, 64)), tmp_path / "a.png"))
    assert rgb(image) == [200, 100, 50, 64]
    assert read_image(saved(Image.new("RGBA", (2, 2), (9, 9, 9, 255)), tmp_path / "b.png")).shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("picture", "options", "expected"),
    [
        (Image.new("L", (2, 2), 77), {}, [77, 77, 77]),
        (Image.new("1", (2, 2), 1), {}, [255, 255, 255]),
        (Image.new("LA", (2, 2), (77, 128)), {}, [77, 77, 77, 128]),
        (Image.new("RGB", (2, 2), (10, 20, 30)).quantize(4), {}, [10, 20, 30]),
        (Image.new("P", (2, 2), 0), {"transparency": 0}, [0, 0, 0, 0]),
        (Image.new("L", (2, 2), 77), {"transparency": 77}, [77, 77, 77, 0]),
        (Image.fromarray(np.full((2, 2), 65535, np.uint16)), {}, [255, 255, 255]),
        (Image.fromarray(np.full((2, 2), 257 * 77, np.uint16)), {}, [77, 77, 77]),
    ],
    ids=["grey", "bilevel", "grey-alpha", "palette", "palette-clear", "grey-clear", "white16", "grey16"],
)
def test_every_png_mode_has_the_colors_that_it_shows(picture, options, expected, tmp_path):
    assert rgb(read_image(saved(picture, tmp_path / "a.png", **options))) == expected


def test_sixteen_bit_grey_with_a_transparent_grey(tmp_path):
    # Pillow writes no tRNS chunk for 16 bits, so it is put in by hand.
    data = png_bytes(Image.fromarray(np.array([[1000, 65535]], np.uint16)))
    body = b"tRNS" + struct.pack(">H", 1000)
    chunk = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
    at = data.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(data[:at] + chunk + data[at:])
    image = read_image(tmp_path / "a.png")
    assert rgb(image, 0) == [4, 4, 4, 0]
    assert rgb(image, 1) == [255, 255, 255, 255]


def test_cmyk_becomes_rgb(tmp_path):
    image = read_image(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), tmp_path / "a.tif"))
    assert rgb(image)[0] > 200
    assert max(rgb(image)[1:]) < 60


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_camera_orientation_is_applied(suffix, tmp_path):
    picture = Image.new("RGB", (32, 16), "blue")
    picture.paste("red", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rotate clockwise to see it upright
    image = read_image(saved(picture, tmp_path / f"a.{suffix}", exif=exif))
    assert image.shape == (3, 32, 16)
    assert rgb(image, 8, 2)[0] > 200
    assert rgb(image, 8, 30)[2] > 200


def test_colors_are_converted_by_an_embedded_profile(tmp_path):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    picture = ImageCms.profileToProfile(
        Image.new("RGB", (4, 4), (200, 40, 90)), ImageCms.createProfile("sRGB"), lab, outputMode="LAB"
    )
    path = saved(picture, tmp_path / "a.tif", icc_profile=lab.tobytes())
    assert rgb(read_image(path)) == pytest.approx([200, 40, 90], abs=3)


def test_an_srgb_profile_and_a_broken_one_change_nothing(tmp_path):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for profile in (srgb, b"nonsense"):
        path = saved(Image.new("RGB", (4, 4), (200, 40, 90)), tmp_path / "a.png", icc_profile=profile)
        assert rgb(read_image(path)) == [200, 40, 90]


def test_width_resizes_and_keeps_the_aspect(tmp_path):
    path = saved(Image.new("RGB", (300, 200), "white"), tmp_path / "a.png")
    assert read_image(path, width=30).shape == (3, 20, 30)
    assert read_image(path, width=600).shape == (3, 400, 600)
    thin = saved(Image.new("RGB", (300, 1), "white"), tmp_path / "b.png")
    assert read_image(thin, width=3).shape == (3, 1, 3)


def test_resizing_brings_no_color_out_of_clear_pixels(tmp_path):
    picture = Image.new("RGBA", (64, 64), (0, 255, 0, 0))  # clear, yet green
    picture.paste((255, 0, 0, 255), (0, 0, 33, 64))
    image = read_image(saved(picture, tmp_path / "a.png"), width=8)
    seen = image[3] > 0.02
    assert float(image[1][seen].max()) < 0.02
    assert float(image[0][seen].min()) > 0.98


def test_one_pixel(tmp_path):
    assert read_image(saved(Image.new("RGB", (1, 1), "red"), tmp_path / "a.png")).flatten().tolist() == [1, 0, 0]


def test_frames_are_what_a_viewer_shows(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    for suffix in ("gif", "png", "webp"):
        options = {"lossless": True} if suffix == "webp" else {}
        path = saved(frames[0], tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], **options)
        seen = [picture.convert("RGB").getpixel((4, 4)) for picture in decode_pictures(path, every_frame=True)]
        assert seen == [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
        assert len(decode_pictures(path)) == 1


def test_mistakes_are_one_sentence(tmp_path):
    (tmp_path / "photo.png").write_bytes(png_bytes(noise()))
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("not a picture\n")
    for path, said in {
        "photo.pgn": "does not exist; did you mean '.*photo.png'",
        "nowhere/a/b.png": "does not exist; check the path",
        "": "is a folder; give a file",
        "empty.png": r"is empty \(0 bytes\)",
        "text.png": "is no picture in a format that is read",
        "a\0b.png": "does not exist",
        "x" * 5000: "does not exist",
    }.items():
        with pytest.raises(DiffbmpError, match=rf"^Target '(.|\n)*{said}") as caught:
            read_image(tmp_path / path, what="target")
        assert str(caught.value).endswith((".", "?"))
        assert "\n" not in str(caught.value)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = saved(noise(), tmp_path / "a.png")

    def closed(self, *args):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", closed)
    with pytest.raises(DiffbmpError, match="cannot be read: permission denied"):
        read_image(path)


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.9])
def test_a_truncated_file_is_an_error_and_not_grey_rows(format, kept, tmp_path):
    data = png_bytes(noise((120, 90)), format)
    path = tmp_path / "a.bin"
    path.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DiffbmpError, match=r"damaged or cut short|is no picture"):
        read_image(path)


def bomb(width, height):
    """Return a small PNG file that declares a huge picture."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_too_many_pixels_names_the_size_and_the_limit(tmp_path):
    path = tmp_path / "huge.png"
    path.write_bytes(bomb(20_000, 20_000))
    with pytest.raises(DiffbmpError, match=r"20000 x 20000 pixels \(400 megapixels\); the limit is 179 megapixels"):
        read_image(path, width=256)
    saved(Image.new("1", (10, 1000)), path)
    with pytest.raises(DiffbmpError, match="resized to 20000 x 2000000 pixels"):
        read_image(path, width=20_000)


def test_frames_count_together(tmp_path, monkeypatch):
    frames = [Image.new("RGB", (20, 20), color) for color in ("red", "lime", "blue")]
    path = saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    monkeypatch.setattr("diffbmp.images.LARGEST_PICTURE", 1000)
    assert read_image(path).shape == (3, 20, 20)
    with pytest.raises(DiffbmpError, match="3 frames of 20 x 20"):
        decode_pictures(path, every_frame=True)


def test_pillow_warnings_do_not_leak(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    path = saved(Image.new("RGB", (40, 40)), tmp_path / "a.png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_image(path)
    assert caught == []


def test_samples_without_a_defined_white_are_refused(tmp_path):
    path = saved(Image.fromarray(np.full((2, 2), np.nan, np.float32)), tmp_path / "a.tif")
    with pytest.raises(DiffbmpError, match="32-bit samples"):
        read_image(path)


SEEDS = [png_bytes(noise((9, 7)), kind) for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF", "PPM")]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_give_a_picture_or_a_sentence(data, tmp_path):
    raw = bytearray(data.draw(st.sampled_from(SEEDS)))
    for _ in range(data.draw(st.integers(0, 6))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.png"
    path.write_bytes(bytes(raw[: data.draw(st.integers(1, len(raw)))]) or b"\0")
    try:
        image = read_image(path)
    except DiffbmpError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert image.dim() == 3
        assert bool(((image >= 0) & (image <= 1)).all())


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(min_size=1, max_size=200), prefix=st.sampled_from([b"", *(seed[:16] for seed in SEEDS)]))
def test_garbage_is_a_sentence(raw, prefix, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(prefix + raw)
    with pytest.raises(DiffbmpError):
        decode_pictures(path, every_frame=True)


def read_back(path):
    with Image.open(path) as picture:
        return picture.mode, np.asarray(picture).astype(int)


def test_write_png_rounds_to_nearest_and_bounds(tmp_path):
    image = torch.tensor([-0.5, 0.49 / 255, 0.51 / 255, 254.4 / 255, 1.7]).expand(3, 1, 5)
    write_png(tmp_path / "a.png", image)
    mode, values = read_back(tmp_path / "a.png")
    assert mode == "RGB"
    assert values[0, :, 0].tolist() == [0, 0, 1, 254, 255]


def test_write_png_takes_straight_and_premultiplied(tmp_path):
    straight = torch.tensor([1.0, 0.5, 0.0, 0.25]).reshape(4, 1, 1)
    premultiplied = torch.cat([straight[:3] * straight[3:], straight[3:]])
    write_png(tmp_path / "a.png", straight)
    write_png(tmp_path / "b.png", premultiplied, premultiplied=True)
    assert read_back(tmp_path / "a.png")[1].tolist() == [[[255, 128, 0, 64]]]
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_write_png_of_opaque_rgba_is_rgb_and_clear_pixels_are_black(tmp_path):
    image = torch.rand(4, 3, 5, generator=torch.Generator().manual_seed(0))
    image[3] = 1
    write_png(tmp_path / "a.png", image, premultiplied=True)
    assert read_back(tmp_path / "a.png")[0] == "RGB"
    image[3] = 0.001
    write_png(tmp_path / "b.png", image)
    assert read_back(tmp_path / "b.png")[1].max() == 0


def test_write_and_read_agree(tmp_path):
    image = (torch.rand(4, 6, 7, generator=torch.Generator().manual_seed(1)) * 254 + 1).round() / 255
    write_png(tmp_path / "a.tmp", image)
    assert torch.equal(read_image(tmp_path / "a.tmp"), image)


def test_write_png_refuses_what_is_no_picture(tmp_path):
    for bad in (torch.zeros(2, 4, 4), torch.zeros(3, 4), torch.zeros(3, 0, 4), torch.zeros(3, 4, 4, dtype=torch.uint8)):
        with pytest.raises(DiffbmpError, match="A picture must be floats"):
            write_png(tmp_path / "a.png", bad)
    with pytest.raises(DiffbmpError, match="NaN"):
        write_png(tmp_path / "a.png", torch.full((3, 2, 2), float("nan")))
    assert not (tmp_path / "a.png").exists()
