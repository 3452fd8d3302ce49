"""Text as stamps, in the built-in font and in fonts that the tests build."""

from __future__ import annotations

import base64
import io

import pytest
import torch
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from fontTools.ttLib import newTable
from fontTools.ttLib.tables import C_B_D_T_, E_B_L_C_, BitmapGlyphMetrics, sbixGlyph, sbixStrike
from fontTools.ttLib.tables.otTables import PaintFormat
from fontTools.ttLib.tables.S_V_G_ import SVGDocument
from PIL import Image, features

from diffbmp.errors import DiffbmpError
from diffbmp.loaders.text import TextLoader

XLINK = 'xmlns:xlink="http://www.w3.org/1999/xlink"'
SMILE = "\U0001f600"
FAMILY = "\U0001f468\u200d\U0001f469"  # two people joined by a zero-width joiner
RED, BLUE = (1.0, 0.0, 0.0, 1.0), (0.0, 0.0, 1.0, 1.0)
STRIKE = 64


def load(text, **settings):
    return TextLoader(TextLoader.Settings(**{k: str(v) if k == "font" else v for k, v in settings.items()})).load(text)


def names(text, **settings):
    return [texture.name for texture in load(text, **settings)]


def box(left, bottom, right, top):
    pen = TTGlyphPen(None)
    pen.moveTo((left, bottom))
    for point in ((left, top), (right, top), (right, bottom)):
        pen.lineTo(point)
    pen.closePath()
    return pen.glyph()


def font(path, color=None):
    """Write a font: A is a tall box, SMILE a wide one whose halves are red and blue in a colour format."""
    boxes = {
        ".notdef": (100, 0, 900, 800),
        "smile": (0, 0, 1000, 500),
        "left": (0, 0, 500, 500),
        "right": (500, 0, 1000, 500),
        "A": (200, 0, 800, 700),
        "aleph": (0, 0, 300, 900),
        "space": (0, 0, 1, 1),
    }
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(list(boxes))
    codes = {ord(SMILE): "smile", ord("A"): "A", 0x5D0: "aleph", ord(" "): "space"}
    builder.setupCharacterMap(codes | dict.fromkeys(map(ord, FAMILY[::2]), "A"))
    builder.setupGlyf({name: box(*sides) for name, sides in boxes.items()})
    builder.setupHorizontalMetrics({name: (1000, sides[0]) for name, sides in boxes.items()})
    builder.setupHorizontalHeader(ascent=900, descent=-100)
    family = "Test & 'Colour'"
    builder.setupNameTable({"familyName": family, "styleName": "Regular", "psName": "Test-Regular"})
    builder.setupOS2(sTypoAscender=900, usWinAscent=900, usWinDescent=100)
    builder.setupPost()
    if color is not None:
        color(builder)
    builder.save(path)
    return path


def colr0(builder):
    builder.setupCOLR({"smile": [("left", 0), ("right", 1)]}, version=0)
    builder.setupCPAL([[RED, BLUE]])


def colr1(builder):
    def half(glyph, index):
        paint = {"Format": PaintFormat.PaintSolid, "PaletteIndex": index, "Alpha": 1.0}
        return {"Format": PaintFormat.PaintGlyph, "Glyph": glyph, "Paint": paint}

    layers = {"Format": PaintFormat.PaintColrLayers, "Layers": [half("left", 0), half("right", 1)]}
    builder.setupCOLR({"smile": layers}, version=1)
    builder.setupCPAL([[RED, BLUE]])


def strike_png():
    picture = Image.new("RGBA", (STRIKE, STRIKE // 2), (255, 0, 0, 255))
    picture.paste((0, 0, 255, 255), (STRIKE // 2, 0, STRIKE, STRIKE // 2))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def cbdt(builder):
    """Add a bitmap strike of 64 pixels, as Noto Color Emoji has one of 136."""
    metrics = {
        "ascender": 58, "descender": -6, "widthMax": STRIKE, "caretSlopeNumerator": 0, "caretSlopeDenominator": 0,
        "caretOffset": 0, "minOriginSB": 0, "minAdvanceSB": 0, "maxBeforeBL": 0, "minAfterBL": 0, "pad1": 0, "pad2": 0,
    }  # fmt: skip
    size = E_B_L_C_.BitmapSizeTable()
    for direction in ("hori", "vert"):
        line = E_B_L_C_.SbitLineMetrics()
        vars(line).update(metrics)
        setattr(size, direction, line)
    vars(size).update(
        ppemX=STRIKE, ppemY=STRIKE, bitDepth=32, flags=1, colorRef=0,
        startGlyphIndex=1, endGlyphIndex=1, numberOfIndexSubTables=1,
    )  # fmt: skip
    index = E_B_L_C_.eblc_sub_table_classes[1](b"", builder.font)
    vars(index).update(
        names=["smile"], indexFormat=1, imageFormat=17, firstGlyphIndex=1, lastGlyphIndex=1,
        additionalOffsetToIndexSubtable=0, locations=[],
    )  # fmt: skip
    strike = E_B_L_C_.Strike()
    strike.bitmapSizeTable, strike.indexSubTables = size, [index]
    glyph = C_B_D_T_.cbdt_bitmap_classes[17](b"", builder.font)
    glyph.metrics = BitmapGlyphMetrics.SmallGlyphMetrics()
    vars(glyph.metrics).update(height=STRIKE // 2, width=STRIKE, BearingX=0, BearingY=STRIKE // 2, Advance=STRIKE)
    glyph.imageData = strike_png()
    location, data = newTable("CBLC"), newTable("CBDT")
    location.version, location.strikes = 3.0, [strike]
    data.version, data.strikeData = 3.0, [{"smile": glyph}]
    builder.font["CBLC"], builder.font["CBDT"] = location, data


def sbix(builder):
    strike = sbixStrike.Strike(ppem=STRIKE, resolution=72)
    for name in builder.font.getGlyphOrder():
        content = {"graphicType": "png ", "imageData": strike_png()} if name == "smile" else {}
        strike.glyphs[name] = sbixGlyph.Glyph(glyphName=name, originOffsetX=0, originOffsetY=0, **content)
    builder.font["sbix"] = newTable("sbix")
    builder.font["sbix"].strikes = {STRIKE: strike}


def svg(builder, extra=""):
    halves = '<rect y="-500" width="500" height="500" fill="red"/>'
    halves += '<rect x="500" y="-500" width="500" height="500" fill="blue"/>'
    document = f'<svg xmlns="http://www.w3.org/2000/svg" id="glyph1" {XLINK}>{extra or halves}</svg>'
    builder.font["SVG "] = newTable("SVG ")
    builder.font["SVG "].docList = [SVGDocument(document, 1, 1)]


def test_a_stamp_for_each_glyph_in_reading_order():
    textures = load("HELLO")
    assert [t.name for t in textures] == ["H", "E", "L", "L", "O"]
    assert torch.equal(textures[2].pixels, textures[3].pixels)
    for texture in textures:
        alpha = texture.pixels
        assert alpha.shape[0] == 1  # alpha-only, to be tinted
        assert 0.6 * 128 < alpha.shape[1] < 128
        assert float(alpha.max()) == 1
        for side in (alpha[0, 0], alpha[0, -1], alpha[0, :, 0], alpha[0, :, -1]):
            assert float(side.max()) > 0  # trimmed


def test_words_and_strings():
    assert names("the quick\n fox", split="word") == ["the", "quick", "fox"]
    (string,) = load("the quick\n fox", split="string")
    assert string.name == "the quick fox"
    assert string.pixels.shape[2] > 4 * string.pixels.shape[1]
    assert names("a b\tc") == ["a", "b", "c"]


def test_coverage_is_that_of_the_outline(tmp_path):
    path = font(tmp_path / "box.ttf")
    (texture,) = load("A", font=path, size=100)
    assert torch.equal(texture.pixels, torch.ones(1, 70, 60))
    (larger,) = load("A", font=path, size=400)
    assert larger.pixels.shape == (1, 280, 240)


@pytest.mark.parametrize("color", [colr0, colr1, cbdt, sbix, svg])
@pytest.mark.parametrize("size", [32, 128])
def test_color_fonts_of_every_format_give_rgba_at_any_size(color, size, tmp_path):
    (texture,) = load(SMILE, font=font(tmp_path / "color.ttf", color), size=size)
    pixels = texture.pixels
    assert texture.name == SMILE
    assert pixels.shape[0] == 4
    assert pixels.shape[1:] == (pytest.approx(size / 2, abs=1), pytest.approx(size, abs=1))
    middle = pixels.shape[1] // 2
    assert pixels[:, middle, size // 4].tolist() == pytest.approx([1, 0, 0, 1], abs=0.02)
    assert pixels[:, middle, -size // 4].tolist() == pytest.approx([0, 0, 1, 1], abs=0.02)


def test_color_fonts_write_words_and_joined_emoji(tmp_path):
    path = font(tmp_path / "color.ttf", colr0)
    (word,) = load(SMILE + "A" + SMILE, font=path, split="word", size=100)
    assert word.pixels.shape[2] == pytest.approx(300, abs=2)
    assert names(FAMILY + SMILE, font=path) == [FAMILY, SMILE]


def test_a_color_font_reads_no_files(tmp_path):
    Image.new("RGB", (8, 8), "lime").save(tmp_path / "secret.png")
    inside = "data:image/png;base64," + base64.b64encode(strike_png()).decode()
    for reference, safe in ((inside, True), (tmp_path / "secret.png", False), ("secret.png", False)):
        image = f'<image y="-500" width="1000" height="500" xlink:href = "{reference}"/>'
        path = font(tmp_path / "color.ttf", lambda builder, image=image: svg(builder, image))
        if safe:
            assert load(SMILE, font=path)[0].pixels.shape[0] == 4
        else:
            with pytest.raises(DiffbmpError, match="its SVG glyphs refer to files outside it"):
                load(SMILE, font=path)


def test_right_to_left_and_markup_characters(tmp_path):
    path = font(tmp_path / "box.ttf")
    (texture,) = load("\u05d0A", font=path, split="word", size=100)
    # Aleph is read first, so it stands to the right of A; without Raqm, Pillow writes from left to right.
    assert texture.pixels.shape == (1, 90, 110 if features.check("raqm") else 180)
    with pytest.raises(DiffbmpError, match="no glyph for '<'"):
        load("<", font=font(tmp_path / "color.ttf", colr0))


def test_a_missing_character_is_named(tmp_path):
    with pytest.raises(DiffbmpError, match=r"The built-in font has no glyph for '日' \(U\+65E5, CJK .*name a font"):
        load("A日")
    with pytest.raises(DiffbmpError, match=r"Font '.*box\.ttf' has no glyph for 'B' \(U\+0042"):
        load("AB", font=font(tmp_path / "box.ttf"))


def test_decomposed_letters_use_the_composed_glyph(tmp_path):
    path = tmp_path / "accent.ttf"
    font(path, lambda builder: builder.setupCharacterMap({0xE9: "A"}))
    (texture,) = load("e\u0301", font=path, size=100)
    assert texture.pixels.shape == (1, 70, 60)


def test_mistakes_are_one_sentence(tmp_path):
    (tmp_path / "Serif.ttf").write_text("no font at all")
    (tmp_path / "none.ttf").touch()
    for text, settings, said in [
        ("", {}, "needs something to write"),
        (" \n", {}, "needs something to write"),
        ("x", {"font": tmp_path / "Seriff.ttf"}, r"does not exist; did you mean '.*Serif\.ttf'"),
        ("x", {"font": tmp_path / "Serif.ttf"}, "is no font that can be read"),
        ("x", {"font": tmp_path / "none.ttf"}, "is empty"),
        ("x", {"font": tmp_path}, "is a folder"),
        ("x", {"font": "NoSuchFontAnywhere"}, "neither a file nor installed"),
        ("W" * 200, {"split": "string"}, "texels long; the limit is 8192"),
    ]:
        with pytest.raises(DiffbmpError, match=said) as caught:
            load(text, **settings)
        assert "\n" not in str(caught.value)
