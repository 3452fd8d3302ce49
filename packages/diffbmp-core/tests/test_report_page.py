"""The report of a fit: one page with pictures, curves, timings and settings, also after a resume."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import diffbmp
from diffbmp.cli.app import build_app
from diffbmp.fitting.report import fit_report, peak_memory
from diffbmp.fitting.report_page.page import write_report_page
from diffbmp.fitting.report_page.pictures import LARGEST_SIDE, PALETTE, error_map, page_picture
from diffbmp.images import read_image
from diffbmp.testing.readers import chromium, require


def fitted(photo, stamps, output, *arguments):
    command = ["fit", str(photo), "--stamps", str(stamps), "-o", str(output), "-n", "12", "--steps", "5", *arguments]
    result = CliRunner().invoke(build_app(), [*command, "--renderer", "reference"])
    assert result.exit_code == 0, result.output
    return output / "report.html"


class Texts(HTMLParser):
    """The text of each element that has an id, or of each row."""

    def __init__(self, page):
        super().__init__()
        self.rows, self.attributes = [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.attributes.append((tag, dict(attributes)))
        if tag == "tr":
            self.rows.append([])

    def handle_data(self, data):
        if self.rows and data.strip():
            self.rows[-1].append(data)


def data_of(page):
    return json.loads(re.search(r'id="data">(.*?)</script>', page, flags=re.DOTALL)[1])


def picture_of(address):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/png;base64,")))))


def test_the_page_is_written_on_demand_and_holds_the_pictures(photo, stamps, tmp_path):
    fitted(photo, stamps, tmp_path / "plain")
    assert not (tmp_path / "plain" / "report.html").exists()
    page = fitted(photo, stamps, tmp_path / "out", "--report")
    data = data_of(page.read_text())
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert data["curves"] == {name: report[name] for name in ("losses", "psnrs", "step_seconds")}
    assert all(len(values) == 5 for values in data["curves"].values())
    (canvas,) = data["canvases"]
    pictures = canvas["pictures"]
    assert np.array_equal(picture_of(pictures["picture"]), np.asarray(Image.open(page.parent / "picture.png")))
    target = torch.from_numpy(picture_of(pictures["target"]).copy()).movedim(-1, 0) / 255
    assert torch.allclose(target, read_image(photo, what="target"), atol=1e-6)


def test_the_page_asks_for_nothing_from_elsewhere_and_names_cannot_break_it(photo, stamps, tmp_path):
    odd = photo.rename(photo.with_name("<img src=x onerror=alert(1)>$title&.png"))
    page = fitted(odd, stamps, tmp_path / "out", "--report").read_text()
    assert not re.search(r"https?:(?!//www\.w3\.org/2000/svg)|@import|\bfetch\(|XMLHttpRequest|WebSocket", page)
    elements = Texts(page).attributes
    assert not any({"src", "href", "style", "onerror"} & attributes.keys() for _, attributes in elements)
    (policy,) = (a["content"] for _, a in elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")


def test_rows_say_times_program_and_settings(photo, stamps, tmp_path):
    page = fitted(photo, stamps, tmp_path / "out", "--report", "--set", "optimizer.position=0.5")
    rows = {row[0]: row[1:] for row in Texts(page.read_text()).rows if row}
    assert rows["Renderer"] == ["reference"]
    assert rows["diffbmp-core"] == [diffbmp.__version__]
    assert rows["optimizer.position"][0] == "0.5"
    assert rows["n"][0] == "12"
    assert {"All steps", "A step, median", "Peak memory"} <= rows.keys()
    changed = re.findall(r"<tr class=changed><th scope=row>([\w.]+)", page.read_text())
    assert {"optimizer.position", "n", "steps", "report"} <= set(changed)
    assert "optimizer.rotation" not in changed


def test_a_resumed_fit_has_the_curves_of_all_its_steps(photo, stamps, tmp_path):
    fitted(photo, stamps, tmp_path / "out")
    before = json.loads((tmp_path / "out" / "report.json").read_text())
    arguments = ["fit", "--resume", "--steps", "8", "--report", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(build_app(), arguments)
    assert result.exit_code == 0, result.output
    data = data_of((tmp_path / "out" / "report.html").read_text())
    assert data["resumed"] == 5
    for name, values in data["curves"].items():
        assert len(values) == 8
        assert values[:5] == before[name]


def test_a_transparent_canvas_is_compared_over_white(photo, stamps, tmp_path):
    page = fitted(photo, stamps, tmp_path / "out", "--report", "--background", "transparent")
    shown = picture_of(data_of(page.read_text())["canvases"][0]["pictures"]["picture"])
    picture = Image.open(page.parent / "picture.png")
    white = Image.new("RGBA", picture.size, "white")
    assert np.abs(shown.astype(int) - np.asarray(Image.alpha_composite(white, picture))[..., :3]).max() <= 1


def test_without_a_target_there_is_no_comparison(stamps, tmp_path):
    options = {"n": 2, "steps": 2, "refine": [], "renderer": "reference", "loss": lambda inputs: inputs.image.mean()}
    fit = diffbmp.start_fit(size=(16, 16), stamps=stamps, **options).run()
    write_report_page(fit, fit_report(fit, 1.0), tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    data = data_of(page)
    assert data["canvases"][0]["pictures"].keys() == {"picture"}
    assert data["curves"]["psnrs"] == [None, None]
    assert "PSNR</dt>" not in page


def batch(photo, stamps, output, **options):
    turned = photo.with_name("turned.png")
    Image.open(photo).rotate(180).save(turned)
    diffbmp.fit(
        [photo, turned, photo], stamps=stamps, n=6, steps=3, renderer="reference", output=output, report=True, **options
    )
    return json.loads((output / "report.json").read_text())


def test_the_page_of_a_batch_has_every_canvas_with_its_figures(photo, stamps, tmp_path):
    report = batch(photo, stamps, tmp_path / "out", background="white")
    page = (tmp_path / "out" / "report.html").read_text()
    canvases = data_of(page)["canvases"]
    assert len(canvases) == 3
    targets = [picture_of(canvas["pictures"]["target"]) for canvas in canvases]
    assert np.array_equal(targets[0], targets[2])
    assert np.array_equal(targets[0], targets[1][::-1, ::-1])
    for index, canvas in enumerate(canvases):
        picture = np.asarray(Image.open(tmp_path / "out" / f"picture-{index + 1}.png"))
        assert np.array_equal(picture_of(canvas["pictures"]["picture"]), picture)
        assert (canvas["psnr"], canvas["ssim"]) == (
            report["canvases"][index]["psnr"],
            report["canvases"][index]["ssim"],
        )
    assert "<title>3 canvases in 6 stamps each</title>" in page
    assert "<dt>PSNR, mean</dt>" in page
    assert "<dd>3 of 24 \u00d7 16</dd>" in page


def test_the_error_map_says_what_its_brightest_colour_stands_for():
    target = torch.zeros(3, 20, 30)
    image = target.clone()
    image[:, :10] = 0.18
    colors, peak = error_map(image, target)
    assert peak == pytest.approx(0.2)
    assert np.array_equal(colors[15, 0], np.rint(PALETTE[0]))
    assert colors[5, 0].astype(int).sum() > 300
    assert error_map(target, target)[1] == pytest.approx(0.05)


def test_very_large_pictures_are_reduced():
    assert page_picture(torch.rand(3, 10, 2 * LARGEST_SIDE)).shape == (5, LARGEST_SIDE, 3)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux hands the peak on to a new process")
@pytest.mark.slow
def test_the_peak_of_memory_is_not_that_of_the_parent():
    child = "from diffbmp.fitting.report import peak_memory; print(peak_memory())"
    parent = f"import subprocess, sys; x = b'x' * 2**30; subprocess.run([sys.executable, '-c', {child!r}], check=True)"
    said = subprocess.run([sys.executable, "-c", parent], capture_output=True, text=True, check=True).stdout
    assert 2**25 < int(said) < 2**30
    assert peak_memory() > 2**25


@pytest.mark.slow
def test_a_canvas_of_a_batch_is_chosen_by_mouse_and_key(photo, stamps, tmp_path):
    require("chromium")
    batch(photo, stamps, tmp_path / "out")
    wrong = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 780})
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.goto((tmp_path / "out" / "report.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        assert page.locator("#canvases label").count() == 3
        page.click("#canvases label >> nth=1")
        assert page.inner_text("#about").startswith("Canvas 2 of 3, PSNR ")
        shown = page.evaluate("[byId('picture').src, byId('target').src, byId('error').src]")
        wanted = page.evaluate("(({picture, target, error}) => [picture, target, error])(data.canvases[1].pictures)")
        assert shown == wanted
        page.keyboard.press("ArrowRight")
        assert page.inner_text("#about").startswith("Canvas 3 of 3, PSNR ")
        page.click("text=Error")
        page.click("#canvases label >> nth=0")
        assert page.locator("#error").is_visible()
        assert page.inner_text("#about").startswith("Canvas 1 of 3, PSNR ")
    assert wrong == []


@pytest.mark.slow
def test_slider_modes_and_curves_work_in_a_browser(photo, stamps, tmp_path):
    require("chromium")
    path = fitted(photo, stamps, tmp_path / "out", "--report")
    wrong = []
    with chromium() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 780})
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("request", lambda request: wrong.append(request.url) if asks(request.url) else None)

        def asks(url):
            return url != path.as_uri() and not url.startswith("data:")

        page.goto(path.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") == 390
        box = page.locator("#frame").bounding_box()
        page.mouse.click(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
        assert 85 < float(page.input_value("#slider")) < 95
        assert 85 < float(page.evaluate("parseFloat(byId('frame').style.getPropertyValue('--part'))")) < 95
        page.click("text=Error")
        assert page.locator("#error").is_visible()
        assert page.locator("#legend").is_visible()
        assert not page.locator("#slider").is_visible()
        assert page.locator(".curve").count() == 3
        curve = page.locator(".curve svg").first
        curve.scroll_into_view_if_needed()
        curve.hover(position={"x": 60, "y": 60})
        assert page.locator(".curve output").first.inner_text().endswith("at step 1")
        page.click("#all")
        assert page.locator("#settings tbody tr:visible").count() > 30
    assert wrong == []
