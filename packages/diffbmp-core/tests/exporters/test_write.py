"""Which exporter writes a file, and what it must have done once it returns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

import diffbmp
from diffbmp import DiffbmpError
from diffbmp.cli.app import build_app
from diffbmp.exporters.png import PngExporter
from diffbmp.exporters.write import exporter_for, named_output, write_scene
from diffbmp.plugins.registry import Registry

Register = Callable[..., Any]


class Words(diffbmp.Exporter):
    """The number of stamps in words."""

    name = "words"
    suffixes = (".png", ".txt")

    class Settings(diffbmp.Settings):
        """Settings of the words."""

        word: str = "stamps"
        """What they are called."""

    settings: Settings

    def export(self, scene: Any, path: Path, options: Any, *, renderer: str, progress: Any) -> None:
        path.write_text(self.settings.word)


class Failing(Words):
    """An exporter that does what the test asks."""

    name = "failing"
    suffixes = (".odd", ".odder")
    action: ClassVar[Callable[[Path], None]]
    limit: ClassVar[Any] = None

    def export(self, scene: Any, path: Path, options: Any, *, renderer: str, progress: Any) -> None:
        type(self).action(path)

    def layer_limit(self, options: Any) -> Any:
        if isinstance(self.limit, Exception):
            raise self.limit
        return self.limit


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


@pytest.fixture
def scene() -> diffbmp.Scene:
    stamps = diffbmp.Stamps(
        position=torch.tensor([[3.0, 2.0], [5.0, 3.0]]),
        scale=torch.full((2,), 2.0),
        rotation=torch.zeros(2),
        opacity_logit=torch.zeros(2),
        color_logit=torch.zeros(2, 3),
        texture=torch.zeros(2, dtype=torch.int64),
    )
    return diffbmp.Scene(8, 6, diffbmp.Atlas.from_pixels([torch.ones(3, 3)]), [stamps])


class TestContestedSuffixes:
    def test_core_keeps_its_suffix_and_both_are_named(self, register: Register, scene: Any, tmp_path: Path) -> None:
        record = register("words", Words)
        assert record.problems == [
            f"the suffix .png is claimed by both the exporter 'png' of 'core' (diffbmp-core {diffbmp.__version__}) and "
            "the exporter 'words' of 'words' (diffbmp-words 1.0); 'png' is kept, and words:FILE.png asks for the other "
            "one"
        ]
        with pytest.warns(UserWarning, match="'png'") as warned:
            assert isinstance(exporter_for("a.PNG"), PngExporter)
        assert str(warned[0].message) == (
            f"The suffix .png is claimed by both the exporter 'png' of 'core' (diffbmp-core {diffbmp.__version__}) and "
            "the exporter 'words' of 'words' (diffbmp-words 1.0); 'png' is used. Write 'png:FILE.png' or "
            "'words:FILE.png' to choose."
        )
        write_scene(scene, tmp_path / "a.png", renderer="reference")  # said once: a warning would be an error here
        assert size(tmp_path / "a.png") == (8, 6)
        assert isinstance(exporter_for("a.txt"), Words)

    def test_of_two_plugins_the_first_one_keeps_it(self, register: Register) -> None:
        class Other(Words):
            """Other words."""

            name = "other"
            suffixes = (".txt", ".text", ".png")

        register("one", Words)
        problems = register("two", Other).problems
        assert len(problems) == 2  # with core for .png, with 'one' for .txt
        assert any(
            "the suffix .txt is claimed by both the exporter 'words' of 'one'" in problem for problem in problems
        )
        with pytest.warns(UserWarning, match=r"Write 'words:FILE\.txt' or 'other:FILE\.txt' to choose"):
            assert type(exporter_for("a.txt")) is Words
        assert type(exporter_for("a.text")) is Other

    def test_one_plugin_with_two_for_a_suffix(self, register: Register) -> None:
        class Other(Words):
            """Other words."""

            name = "other"
            suffixes = (".txt", ".md")

        class Third(Words):
            """More words."""

            name = "third"
            suffixes = (".txt", ".md")

        problems = register("one", Other, Third).problems
        assert len(problems) == 1
        assert problems[0].startswith("the suffixes .txt, .md are claimed by both the exporter 'other' of 'one' (")

    def test_a_class_without_a_name_of_its_own_claims_no_suffix(self, register: Register) -> None:
        class Png(Words):
            """A PNG of words."""

            name = "png"
            suffixes = (".png", ".wrd")

        assert len(register("words", Png).problems) == 1  # the name
        with pytest.warns(UserWarning, match="Write 'core/png' or 'words/png' to choose"):
            assert isinstance(exporter_for("a.png"), PngExporter)
        with pytest.raises(DiffbmpError, match=r"Unknown file suffix '\.wrd'.* Plugins with problems: words \(see"):
            exporter_for("a.wrd")
        assert type(exporter_for("a.wrd", name="words/png")) is Png


class TestNamedOutputs:
    def test_the_name_before_a_file(self, register: Register) -> None:
        register("words", Words)
        for text, expected in {
            "words:a.png": ("words", "a.png"),
            "words/words:a.png": ("words/words", "a.png"),
            "diffbmp-words/words:a/b:c.png": ("diffbmp-words/words", "a/b:c.png"),
            "core/png:png": ("core/png", "png"),
            "a.png": (None, "a.png"),
            "C:\\a.png": (None, "C:\\a.png"),
            "c:a.png": (None, "c:a.png"),
            "c:/words:a.png": (None, "c:/words:a.png"),
            "./words:a.png": (None, "./words:a.png"),
            "/tmp/words:a.png": (None, "/tmp/words:a.png"),
            "~/words:a.png": (None, "~/words:a.png"),
            "../a/words:a.png": (None, "../a/words:a.png"),
            "out/more/words:a.png": (None, "out/more/words:a.png"),
            "2026-01-31T10:20.png": (None, "2026-01-31T10:20.png"),
        }.items():
            assert named_output(text) == expected, text

    def test_a_name_that_nobody_has(self, register: Register) -> None:
        register("words", Words)
        with pytest.raises(DiffbmpError) as caught:
            named_output("wrods:a.png")
        assert str(caught.value).startswith("Unknown exporter 'wrods'; did you mean 'words'? Known: ")
        assert "(A file of this name: './wrods:a.png'.)" in str(caught.value)
        with pytest.raises(DiffbmpError, match="Unknown exporter 'wrods/words'"):
            named_output("wrods/words:a.png")

    def test_settings_are_under_the_name_that_is_written(self, register: Register) -> None:
        register("words", Words)
        tables = {"words": {"word": "leaves"}, "words/words": {"word": "petals"}}
        assert exporter_for("a.txt", tables).settings.word == "leaves"
        assert exporter_for("a.png", tables, name="words").settings.word == "leaves"
        assert exporter_for("a.png", tables, name="words/words").settings.word == "petals"

    @pytest.fixture
    def run(self, register: Register, scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
        register("words", Words)
        monkeypatch.chdir(tmp_path)
        diffbmp.save_scene(scene, "a.diffbmp")

        def invoke(*arguments: str) -> Result:
            result = CliRunner().invoke(build_app(), [*arguments, "--renderer", "reference"])
            if isinstance(result.exception, DiffbmpError):
                raise result.exception
            return result

        return invoke

    def test_from_the_command_line(self, run: Any, tmp_path: Path) -> None:
        result = run(
            "export", "a.diffbmp", "-o", "words:a.png", "-o", "png:b.png", "--set", "exporters.words.word=bees"
        )
        assert result.output.split() == ["a.png", "b.png"]
        assert Path("a.png").read_text() == "bees"
        assert size(Path("b.png")) == (8, 6)
        run("export", "a.diffbmp", "-o", "./nobody:a.txt")
        assert Path("nobody:a.txt").read_text() == "stamps"
        with pytest.raises(DiffbmpError, match="Unknown exporter 'nobody'"):
            run("export", "a.diffbmp", "-o", "nobody:a.txt")

    def test_render_writes_cores_png_without_a_word(self, run: Any) -> None:
        run("render", "a.diffbmp", "-o", "c.png")
        assert size(Path("c.png")) == (8, 6)


class TestContract:
    def write(self, scene: diffbmp.Scene, path: Path, action: Callable[[Path], None], **options: Any) -> list[Path]:
        Failing.action = staticmethod(action)
        return write_scene(scene, path, **options)

    def message(self, scene: diffbmp.Scene, path: Path, action: Callable[[Path], None]) -> str:
        with pytest.raises(DiffbmpError) as caught:
            self.write(scene, path, action)
        assert list(path.parent.iterdir()) == []
        return str(caught.value)

    def test_an_exception_is_named(self, register: Register, scene: diffbmp.Scene, tmp_path: Path) -> None:
        register("odd", Failing)

        def fail(path: Path) -> None:
            path.write_text("half of it")
            raise ValueError("no")

        path = tmp_path / "a.odd"
        assert self.message(scene, path, fail) == (
            f"The exporter 'failing' of the plugin 'odd' (diffbmp-odd 1.0) failed on '{path}': ValueError: no."
        )

    @pytest.mark.parametrize(
        "action", [lambda path: None, lambda path: path.unlink(), lambda path: path.write_text("")]
    )
    def test_nothing_is_written(
        self, register: Register, scene: diffbmp.Scene, tmp_path: Path, action: Callable[[Path], None]
    ) -> None:
        register("odd", Failing)
        path = tmp_path / "a.odd"
        assert self.message(scene, path, action) == (
            f"The exporter 'failing' of the plugin 'odd' (diffbmp-odd 1.0) wrote nothing into '{path}', and raised no "
            "error."
        )

    def test_a_full_disk_is_nobodys_bug(self, register: Register, scene: diffbmp.Scene, tmp_path: Path) -> None:
        register("odd", Failing)

        def fail(path: Path) -> None:
            raise OSError(28, "No space left on device", str(path))

        assert "cannot be written: the disk is full" in self.message(scene, tmp_path / "a.odd", fail)

    @pytest.mark.parametrize("limit", [0, -1, 2.0, True, "many"])
    def test_a_limit_that_is_none(self, register: Register, scene: Any, tmp_path: Path, limit: Any) -> None:
        register("odd", Failing)
        Failing.limit = limit
        said = self.message(scene, tmp_path / "a.odd", lambda path: None)
        assert said.startswith("The exporter 'failing' of the plugin 'odd' (diffbmp-odd 1.0) gives ")
        assert said.endswith(f"{limit!r} as its layer_limit; it must be a number of at least 1, or None.")

    def test_a_limit_that_fails(self, register: Register, scene: Any, tmp_path: Path) -> None:
        register("odd", Failing)
        Failing.limit = RuntimeError("no idea")
        assert "failed on '" in self.message(scene, tmp_path / "a.odd", lambda path: None)

    @pytest.fixture(autouse=True)
    def reset(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Failing, "limit", None)

    def test_an_instance_in_place_of_a_name(self, core_registry: Registry, scene: Any, tmp_path: Path) -> None:
        write_scene(scene, tmp_path / "a.png", exporter=Words(Words.Settings(word="bees")))
        assert (tmp_path / "a.png").read_text() == "bees"
        with pytest.raises(DiffbmpError, match=r"^The exporter 'failing' failed on '.*a\.any': KeyError: 'no'\.$"):
            self.write(scene, tmp_path / "a.any", lambda path: {}["no"], exporter=Failing())


class TestLimitOfAFormat:
    def test_the_sibling_is_the_exporters_own(self, register: Register, scene: Any, tmp_path: Path) -> None:
        class Other(Words):
            """Claims the suffix first."""

            name = "other"
            suffixes = (".odder",)

        register("first", Other)
        register("odd", Failing)

        def write(path: Path) -> None:
            if path.suffix == ".odd":
                raise diffbmp.FormatLimitExceeded(".odder", "An odd file holds one stamp")
            path.write_text("much")

        Failing.action = staticmethod(write)
        with pytest.warns(
            UserWarning, match=r"An odd file holds one stamp, so '.*a\.odder' is written instead of 'a.odd'"
        ):
            written = write_scene(scene, tmp_path / "a.odd", exporter="failing")
        assert written == [tmp_path / "a.odder"]
        assert written[0].read_text() == "much"

    def test_a_sibling_that_is_too_small_as_well(self, register: Register, scene: Any, tmp_path: Path) -> None:
        register("odd", Failing)

        def write(path: Path) -> None:
            raise diffbmp.FormatLimitExceeded(".odder", "An odd file holds one stamp")

        Failing.action = staticmethod(write)
        with (
            pytest.warns(UserWarning, match="is written instead"),
            pytest.raises(DiffbmpError, match=r"^An odd file holds one stamp; \.odder holds more\.$"),
        ):
            write_scene(scene, tmp_path / "a.odd")
