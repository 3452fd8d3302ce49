"""``diffbmp layers``, and ``diffbmp export`` to layered files, as a stranger meets them."""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from typer.testing import CliRunner

import diffbmp
from diffbmp.cli.app import build_app
from diffbmp.testing.exports import ExportScene, mixed_scene


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Return a scene of two sets: three squares at (8, 8), (24, 8) and (24, 24), 8 pixels a side."""
    textures = [
        diffbmp.Texture("leaf-2", torch.ones(1, 8, 8), "petals"),
        diffbmp.Texture("disc", torch.ones(1, 8, 8), "disc"),
    ]
    stamps = diffbmp.Stamps(
        torch.tensor([[8.0, 8.0], [24.0, 8.0], [24.0, 24.0]]),
        torch.full((3,), 4.0),
        torch.zeros(3),
        torch.zeros(3),
        torch.zeros(3, 3),
        torch.tensor([0, 1, 0]),
    )
    path = tmp_path / "scene.diffbmp"
    diffbmp.save_scene(diffbmp.Scene(32, 32, diffbmp.Atlas(textures), [stamps], background=torch.ones(3)), path)
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(build_app(), [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def rows(*arguments: object) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(run("layers", *arguments, "--json"))
    return found


class TestLayers:
    def test_every_stamp_with_its_name_and_place(self, saved: Path) -> None:
        found = rows(saved)
        assert [row["layer"] for row in found] == ["petals/leaf-2 1", "disc 2", "petals/leaf-2 3"]
        assert found[1] == {
            "left": 19, "top": 3, "width": 10, "height": 10, "opacity": 0.5,
            "layer": "disc 2", "number": 2, "kind": "stamps", "primitive": 0, "index": 1,
            "set": "disc", "label": "disc",
        }  # fmt: skip
        assert len(run("layers", saved).splitlines()) == 4

    def test_a_name_of_a_layer_tells_the_stamp_and_a_number_the_name(self, saved: Path) -> None:
        assert [row["index"] for row in rows(saved, "petals/leaf-2 3")] == [2]
        assert [row["layer"] for row in rows(saved, "2")] == ["disc 2"]
        assert [row["number"] for row in rows(saved, "3", "disc 2", "3")] == [3, 2]

    def test_names_of_flattened_layers_and_of_groups_by_depth(self, saved: Path) -> None:
        assert [row["number"] for row in rows(saved, "stamps 1-2")] == [1, 2]
        assert [row["number"] for row in rows(saved, "depth 2-3")] == [2, 3]

    def test_a_set(self, saved: Path) -> None:
        assert [row["number"] for row in rows(saved, "petals")] == [1, 3]

    def test_stamps_at_a_point(self, saved: Path) -> None:
        assert [row["number"] for row in rows(saved, "--at", "24,23.5")] == [3]
        assert rows(saved, "--at", "16,16") == []

    @pytest.mark.parametrize(
        ("name", "sentence"),
        [
            (
                "petals/leaf-2 2",
                "no layer 'petals/leaf-2 2'. Did you mean 'petals/leaf-2 [13]' or 'petals/leaf-2 [13]'",
            ),
            ("xyz", "no layer 'xyz'. Without a name, all are listed."),
            ("4", "no stamp '4': the scene has stamps 1 to 3"),
            ("0", "no stamp '0': the scene has stamps 1 to 3"),
            ("stamps 2-9", "no stamp 'stamps 2-9'"),
            ("background", "'background' is the scene's background, not a stamp"),
        ],
    )
    def test_what_is_no_stamp(self, saved: Path, name: str, sentence: str) -> None:
        with pytest.raises(diffbmp.DiffbmpError, match=sentence):
            run("layers", saved, name)

    def test_a_point_that_is_none(self, saved: Path) -> None:
        with pytest.raises(diffbmp.DiffbmpError, match=r"takes a point as X,Y.*not '3'"):
            run("layers", saved, "--at", "3")


@pytest.mark.usefixtures("other_kinds")
class TestOtherKinds:
    """Ribbons, of six sprites each, and rectangles that draw a layer of their own."""

    @pytest.fixture
    def saved(self, tmp_path: Path) -> Path:
        scene = mixed_scene(["stamps", "soft-rectangles", "ribbons"], count=5)
        scene.alpha_max = 0.5
        diffbmp.save_scene(scene, tmp_path / "scene.diffbmp")
        return tmp_path / "scene.diffbmp"

    def test_a_row_for_each_instance(self, saved: Path) -> None:
        found = rows(saved)
        assert [row["layer"] for row in found[5:]] == ["soft-rectangles 6", *(f"ribbons {n}" for n in range(7, 12))]
        assert [(row["kind"], row["primitive"], row["index"]) for row in found[5:8]] == [
            ("soft-rectangles", 1, 0),
            ("ribbons", 2, 0),
            ("ribbons", 2, 1),
        ]
        scene = diffbmp.load_scene(saved)
        assert found[5] == rows(saved, "6")[0] | {"left": 0, "top": 0, "width": 160, "height": 120, "opacity": 1.0}
        opacity = scene.primitives[2].opacity
        assert isinstance(opacity, torch.Tensor)
        assert found[7]["opacity"] == pytest.approx(0.5 * float(opacity[1].detach()), abs=1e-6)

    def test_a_group_of_a_kind(self, saved: Path) -> None:
        assert [row["number"] for row in rows(saved, "ribbons")] == list(range(7, 12))

    def test_the_box_holds_all_sprites_of_an_instance(self, saved: Path) -> None:
        scene = diffbmp.load_scene(saved)
        with torch.no_grad():
            sprites = scene.primitives[2](scene.atlas)
        for row in rows(saved)[6:]:
            index = row["index"]
            for x, y in sprites.frame[sprites.instance == index][:, :, 2].tolist():
                if 0 <= x < scene.width and 0 <= y < scene.height:
                    assert row in rows(saved, "--at", f"{x},{y}")

    def test_names_in_a_file_are_those_of_the_command(self, saved: Path, tmp_path: Path) -> None:
        run("export", saved, "-o", tmp_path / "a.ora")
        with zipfile.ZipFile(tmp_path / "a.ora") as archive:
            image = ElementTree.fromstring(archive.read("stack.xml"))
        names = [layer.get("name") for layer in image.iter("layer")][:-1]
        listed = [row["layer"] for row in reversed(rows(saved))]
        assert [name for name in listed if name in names] == names
        assert {"soft-rectangles 6", "ribbons 11"} <= set(names)


class TestExport:
    def test_scale_groups_and_several_files_at_once(self, saved: Path, tmp_path: Path) -> None:
        outputs = [tmp_path / "a.ora", tmp_path / "b.png"]
        shown = run("export", saved, "-o", outputs[0], "-o", outputs[1], "--scale", 4, "--groups", "set")
        assert shown.split() == [str(path) for path in outputs]
        with zipfile.ZipFile(outputs[0]) as archive:
            image = ElementTree.fromstring(archive.read("stack.xml"))
        assert image.get("w") == "128"
        assert sorted(group.get("name", "") for group in image.findall("stack/stack")) == ["disc", "petals"]

    def test_the_names_in_the_file_are_those_of_the_command(self, saved: Path, tmp_path: Path) -> None:
        run("export", saved, "-o", tmp_path / "a.ora")
        with zipfile.ZipFile(tmp_path / "a.ora") as archive:
            image = ElementTree.fromstring(archive.read("stack.xml"))
        names = [layer.get("name") for layer in image.iter("layer")][:-1]
        assert names == [row["layer"] for row in reversed(rows(saved))]

    def test_an_option_that_means_nothing_to_the_format(self, saved: Path, tmp_path: Path) -> None:
        with pytest.raises(diffbmp.DiffbmpError, match="option split means nothing to ora"):
            run("export", saved, "-o", tmp_path / "a.ora", "--split")

    def test_progress_goes_from_nothing_to_everything(self, tmp_path: Path) -> None:
        from diffbmp.exporters.write import write_scene

        told: list[float] = []
        write_scene(ExportScene("told", count=200).scene(), tmp_path / "a.ora", progress=told.append)
        assert told == sorted(told)
        assert told[-1] == 1
        assert len(told) > 100

    @pytest.mark.parametrize("suffix", ["ora", "psd"])
    def test_ctrl_c_leaves_no_half_file(self, tmp_path: Path, suffix: str) -> None:
        if suffix == "psd" and importlib.util.find_spec("diffbmp_psd") is None:
            pytest.skip("diffbmp-psd is not installed")
        scene = ExportScene("large", "both", 0.5, count=2000, radius=(60.0, 90.0), size=(400, 400)).scene()
        diffbmp.save_scene(scene, tmp_path / "scene.diffbmp")
        target = tmp_path / f"layers.{suffix}"
        target.write_bytes(b"what was there before")
        process = subprocess.Popen(
            [sys.executable, "-m", "diffbmp", "export", "scene.diffbmp", "-o", target.name, "--scale", "6"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(f".*.{suffix}")):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=120)
        # 130 to a shell either way: where Ctrl-C meets code that `exec` runs, as while a dataclass is made, Python ends
        # by the signal itself.
        assert process.returncode in (130, -signal.SIGINT), (output, errors)
        assert errors.strip().endswith("Interrupted; nothing was left half written.")
        assert "Traceback" not in errors
        assert {path.name for path in tmp_path.iterdir()} == {"scene.diffbmp", target.name}
        assert target.read_bytes() == b"what was there before"
