"""SVG drawings, friendly and hostile."""

from __future__ import annotations

import base64
import gzip
import io

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from diffbmp.errors import DiffbmpError
from diffbmp.loaders.svg import SvgLoader

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
RECT = SVG + ' width="40" height="20"><rect width="40" height="20" fill="#ff8000"/></svg>'


def load(path, content, **options):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (texture,) = SvgLoader(SvgLoader.Settings(**options)).load(str(path))
    return texture


def png(color):
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), color).save(buffer, "PNG")
    return buffer.getvalue()


def data_address(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def test_longest_side_has_the_size_and_colors_are_kept(tmp_path):
    texture = load(tmp_path / "a.svg", RECT)
    assert texture.name == "a"
    assert texture.pixels.shape == (4, 256, 512)
    assert texture.pixels[:, 100, 100].tolist() == pytest.approx([1, 128 / 255, 0, 1])
    assert load(tmp_path / "a.svg", RECT, size=40).pixels.shape == (4, 20, 40)


def test_a_small_drawing_on_a_large_page_is_trimmed_and_still_sharp(tmp_path):
    page = SVG + ' viewBox="0 0 1000 1000"><rect x="500" y="300" width="100" height="50" fill="red"/></svg>'
    texture = load(tmp_path / "a.svg", page, size=200)
    assert texture.pixels.shape == (4, 100, 200)


def test_half_transparent_paint_is_straight_alpha(tmp_path):
    texture = load(tmp_path / "a.svg", RECT.replace("fill=", 'fill-opacity="0.5" fill='))
    assert texture.pixels[:, 9, 9].tolist() == pytest.approx([1, 128 / 255, 0, 0.5], abs=0.01)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_encodings_and_compression(encoding, tmp_path):
    text = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?><!-- café -->' + RECT
    plain = load(tmp_path / "a.svg", text.encode(encoding))
    packed = load(tmp_path / "a.svgz", gzip.compress(text.encode(encoding)))
    assert plain.pixels.shape == (4, 256, 512)
    assert torch.equal(plain.pixels, packed.pixels)


def test_inner_entities_work(tmp_path):
    text = '<!DOCTYPE svg [<!ENTITY paint "#0000ff">]>' + RECT.replace("#ff8000", "&paint;")
    assert load(tmp_path / "a.svg", text).pixels[:, 5, 5].tolist() == [0, 0, 1, 1]


def test_embedded_pictures_and_references_inside_the_file_work(tmp_path):
    inside = f'<image id="i" width="8" height="8" href="{data_address("image/png", png("lime"))}"/>'
    for body in (inside, f'<defs>{inside}</defs><use xlink:href="#i"/>'):
        texture = load(tmp_path / "a.svg", f'{SVG} width="8" height="8"><a href="http://x.org/">{body}</a></svg>')
        assert texture.pixels[:, 100, 100].tolist() == [0, 1, 0, 1]


HOSTILE = '<image width="8" height="8" {}="{}"/>'


@pytest.mark.parametrize("scheme", ["", "file://", "relative"])
@pytest.mark.parametrize(
    "body",
    [
        HOSTILE.format("href", "SECRET"),
        HOSTILE.format("xlink:href", "SECRET"),
        HOSTILE.format("href", "&f;"),
        "&e;",
        '<filter id="f"><feImage href="SECRET"/></filter><rect width="8" height="8" filter="url(#f)"/>',
        '<use href="SECRET#part"/>',
    ],
)
def test_other_files_are_not_read(body, scheme, tmp_path, monkeypatch):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png("lime"))
    monkeypatch.chdir(tmp_path)
    name = "secret.png" if scheme == "relative" else f"{scheme}{secret}"
    doctype = f"""<!DOCTYPE svg [<!ENTITY f "SECRET"><!ENTITY e '{HOSTILE.format("href", "SECRET")}'>]>"""
    text = (doctype + SVG + f' width="8" height="8">{body}</svg>').replace("SECRET", name)
    with pytest.raises(DiffbmpError, match=r"a\.svg' refers to '.*secret\.png.*' outside the file"):
        load(tmp_path / "a.svg", text)


def test_the_network_is_not_asked(tmp_path):
    text = SVG + ' width="8" height="8"><image width="8" height="8" href="http://127.0.0.1:9/x.png"/></svg>'
    with pytest.raises(DiffbmpError, match="outside the file"):
        load(tmp_path / "a.svg", text)


def test_a_drawing_inside_a_data_address_reads_no_files_either(tmp_path):
    (tmp_path / "secret.png").write_bytes(png("lime"))
    inner = f'{SVG} width="8" height="8">{HOSTILE.format("href", tmp_path / "secret.png")}</svg>'
    address = data_address("image/svg+xml", inner.encode())
    with pytest.raises(DiffbmpError, match="draws nothing visible"):
        load(tmp_path / "a.svg", f'{SVG} width="8" height="8">{HOSTILE.format("href", address)}</svg>')


def test_outside_entities_are_not_read(tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    for doctype in (
        f'<!DOCTYPE svg [<!ENTITY x SYSTEM "file://{tmp_path}/secret.txt">]>',
        f'<!DOCTYPE svg [<!ENTITY % p SYSTEM "file://{tmp_path}/secret.txt"> %p; <!ENTITY x "y">]>',
    ):
        text = f'{doctype}{SVG} width="99" height="20"><text y="15">&x;</text></svg>'
        with pytest.raises(DiffbmpError, match="is not an SVG: undefined entity"):
            load(tmp_path / "a.svg", text)


def test_entities_that_multiply_are_stopped(tmp_path):
    laughs = "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12))
    text = f'<!DOCTYPE svg [<!ENTITY a0 "lol">{laughs}]>{SVG} width="9" height="9"><text>&a11;</text></svg>'
    with pytest.raises(DiffbmpError, match="is not an SVG"):
        load(tmp_path / "a.svg", text)
    with pytest.raises(DiffbmpError, match="declares entities"):
        load(tmp_path / "a.svg", f'<!DOCTYPE svg [<!ENTITY a "{"x" * 2**20}">]>{SVG} width="9" height="9"/>')


def test_uses_that_multiply_are_stopped(tmp_path):
    groups = "".join(f'<g id="a{i}">{f"""<use href="#a{i - 1}"/>""" * 10}</g>' for i in range(1, 12))
    text = f'{SVG} width="9" height="9"><defs><rect id="a0"/>{groups}</defs><use href="#a11"/></svg>'
    with pytest.raises(DiffbmpError, match="is not an SVG that can be drawn"):
        load(tmp_path / "a.svg", text)


def test_huge_nested_and_packed_documents(tmp_path):
    huge = SVG + ' width="1e9" height="1e9"><rect width="1e9" height="1e9"/></svg>'
    assert load(tmp_path / "a.svg", huge, size=64).pixels.shape == (4, 64, 64)
    deep = SVG + ' width="9" height="9">' + "<g>" * 100_000 + "</g>" * 100_000 + "</svg>"
    with pytest.raises(DiffbmpError, match="nested too deeply"):
        load(tmp_path / "a.svg", deep)
    with pytest.raises(DiffbmpError, match="more than 32 MiB"):
        load(tmp_path / "a.svgz", gzip.compress(b" " * (33 * 2**20), compresslevel=1))


def test_mistakes_are_one_sentence(tmp_path):
    for content, said in {
        b"hello": "is not an SVG",
        b"\xff\xfe\x00": "cannot be read as text",
        b"<html/>": "is not an SVG that can be drawn",
        (SVG + ' width="0" height="9"/>').encode(): "is not an SVG that can be drawn",
        (SVG + ' width="9" height="9"/>').encode(): "draws nothing visible",
        RECT[:60].encode(): "is not an SVG",
        gzip.compress(RECT.encode())[:30]: "damaged or cut short",
        b"": "is empty",
    }.items():
        with pytest.raises(DiffbmpError, match=said) as caught:
            load(tmp_path / "a.svg", content)
        assert "a.svg'" in str(caught.value)
        assert "\n" not in str(caught.value)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_give_a_texture_or_a_sentence(data, tmp_path):
    raw = bytearray(RECT.encode())
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        texture = load(tmp_path / "a.svg", bytes(raw), size=16)
    except DiffbmpError as error:
        assert "\n" not in str(error)  # noqa: PT017 - either outcome is right
    else:
        assert max(texture.pixels.shape[1:]) <= 16
