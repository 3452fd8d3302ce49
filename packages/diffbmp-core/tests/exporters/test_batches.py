"""Batches of canvases: a file for each, or one canvas that is asked for, from Python and from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import diffbmp
from diffbmp.cli.app import build_app
from diffbmp.exporters.exporter import Exporter
from diffbmp.exporters.ora import OraExporter
from diffbmp.exporters.write import canvas_path, write_scene
from diffbmp.plugins.registry import registry
from diffbmp.testing.exports import mixed_scene


def batch_of(count=3, kinds=("stamps", "ribbons")):
    return diffbmp.Scene.stacked([mixed_scene(kinds, count=4, seed=0) for _ in range(count)])


@pytest.fixture
def batch():
    """Return three canvases of stamps, whose places differ."""
    scene = batch_of(kinds=["stamps"])
    scene.primitives[0].position.data += torch.arange(3)[:, None, None] * 5.0
    return scene


@pytest.fixture
def saved(batch, tmp_path):
    path = tmp_path / "scene.diffbmp"
    diffbmp.save_scene(batch, path)
    return path


def run(*arguments):
    result = CliRunner().invoke(build_app(), [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("suffix", ["png", "ora", "svg", "html", "pdf"])
def test_each_canvas_is_a_file_like_that_of_the_canvas_alone(suffix, batch, tmp_path):
    files = write_scene(batch, tmp_path / f"a.{suffix}")
    assert files == [tmp_path / f"a-{number}.{suffix}" for number in (1, 2, 3)]
    for index, file in enumerate(files):
        (alone,) = write_scene(batch.canvas(index), tmp_path / f"alone.{suffix}")
        assert file.read_bytes() == alone.read_bytes()
    assert len({file.read_bytes() for file in files}) == 3


def test_files_sort_in_the_order_of_their_canvases(tmp_path):
    assert canvas_path(Path("a/b.c.png"), 6, 9) == Path("a/b.c-7.png")
    names = [canvas_path(Path("frame.png"), index, 120).name for index in range(120)]
    assert names == sorted(names)
    assert names[0] == "frame-001.png"
    assert [file.name for file in write_scene(batch_of(1), tmp_path / "a.png")] == ["a-1.png"]
    assert [file.name for file in write_scene(batch_of(10), tmp_path / "b.svg")][::9] == ["b-01.svg", "b-10.svg"]


def test_a_canvas_that_is_split_is_several_files(batch, tmp_path, monkeypatch):
    monkeypatch.setattr(OraExporter, "layer_limit", lambda self, options: 2)
    monkeypatch.setattr(OraExporter, "options", OraExporter.options | {"split"})
    files = write_scene(batch, tmp_path / "a.ora", diffbmp.ExportOptions(split=True))
    assert [file.name for file in files] == [f"a-{canvas}-{part}.ora" for canvas in (1, 2, 3) for part in (1, 2)]


def test_own_layers_of_each_canvas(tmp_path):
    scene = batch_of(kinds=["soft-rectangles", "stamps"])
    scene.primitives[0].center.data[1] += 20
    files = write_scene(scene, tmp_path / "a.svg")
    assert files[0].read_bytes() == files[2].read_bytes() != files[1].read_bytes()


def test_progress_goes_over_all_canvases(batch, tmp_path):
    told = []
    write_scene(batch, tmp_path / "a.ora", progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1
    assert sum(value < 1 / 3 for value in told) > 3


def test_a_clip_is_one_file_of_all(batch, tmp_path, monkeypatch):
    class Clip(Exporter):
        """Exporter of a clip."""

        name, suffixes, flattens, batched = "probe-clip", (".clip",), False, True

        def export(self, scene, path, options, *, renderer, progress):
            assert scene is batch
            path.write_bytes(b"clip")

    class Clips:
        @diffbmp.hookimpl
        def register_exporters(self, register):
            register(Clip)

    fresh = type(registry())()
    fresh.load()
    assert fresh.add(Clips(), "clips").problems == []
    monkeypatch.setattr("diffbmp.plugins.registry._registry", fresh)
    assert write_scene(batch, tmp_path / "a.clip") == [tmp_path / "a.clip"]


class TestCommands:
    def test_render_writes_all_or_the_one_that_is_asked_for(self, saved, batch):
        lines = run("render", saved, "--scale", 2).splitlines()
        folder = saved.parent
        assert lines == [f"{folder / f'scene-2x-{number}.png'}: 320 x 240 pixels" for number in (1, 2, 3)]
        assert run("render", saved, "--canvas", 2) == f"{folder / 'scene-2.png'}: 160 x 120 pixels\n"
        assert run("render", saved, "--canvas", 2, "-o", folder / "b.png").startswith(str(folder / "b.png"))
        (alone,) = write_scene(batch.canvas(1), folder / "alone.png")
        assert (folder / "scene-2.png").read_bytes() == (folder / "b.png").read_bytes() == alone.read_bytes()
        assert sorted(path.name for path in folder.glob("scene-?.png")) == ["scene-2.png"]

    def test_export_writes_all_or_the_one_that_is_asked_for(self, saved):
        folder = saved.parent
        shown = run("export", saved, "-o", folder / "a.ora", "-o", folder / "a.svg").split()
        assert [Path(name).name for name in shown] == [f"a-{n}.{s}" for s in ("ora", "svg") for n in (1, 2, 3)]
        assert run("export", saved, "-o", folder / "b.svg", "--canvas", 3) == f"{folder / 'b.svg'}\n"
        assert (folder / "b.svg").read_bytes() == (folder / "a-3.svg").read_bytes()

    def test_layers_lists_all_or_the_one_that_is_asked_for(self, saved):
        everything = json.loads(run("layers", saved, "--json"))
        assert [(row["canvas"], row["number"]) for row in everything] == [
            (c, n) for c in (1, 2, 3) for n in (1, 2, 3, 4)
        ]
        second = json.loads(run("layers", saved, "--json", "--canvas", 2))
        assert second == everything[4:8]
        named = json.loads(run("layers", saved, everything[0]["layer"], "--json"))
        assert [row["canvas"] for row in named] == [1, 2, 3]
        assert [row["left"] for row in named] != [named[0]["left"]] * 3
        assert run("layers", saved).split()[0] == "canvas"

    def test_names_that_only_one_canvas_has(self, saved, batch):
        batch.primitives[0].texture = batch.primitives[0].texture.expand(3, 4).clone()
        batch.primitives[0].texture[:] = 0
        batch.primitives[0].texture[1, 2] = 2
        diffbmp.save_scene(batch, saved)
        assert [row["canvas"] for row in json.loads(run("layers", saved, "dot 3", "--json"))] == [2]
        with pytest.raises(diffbmp.DiffbmpError, match=r"no layer 'dit 3'. Did you mean 'dot 3'"):
            run("layers", saved, "dit 3")
        with pytest.raises(diffbmp.DiffbmpError, match=r"no layer 'dot 3'"):
            run("layers", saved, "dot 3", "--canvas", 1)

    @pytest.mark.parametrize("number", [0, 4, -1])
    def test_a_canvas_that_is_not_there(self, saved, number):
        for command in (["render", saved], ["export", saved, "-o", saved.parent / "a.svg"], ["layers", saved]):
            with pytest.raises(
                diffbmp.DiffbmpError, match=rf"no canvas {number}: '.*scene.diffbmp' has canvases 1 to 3\."
            ):
                run(*command, "--canvas", number)
        assert [path.name for path in saved.parent.iterdir()] == ["scene.diffbmp"]

    def test_a_scene_of_one_canvas_has_none_to_choose(self, saved):
        diffbmp.save_scene(mixed_scene(["stamps"]), saved)
        for command in (["render", saved], ["export", saved, "-o", saved.parent / "a.svg"], ["layers", saved]):
            with pytest.raises(diffbmp.DiffbmpError, match=r"is one canvas, not a batch; leave out --canvas\."):
                run(*command, "--canvas", 1)


def test_a_fit_of_several_targets_writes_a_picture_and_exports_of_each(photo, stamps, tmp_path):
    result = diffbmp.fit(
        [photo, photo],
        stamps=stamps,
        n=5,
        steps=2,
        renderer="reference",
        export=["svg", "ora"],
        output=tmp_path / "out",
    )
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "checkpoint.diffbmp", "picture-1.png", "picture-2.png", "report.json", "scene-1.ora", "scene-1.svg",
        "scene-2.ora", "scene-2.svg", "scene.diffbmp",
    ]  # fmt: skip
    loaded = diffbmp.load_scene(tmp_path / "out" / "scene.diffbmp")
    assert loaded.batch == 2
    assert torch.equal(loaded.primitives[0].position, result.scene.primitives[0].position)
    write_scene(loaded.canvas(1), tmp_path / "again.png", renderer="reference")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "out" / "picture-2.png").read_bytes()
