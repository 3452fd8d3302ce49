"""HTML pages: nothing from elsewhere, the exact picture, and what a person does with mouse and keys."""

from __future__ import annotations

import base64
import json
import re
import tempfile
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from diffbmp.atlas.atlas import Atlas, Texture
from diffbmp.exporters.write import write_scene
from diffbmp.images import eight_bits
from diffbmp.metrics import psnr
from diffbmp.scene.scene import Scene
from diffbmp.stamps.stamps import Stamps
from diffbmp.testing.exports import EXPORT_SCENES, ExportScene, over_flat
from diffbmp.testing.readers import drawn_by_page, open_page, premultiplied

LOWEST = 60.0
"""PSNR in dB that the page must reach against our own render."""


class Elements(HTMLParser):
    """Collect the elements of a page with their attributes, and the text of each."""

    def __init__(self, page):
        super().__init__()
        self.found, self.text = [], {}
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_data(self, data):
        if self.found:
            self.text.setdefault(self.found[-1][1].get("id") or self.found[-1][0], data)


def squares(count=3, name="square", **options):
    """Return opaque squares of 20 pixels side by side, each half over the one before."""
    position = torch.tensor([[20.0 + 10 * k, 30.0] for k in range(count)])
    colors = torch.tensor([[0.9, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.2, 0.9]])[torch.arange(count) % 3]
    stamps = Stamps(
        position, torch.full((count,), 10.0), torch.zeros(count), torch.full((count,), 20.0), colors.logit(),
        torch.zeros(count, dtype=torch.int64),
    )  # fmt: skip
    atlas = Atlas([Texture(name, torch.ones(1, 4, 4))])
    return Scene(80, 60, atlas, [stamps], background=torch.ones(3), **options)


def unpacked(page):
    """Return what a page knows by name, and its sections."""
    text = Elements(page).text
    about = json.loads(text["about-scene"])
    data, sections, place = zlib.decompress(base64.b64decode(text["packed"]), wbits=-zlib.MAX_WBITS), {}, 0
    for name, kind, length in about["sections"]:
        sections[name] = np.frombuffer(data, dtype=f"<{kind}", count=length, offset=place)
        place += -(-sections[name].nbytes // 4) * 4
    assert place == len(data)
    return about, sections


def test_the_page_asks_for_nothing_from_elsewhere(written):
    page = written(ExportScene("both", "both", 0.5, background="picture").scene(), "html").read_text()
    about, _ = unpacked(page)
    shown = page.replace(re.search(r'id="packed">([^<]*)<', page)[1], "")
    assert not re.search(r"https?:|wss?:|@import|\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon|import\(", shown)
    for address in re.findall(r"""url\(["']?([^"')]{2,})""", shown):
        assert address.startswith(("data:", "${")), address
    for tag, attributes in Elements(page).found:
        assert tag not in ("link", "img", "iframe", "object", "embed", "base", "form", "audio", "video")
        assert not {"src", "href", "srcset", "style"} & attributes.keys(), (tag, attributes)
    (policy,) = (a["content"] for _, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    assert about["count"] == 60


def test_numbers_and_texels_are_packed_as_they_are():
    scene = ExportScene("rgba", "rgba", 0.5, count=7).scene()
    sprites = scene.sprites()
    about, sections = unpacked(page_of(scene))
    assert np.array_equal(sections["frame"].reshape(7, 2, 3), sprites.frame.detach().numpy())
    assert np.allclose(sections["opacity"], sprites.opacity.detach().numpy())
    assert np.array_equal(sections["texture"], sprites.texture.numpy())
    for number, entry in enumerate(about["textures"]):
        shape = (entry["channels"], entry["height"], entry["width"])
        values = sections[f"texture-{number}"].reshape(shape).cumsum(axis=-1, dtype=np.uint16)
        ours = scene.atlas.textures[number].pixels.numpy()
        assert entry["first"] == 0
        assert np.abs(values / 65535 - ours).max() <= 0.5 / 65535 + 1e-7


def test_detail_leaves_out_levels_that_no_zoom_reads(written):
    scene = ExportScene("small", radius=(2, 6)).scene()
    sizes = {}
    for detail in (1, 64):
        path = written(scene, "html", settings={"html": {"detail": detail}})
        about, _ = unpacked(path.read_text())
        sizes[detail] = max(entry["width"] for entry in about["textures"])
    assert sizes[1] < sizes[64] == 128


@settings(max_examples=30, deadline=None)
@given(name=st.text(max_size=30), title=st.text(max_size=30))
@example(name="</script><script>alert(1)</script>", title="</title><script>alert(1)</script>")
@example(name="<!--<script>", title="$script ${script} &amp;")
def test_no_name_reaches_the_markup(name, title):
    page = page_of(squares(name=name), title=title)
    expected = Elements(page_of(squares()))
    found = Elements(page)
    assert [tag for tag, _ in found.found] == [tag for tag, _ in expected.found]
    about, _ = unpacked(page)
    assert about["count"] == 3


def page_of(scene, **settings):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "scene.html")
        write_scene(scene, path, settings={"html": settings})
        return path.read_text()


@pytest.fixture
def opened(browser, written):
    """Return a function that opens a scene in the browser, whole and at rest; the page may ask for nothing."""
    contexts, wrong = [], []

    def open_scene(scene, width=900, height=700, **options):
        path = written(scene, "html")
        context = browser.new_context(viewport={"width": width, "height": height}, offline=True, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("request", lambda request: wrong.append(request.url) if asks(request.url) else None)

        def asks(url):
            return url != path.as_uri() and not url.startswith(("data:", "blob:"))

        open_page(page, path)
        return page

    yield open_scene
    for context in contexts:
        context.close()
    assert wrong == []


def settle(page):
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def screenshot(page, scene, zoom=1):
    """Return the picture as the screen shows it, at ``zoom`` times its size, RGB."""
    page.evaluate("zoom => { diffbmp.look(zoom, 10, 70); diffbmp.drawNow(); }", zoom)
    around = (
        "visible => { for (const id of ['zoom', 'transport', 'marks', 'tip']) byId(id).style.visibility = visible; }"
    )
    page.evaluate(around, "hidden")
    settle(page)
    clip = {"x": 10, "y": 70, "width": scene.width * zoom, "height": scene.height * zoom}
    picture = premultiplied(page.screenshot(clip=clip))[:3]
    page.evaluate(around, "")
    return picture


@torch.no_grad()
def rendered(scene, scale=1.0):
    """Return our own render as PNG holds it, over white."""
    return eight_bits(over_flat(scene.render(scale=scale), 1.0)).double() / 255


def place_of(page, stamp):
    """Return where on the screen the middle of a stamp is."""
    return page.evaluate(
        """i => {
          const { view, ratio, scene } = diffbmp, box = document.getElementById("stage").getBoundingClientRect();
          return [2, 5].map((k, axis) =>
            (scene.frame[i * 6 + k] * view.zoom + [view.x, view.y][axis]) / ratio + [box.left, box.top][axis]);
        }""",
        stamp,
    )


@pytest.mark.slow
@pytest.mark.parametrize("recipe", EXPORT_SCENES, ids=lambda recipe: recipe.name)
def test_the_page_draws_what_we_draw(recipe, opened):
    scene = recipe.scene()
    page = opened(scene)
    for scale in (1.0, 4.0):
        with torch.no_grad():
            ours = scene.layer(scale=scale).double()
        drawn = drawn_by_page(page, scale)
        for value in (0.0, 1.0):
            assert psnr(over_flat(drawn, value), over_flat(ours, value)) >= LOWEST


@pytest.mark.slow
@pytest.mark.parametrize(
    ("blend", "filter"), [("add", "mipmap"), ("over", "trilinear"), ("over", "bilinear"), ("over", "nearest_texel")]
)
def test_the_page_draws_every_blend_and_filter(blend, filter, opened):
    scene = ExportScene("both", "both", 0.5).scene()
    scene.blend, scene.filter = blend, filter
    page = opened(scene)
    with torch.no_grad():
        ours = scene.layer(scale=2.0).double()
    assert psnr(drawn_by_page(page, 2.0), ours) >= LOWEST


@pytest.mark.slow
@pytest.mark.parametrize("background", ["white", "blue", "picture"])
@pytest.mark.parametrize("zoom", [1, 3])
def test_the_screen_shows_what_we_render(background, zoom, opened):
    scene = ExportScene("both", "both", 0.5, background=background).scene()
    shown = screenshot(opened(scene), scene, zoom)
    # A background picture is enlarged by the screen's own filter, which is not ours.
    assert psnr(shown, rendered(scene, zoom)) >= (50.0 if background == "picture" and zoom > 1 else LOWEST)


@pytest.mark.slow
def test_a_click_picks_the_topmost_stamp_and_a_button_hides_it(opened):
    scene = squares()
    page = opened(scene)
    x, y = place_of(page, 1)  # which stamp 3 covers as far as its middle, half a stamp to the right
    page.mouse.click(x + 3, y)
    assert page.inner_text("#details h2") == "square 3"
    assert page.locator(".row[aria-selected=true] .name").inner_text() == "square 3"
    page.click("#details button:has-text('Hide')")
    settle(page)
    assert page.evaluate("[...diffbmp.scene.hidden]") == [2]
    page.mouse.click(x + 3, y)
    assert page.inner_text("#details h2") == "square 2"
    assert psnr(screenshot(page, scene), rendered(squares(2))) >= LOWEST
    page.click("#all")
    assert psnr(screenshot(page, scene), rendered(scene)) >= LOWEST


@pytest.mark.slow
def test_hovering_names_a_stamp_and_the_list_hides_it(opened):
    page = opened(squares())
    page.mouse.move(*place_of(page, 2))
    assert page.inner_text("#tip") == "square 3"
    page.mouse.move(5, 695)
    assert page.locator("#tip").is_hidden()
    page.click(".row:has-text('square 1') .eye")
    assert page.evaluate("[...diffbmp.scene.hidden]") == [0]
    page.fill("#search", "SQUARE 2")
    assert page.locator(".row .name").all_inner_texts() == ["square 2"]
    page.fill("#search", "")
    page.focus("#list")
    for key in ("ArrowDown", "ArrowDown", "h"):
        page.keyboard.press(key)
    assert page.evaluate("[...diffbmp.scene.hidden]") == [0, 1]


@pytest.mark.slow
def test_stamps_play_in_from_the_back(opened):
    scene = squares()
    page = opened(scene)
    page.locator("#scrub").fill("2")
    settle(page)
    assert page.inner_text("#shown") == "2 of 3"
    assert psnr(screenshot(page, scene), rendered(squares(2))) >= LOWEST
    page.locator("#scrub").fill("0")
    page.select_option("#speed", "4")
    page.click("#play")
    page.wait_for_function("() => diffbmp.playing && diffbmp.time > 0")
    page.wait_for_function("() => !diffbmp.playing", timeout=20_000)
    assert page.inner_text("#shown") == "3 of 3"
    assert psnr(screenshot(page, scene), rendered(scene)) >= LOWEST


@pytest.mark.slow
def test_wheel_and_keys_zoom_about_the_pointer(opened):
    page = opened(squares())
    x, y = place_of(page, 0)
    before = page.evaluate("diffbmp.view.zoom")
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    page.wait_for_function("zoom => diffbmp.view.zoom > 2 * zoom", arg=before)
    after = place_of(page, 0)
    assert abs(after[0] - x) <= 1.5
    assert abs(after[1] - y) <= 1.5
    page.keyboard.press("0")
    assert page.evaluate("diffbmp.view.zoom") == before


@pytest.mark.slow
def test_a_phone_shows_the_list_on_demand(opened):
    page = opened(squares(), 390, 780, has_touch=True, is_mobile=True, device_scale_factor=2)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert not page.locator("#panel").is_visible()
    page.touchscreen.tap(*place_of(page, 2))
    page.tap("#toggle")
    page.wait_for_selector("#panel", state="visible")
    assert page.inner_text("#details h2") == "square 3"
