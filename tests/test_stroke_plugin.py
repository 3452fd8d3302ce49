"""A kind of primitive from a package of its own: Bezier strokes with a texture, a start, rates and a refiner."""

from __future__ import annotations

import ast
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image
from torch import Tensor

import diffbmp
from diffbmp.fitting.checkpoint import save_checkpoint
from diffbmp.testing import PrimitiveConformance, registered

PACKAGE = Path(__file__).parent / "stroke_plugin"
COLORS = ["#000000", "#ffffff", "#c04030", "#3080a0"]
GROWING = ["--primitive", "strokes", "-n", 60, "--steps", 24, "--refine", "grow-strokes"]


@pytest.fixture(scope="module", autouse=True)
def site(install: Any) -> Iterator[Path]:
    with install(PACKAGE) as folder:
        yield folder


@pytest.fixture
def targets() -> Tensor:
    """Return three pictures ``(3, 3, H, W)`` that are alike and yet not the same."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 24), torch.linspace(0, 1, 30), indexing="ij")
    return torch.stack([torch.stack([(k * x).sin().abs(), y, (k * x * y).cos().abs()]) for k in (2, 3, 5)])


def strokes_of(scene: diffbmp.Scene) -> Any:
    (strokes,) = (primitive for primitive in scene.primitives if primitive.name == "strokes")
    return strokes


def bits(primitive: diffbmp.Primitive, instances: Any = slice(None)) -> dict[str, Tensor]:
    """Return copies of the tensors of some instances of one canvas, by name."""
    return {
        name: tensor.detach().movedim(primitive.axes[name], 0)[instances].clone()
        for name, tensor in primitive.state_dict().items()
    }


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def texture_names(scene: diffbmp.Scene, kind: str) -> set[str]:
    (primitive,) = (primitive for primitive in scene.primitives if primitive.name == kind)
    return {scene.atlas.textures[index].name for index in primitive(scene.atlas).texture.tolist()}


class TestConformance(PrimitiveConformance):
    primitive = "strokes"
    settings = {"quads": 4}  # noqa: RUF012
    values = {"width": 3.0, "taper": 1.0, "opacity": 0.25}  # noqa: RUF012


def test_it_uses_public_names_only() -> None:
    sources = sorted(PACKAGE.rglob("*.py"))
    assert sources
    for path in sources:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert not [alias.name for alias in node.names if alias.name.startswith("diffbmp.")], path
            if isinstance(node, ast.ImportFrom):
                assert (node.module or "").partition(".")[0] != "diffbmp", path
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "diffbmp":
                assert node.attr in diffbmp.__all__, f"{path}: diffbmp.{node.attr}"
            if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
                assert isinstance(node.value, ast.Name), path
                assert node.value.id == "self", path


class TestCommandLine:
    def test_an_installed_package_is_all_that_is_needed(self, site: Path, photo: Path) -> None:
        """In a process of its own, as a person has it."""
        command = [*map(str, GROWING), "--palette", ",".join(COLORS), "--lock", "1-3", "-o", "out"]
        environment = {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}
        result = subprocess.run(
            [sys.executable, "-m", "diffbmp", "fit", str(photo), *command],
            cwd=photo.parent, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        assert "60 strokes, 24 steps" in result.stdout
        report = json.loads((photo.parent / "out" / "report.json").read_text())
        assert [(one["kind"], one["count"]) for one in report["primitives"]] == [("strokes", 60)]
        assert report["stamps"] == 60
        assert report["versions"]["diffbmp-strokes"] == "0.1.0"
        assert report["psnrs"][-1] > report["psnrs"][0] + 1  # of four colours alone
        with Image.open(photo.parent / "out" / "picture.png") as picture:
            assert picture.size == (48, 32)

    def test_strokes_are_learned_and_the_picture_comes_closer(self, run: Any, photo: Path) -> None:
        assert run("fit", photo, *GROWING).returncode == 0
        scene = diffbmp.load_scene(photo.parent / "out" / "scene.diffbmp")
        report = json.loads((photo.parent / "out" / "report.json").read_text())
        assert scene.count == len(strokes_of(scene)) == 60  # not 360, the number of their quads
        assert len(scene.sprites()) == 360
        assert report["psnrs"][-1] > report["psnrs"][0] + 8
        alone = diffbmp.start_fit(
            str(photo), primitives=[{"kind": "strokes", "n": 60}], steps=24, refine="grow-strokes"
        )
        start = bits(strokes_of(alone.scene))
        assert len(strokes_of(alone.scene)) == 15  # the first of four stages
        end = bits(strokes_of(scene), slice(15))
        for name in ("points", "width", "taper", "opacity", "color"):
            assert not torch.equal(start[name], end[name]), f"{name} was not learned"

    def test_settings_and_rates_of_its_own(self, run: Any, fails: Any, photo: Path) -> None:
        own = ["--set", "primitives.0.quads=3", "--set", "primitives.0.learning_rates.taper=0"]
        assert run("fit", photo, "--primitive", "strokes", "-n", 9, "--steps", 3, *own).returncode == 0
        scene = diffbmp.load_scene(photo.parent / "out" / "scene.diffbmp")
        assert strokes_of(scene).quads == 3
        assert bool((strokes_of(scene).taper == 0.5).all())
        frozen = ["--freeze", "width=3", "--freeze", "taper"]
        assert run("fit", photo, "--primitive", "strokes", "-n", 9, "--steps", 3, *frozen).returncode == 0
        strokes = strokes_of(diffbmp.load_scene(photo.parent / "out" / "scene.diffbmp"))
        assert bool((strokes.width == 3).all())
        assert bool((strokes.taper == 0.5).all())

        begin = ("fit", photo, "--primitive", "strokes", "-n", 9, "--steps", 3, "-o", "refused")
        assert "setting in 'primitives.0' 'quad'" in fails(*begin, "--set", "primitives.0.quad=3")
        sentence = fails(*begin, "--set", "primitives.0.learning_rates.tapir=1")
        assert "parameter of the primitive 'strokes' 'tapir'" in sentence
        assert "did you mean 'taper'" in sentence
        assert "parameter to freeze of the primitive 'strokes' 'rotation'" in fails(*begin, "--freeze", "rotation")
        assert "opacity of strokes must lie within 0 to 1" in fails(*begin, "--freeze", "opacity=2")
        assert "'points' of the primitive 'strokes' cannot be locked at a value" in fails(
            *begin, "--freeze", "points=2"
        )
        assert not list((photo.parent / "refused").glob("*"))

    def test_refiners_that_do_not_serve_are_refused_before_the_first_step(self, fails: Any, photo: Path) -> None:
        begin = ("fit", photo, "--primitive", "strokes", "-n", 9, "--steps", 3, "-o", "refused")
        assert fails(*begin, "--refine", "relocate") == (
            "Error: The refiner 'relocate' serves stamps, but the primitive in front is strokes; leave it out of "
            "'refine'."
        )
        behind = ("fit", photo, "--stamps", "shape:disc", "-n", 9, "--steps", 3, "-o", "refused")
        assert "'grow-strokes' serves strokes, but the primitive in front is stamps" in fails(
            *behind, "--refine", "grow-strokes"
        )
        assert "initializer 'greedy' places stamps, not strokes" in fails(*begin, "--initializer", "greedy")
        assert not list((photo.parent / "refused").glob("*"))

    def test_an_interrupted_fit_goes_on_to_the_same_bytes(self, run: Any, photo: Path) -> None:
        class Interrupting(diffbmp.Observer):
            """Presses Ctrl-C after the eighth step, while strokes are still to come."""

            name = "interrupting"

            def stepped(self, fit: diffbmp.Fit, step: diffbmp.Step) -> None:
                if step.index == 7:
                    os.kill(os.getpid(), signal.SIGINT)

        command = ["fit", photo, *GROWING, "--lock", "2,4", "--palette", ",".join(COLORS)]
        assert run(*command, "-o", "whole").returncode == 0
        with registered(Interrupting):
            assert run(*command, "-o", "cut", "--observe", "interrupting").returncode == 0
            report = json.loads((photo.parent / "cut" / "report.json").read_text())
            assert (report["steps"], report["finished"]) == (8, False)
            assert 15 < report["stamps"] < 60
            result = run(*command, "-o", "cut", "--resume")
            assert result.returncode == 0, result.stderr
        whole, cut = (photo.parent / name / "scene.diffbmp" for name in ("whole", "cut"))
        assert cut.read_bytes() == whole.read_bytes()
        assert len(strokes_of(diffbmp.load_scene(cut))) == 60

    def test_a_saved_scene_renders_alike(self, run: Any, photo: Path) -> None:
        fit = diffbmp.start_fit(
            str(photo), primitives=[{"kind": "strokes", "n": 12}], steps=4, refine=[], output=str(photo.parent / "out")
        ).run()
        diffbmp.save_scene(fit.scene, photo.parent / "a.diffbmp")
        loaded = diffbmp.load_scene(photo.parent / "a.diffbmp")
        for scale in (1.0, 2.5):
            assert torch.equal(loaded.render(scale=scale), fit.scene.render(scale=scale))
        assert run("render", "a.diffbmp", "--scale", 2, "-o", "big.png").returncode == 0
        with Image.open(photo.parent / "big.png") as picture:
            assert picture.size == (96, 64)


class TestConstraints:
    def test_colors_are_those_of_the_palette(self, photo: Path) -> None:
        fit = diffbmp.start_fit(
            str(photo), primitives=[{"kind": "strokes", "n": 40, "palette": COLORS}], steps=12, refine="grow-strokes"
        ).run()
        wanted = torch.tensor([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in COLORS]) / 255
        color = strokes_of(fit.scene).color
        assert bool((color[:, None] == wanted).all(dim=-1).any(dim=-1).all())
        assert len(color.unique(dim=0)) > 1

    def test_locked_strokes_keep_every_bit_through_growth_and_steps(self, targets: Tensor) -> None:
        table = {"kind": "strokes", "n": 40, "lock": ["1-3", "7"]}
        fit = diffbmp.start_fit(targets[0], primitives=[table], steps=12, refine="grow-strokes")
        locked, others = [0, 1, 2, 6], [3, 4, 5]
        held, moving = (bits(strokes_of(fit.scene), chosen) for chosen in (locked, others))
        counts = set()
        for _ in fit:
            strokes = strokes_of(fit.scene)
            counts.add(len(strokes))
            assert same(bits(strokes, locked), held)
            assert strokes.locked.nonzero()[:, 0].tolist() == locked
        assert counts == {10, 20, 30, 40}
        assert not same(bits(strokes, others), moving)

    def test_all_locked_means_that_nothing_changes(self, targets: Tensor) -> None:
        table = {"kind": "strokes", "n": 12, "lock": "1-12"}
        fit = diffbmp.start_fit(targets[0], primitives=[table], steps=5, refine=[])
        before = bits(strokes_of(fit.scene))
        losses = [step.loss for step in fit]
        assert len(losses) == 5
        assert same(bits(strokes_of(fit.scene)), before)

    def test_a_fit_that_goes_on_keeps_them(self, targets: Tensor, tmp_path: Path) -> None:
        table = {"kind": "strokes", "n": 9, "palette": COLORS, "lock": "2", "freeze": "taper"}
        first = diffbmp.start_fit(targets[0], primitives=[table], steps=4).run()

        def start() -> diffbmp.Fit:
            return diffbmp.start_fit(targets[1], scene=first.scene, steps=6)

        part = start()
        for step in part:
            part.stopping = step.index == 2
        save_checkpoint(part, tmp_path / "checkpoint.diffbmp")
        resumed, whole = diffbmp.resume_fit(tmp_path / "checkpoint.diffbmp").run(), start().run()
        assert same(bits(strokes_of(resumed.scene)), bits(strokes_of(whole.scene)))
        for name in ("taper", "points"):
            same_as_before = torch.equal(getattr(strokes_of(whole.scene), name), getattr(strokes_of(first.scene), name))
            assert same_as_before == (name == "taper")
        assert same(bits(strokes_of(whole.scene), [1]), bits(strokes_of(first.scene), [1]))
        assert {tuple(color) for color in (strokes_of(whole.scene).color * 255).round().int().tolist()} <= {
            tuple(int(color[i : i + 2], 16) for i in (1, 3, 5)) for color in COLORS
        }
        again = diffbmp.start_fit(targets[1], scene=first.scene, steps=2, freeze="width=3").run()
        widths = strokes_of(again.scene).width
        assert bool((widths[torch.arange(9) != 1] == 3).all())
        assert same(bits(strokes_of(again.scene), [1]), bits(strokes_of(first.scene), [1]))


class TestTogether:
    TABLES = (
        'target = "photo.png"\nsteps = 16\nrefine = ["{refine}"]\n'
        '[[primitives]]\nkind = "strokes"\nn = 20\n'
        '[[primitives]]\nkind = "stamps"\nn = 15\nstamps = ["shape:disc", "shape:star"]\ninitializer = "greedy"\n'
    )

    @pytest.mark.parametrize("refine", ["grow", "relocate"])
    def test_strokes_behind_stamps_use_textures_of_their_own(self, refine: str, run: Any, photo: Path) -> None:
        (photo.parent / "both.toml").write_text(self.TABLES.format(refine=refine))
        every = ["--set", "refiners.relocate.every=2", "--set", "refiners.relocate.margin=0"]
        result = run("fit", "--config", "both.toml", *(every if refine == "relocate" else []))
        assert result.returncode == 0, result.stderr
        assert "20 strokes and 15 stamps" in result.stdout
        report = json.loads((photo.parent / "out" / "report.json").read_text())
        assert [(one["kind"], one["count"]) for one in report["primitives"]] == [("strokes", 20), ("stamps", 15)]
        assert report["stamps"] == 35
        assert report["psnrs"][-1] > report["psnrs"][0]
        scene = diffbmp.load_scene(photo.parent / "out" / "scene.diffbmp")
        assert [primitive.name for primitive in scene.primitives] == ["strokes", "stamps"]
        assert scene.count == 35
        assert {texture.name for texture in scene.atlas.textures} == {"brush", "disc", "star"}
        assert texture_names(scene, "strokes") == {"brush"}
        assert texture_names(scene, "stamps") == {"disc", "star"}

    def test_strokes_in_front_of_stamps_grow(self, targets: Tensor) -> None:
        stamps = {"kind": "stamps", "n": 10, "stamps": ["shape:disc"]}
        fit = diffbmp.start_fit(
            targets[0], primitives=[stamps, {"kind": "strokes", "n": 24}], steps=10, refine="grow-strokes"
        )
        assert [len(primitive) for primitive in fit.scene.primitives] == [10, 6]
        fit.run()
        assert [len(primitive) for primitive in fit.scene.primitives] == [10, 24]
        assert texture_names(fit.scene, "strokes") == {"brush"}
        assert texture_names(fit.scene, "stamps") == {"disc"}

    def test_several_primitives_resume_to_the_same_bits(self, run: Any, photo: Path) -> None:
        (photo.parent / "both.toml").write_text(self.TABLES.format(refine="grow"))
        assert run("fit", "--config", "both.toml", "-o", "whole").returncode == 0
        part = diffbmp.resume_fit(photo.parent / "whole" / "checkpoint.diffbmp", changes={"steps": 20}).run()
        assert run("fit", "--steps", 20, "--resume", "-o", "whole").returncode == 0
        scene = diffbmp.load_scene(photo.parent / "whole" / "scene.diffbmp")
        for one, other in zip(part.scene.primitives, scene.primitives, strict=True):
            assert same(bits(one), bits(other))


class TestBatches:
    def test_three_targets_in_one_fit_are_three_fits(self, targets: Tensor) -> None:
        def start(target: Tensor) -> diffbmp.Fit:
            table = {"kind": "strokes", "n": 40, "palette": COLORS, "lock": "1,5"}
            return diffbmp.start_fit(target, primitives=[table], steps=12, refine="grow-strokes", seed=3)

        together = start(targets).run()
        assert together.scene.batch == 3
        assert strokes_of(together.scene).batch == (3,)
        moments = {(group, moment): value for group, moment, value in together.learning.moments()}
        for index in range(3):
            alone = start(targets[index]).run()
            assert same(bits(strokes_of(together.scene.canvas(index))), bits(strokes_of(alone.scene)))
            for group, moment, value in alone.learning.moments():
                one = moments[group, moment]
                assert torch.equal(one if moment == "step" else one[index], value), f"{group} {moment}"

    def test_a_batch_resumes_to_the_same_bits(self, targets: Tensor, tmp_path: Path) -> None:
        def start() -> diffbmp.Fit:
            return diffbmp.start_fit(
                targets, primitives=[{"kind": "strokes", "n": 24}], steps=12, refine="grow-strokes"
            )

        part = start()
        for step in part:
            part.stopping = step.index == 2
        save_checkpoint(part, tmp_path / "checkpoint.diffbmp")
        assert 6 < len(strokes_of(part.scene)) < 24
        resumed = diffbmp.resume_fit(tmp_path / "checkpoint.diffbmp").run()
        for index in range(3):
            one, other = (strokes_of(fit.scene.canvas(index)) for fit in (resumed, start().run()))
            assert same(bits(one), bits(other))


def test_without_a_target(run: Any, tmp_path: Path) -> None:
    def darkness(inputs: diffbmp.LossInputs) -> Tensor:
        return inputs.image.mean()

    fit = diffbmp.start_fit(size=(20, 30), primitives=[{"kind": "strokes", "n": 10}], loss=darkness, steps=10)
    first = next(iter(fit)).loss
    assert fit.run().losses[-1] < first
    assert len(strokes_of(fit.scene)) == 10


class TestExports:
    @pytest.fixture
    def scene_file(self, photo: Path, run: Any) -> Path:
        assert run("fit", photo, *GROWING[:4], "--steps", 3, "--background", "#204060").returncode == 0
        return photo.parent / "out" / "scene.diffbmp"

    def test_every_exporter_writes_it(self, run: Any, scene_file: Path) -> None:
        suffixes = ["png", "ora", "svg", "svgz", "html", "pdf", "psd"]
        outputs = [argument for suffix in suffixes for argument in ("-o", f"scene.{suffix}")]
        result = run("export", scene_file, *outputs)
        assert result.returncode == 0, result.stderr
        for suffix in suffixes:
            assert (scene_file.parents[1] / f"scene.{suffix}").stat().st_size > 500

    def test_layers_are_strokes(self, run: Any, scene_file: Path) -> None:
        result = run("layers", scene_file, "--json")
        assert result.returncode == 0, result.stderr
        listed = json.loads(result.stdout)
        names = [f"stroke {number}" for number in range(1, 61)]
        assert [row["layer"] for row in listed] == names
        shown = {row["layer"] for row in listed if row["width"] > 0}
        assert len(shown) > 50

        assert run("export", scene_file, "-o", "scene.ora", "-o", "scene.psd", "-o", "scene.svg").returncode == 0
        folder = scene_file.parents[1]
        with zipfile.ZipFile(folder / "scene.ora") as archive:
            stack = ElementTree.fromstring(archive.read("stack.xml"))
        layers = [layer.get("name") for layer in stack.iter("layer")]
        assert {name for name in layers if name != "background"} == shown

        from psd_tools import PSDImage

        psd = PSDImage.open(folder / "scene.psd")
        assert {layer.name for layer in psd.descendants() if layer.name != "background"} >= shown
        titles = re.findall(r"<title>(stroke \d+)</title>", (folder / "scene.svg").read_text(encoding="utf-8"))
        assert set(titles) >= shown
        assert len(titles) == len(set(titles))

    def test_drawn_as_shapes_each_stroke_is_a_path(self, run: Any, scene_file: Path) -> None:
        shapes = ["--set", "exporters.svg.outlines=true"]
        assert run("export", scene_file, "-o", "shapes.svg", *shapes).returncode == 0
        text = (scene_file.parents[1] / "shapes.svg").read_text(encoding="utf-8")
        assert len(re.findall(r'<path [^>]*d="M [^"]+ Z"', text)) > 50
        assert "<image" not in text


Sentence = Callable[..., str]


def test_files_of_strangers_are_refused(run: Any, fails: Sentence, photo: Path) -> None:
    """A scene whose strokes use another texture than there is, or have no quads, is refused in one sentence."""
    assert run("fit", photo, "--primitive", "strokes", "-n", 5, "--steps", 1).returncode == 0
    path = photo.parent / "out" / "scene.diffbmp"
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(entries["scene.json"])
    for metadata in ({"quads": 0}, {"quads": 10**9}, {"quads": True}, {}):
        document["parts"][0]["metadata"] = metadata
        with zipfile.ZipFile(photo.parent / "bad.diffbmp", "w") as archive:
            for name, data in entries.items():
                archive.writestr(name, json.dumps(document).encode() if name == "scene.json" else data)
        assert "primitive 0 (strokes) cannot be built: " in fails("render", "bad.diffbmp", "-o", "a.png")
