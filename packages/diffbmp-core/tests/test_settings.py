"""Settings: what a person may write, and the sentence for what they may not."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, field_validator

from diffbmp.errors import DiffbmpError, nearest, unknown_name
from diffbmp.fitting.settings import FitSettings
from diffbmp.settings import Settings, parse_settings, setting_rows, type_text


class Ink(Enum):
    BLACK = "black"
    RED = "red"


class Optimizer(Settings):
    """Rates."""

    position: float = Field(1.0, ge=0)
    """Rate of the position."""
    betas: tuple[float, float] = (0.9, 0.999)


class Example(Settings):
    """One field of each sort."""

    count: int = Field(3, ge=1, le=100)
    """How many,
    and no more."""
    rate: float | None = Field(None, gt=0)
    mask: Literal["alpha", "luminance"] = "alpha"
    ink: Ink = Ink.BLACK
    flag: bool = False
    name: str = ""
    file: Path = Path("here")
    size: int | Literal["auto"] = "auto"
    weights: dict[str, float] = Field(default_factory=dict)
    names: list[str] = Field(default_factory=list, max_length=3)
    tables: dict[str, dict[str, Any]] = Field(default_factory=dict)
    share: Annotated[float, Field(ge=0, lt=1)] | None = None
    word: str = Field("a", pattern="^[a-z]+$")
    optimizer: Optimizer = Field(default_factory=Optimizer)
    several: list[Optimizer] = Field(default_factory=list)

    @field_validator("count")
    @classmethod
    def _not_seven(cls, value: int) -> int:
        if value == 7:
            raise ValueError("Seven is taken.")
        return value


def sentence(values: Any, where: str = "") -> str:
    with pytest.raises(DiffbmpError) as caught:
        parse_settings(Example, values, where)
    text = str(caught.value)
    assert "\n" not in text
    return text


class TestParse:
    def test_strings_are_read_as_the_type_of_the_field(self) -> None:
        found = parse_settings(
            Example, {"count": "5", "rate": "0.5", "flag": "true", "optimizer": {"position": "2"}}, ""
        )
        assert (found.count, found.rate, found.flag, found.optimizer.position) == (5, 0.5, True, 2.0)

    def test_settings_are_immutable(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            Example().count = 4  # type: ignore[misc]

    @pytest.mark.parametrize(
        ("values", "said"),
        [
            ({"count": 0}, "Setting 'w.count' is 0: it must be greater than or equal to 1."),
            ({"count": "many"}, "Setting 'w.count' is 'many': it must be a valid integer"),
            ({"count": 7}, "Setting 'w.count' is 7: seven is taken."),
            ({"count": True}, "Setting 'w.count' is True: it must be int, not true or false."),
            ({"rate": False}, "Setting 'w.rate' is False: it must be float | None, not true or false."),
            ({"weights": {"mse": True}}, "Setting 'w.weights' is a table: it must be dict[str, float], not true"),
            ({"rate": float("nan")}, "Setting 'w.rate' is nan: it must be a finite number."),
            ({"rate": "inf"}, "Setting 'w.rate' is 'inf': it must be a finite number."),
            ({"mask": "alfa"}, "it must be 'alpha' or 'luminance'; did you mean 'alpha'?"),
            ({"mask": "qqq"}, "Setting 'w.mask' is 'qqq': it must be 'alpha' or 'luminance'."),
            ({"ink": "rad"}, "Setting 'w.ink' is 'rad': it must be 'black' or 'red'; did you mean 'red'?"),
            ({"size": 1.5}, "Setting 'w.size' is 1.5: it must be a valid integer, got a number with a fractional"),
            ({"weights": {"mse": "much"}}, "Setting 'w.weights.mse' is 'much': it must be a valid number"),
            ({"weights": 3}, "Setting 'w.weights' is 3: it must be a table of settings."),
            ({"names": ["a", 3]}, "Setting 'w.names[1]' is 3: it must be a valid string."),
            ({"file": 3}, "Setting 'w.file' is 3: input is not a valid path."),
            ({"share": 1}, "Setting 'w.share' is 1: it must be less than 1."),
            ({"optimizer": 3}, "Setting 'w.optimizer' is 3: it must be a table of settings."),
            ({"optimizer": {"betas": (1, "x")}}, "Setting 'w.optimizer.betas[1]' is 'x': it must be a valid number"),
            ({"several": [{"position": -1}]}, "Setting 'w.several[0].position' is -1: it must be greater than"),
            ({"several": [{"positon": 1}]}, "Unknown setting in 'w.several[0]' 'positon'; did you mean 'position'?"),
            ({"optimizer": {"positon": 1}}, "Unknown setting in 'w.optimizer' 'positon'; did you mean 'position'?"),
            ({"COUNT": 1}, "Unknown setting in 'w' 'COUNT'; did you mean 'count'?"),
            ({"": 1}, "Unknown setting in 'w' ''."),
            ({3: 1}, "'w[3]' is 3: keys should be strings."),
            (None, "'w' must be a table of settings by name, got None."),
            ([("count", 1)], "'w' must be a table of settings by name, got [('count', 1)]."),
        ],
    )  # fmt: skip
    def test_mistakes(self, values: Any, said: str) -> None:
        assert said in sentence(values, "w")

    def test_at_the_top_there_is_no_place_to_name(self) -> None:
        assert sentence({"count": 0}).startswith("Setting 'count' is 0")
        assert sentence({"cuont": 0}).startswith("Unknown setting 'cuont'; did you mean 'count'?")
        assert sentence({"optimizer": {"positon": 1}}).startswith("Unknown setting in 'optimizer' 'positon'; did you")
        assert sentence(3) == "Settings must be a table of settings by name, got 3."

    def test_a_missing_setting(self) -> None:
        class Needy(Settings):
            path: str

        with pytest.raises(DiffbmpError, match=r"^Setting 'scene\.path' is required; give it a value\.$"):
            parse_settings(Needy, {}, "scene")

    def test_a_long_value_is_cut(self) -> None:
        assert len(sentence({"count": "9x" * 5000})) < 250
        assert len(sentence({"names": 1, "count": ["a" * 500] * 500})) < 250

    def test_the_settings_of_a_fit(self) -> None:
        with pytest.raises(DiffbmpError, match="Unknown setting in 'optimizer' 'positon'; did you mean 'position'"):
            parse_settings(FitSettings, {"optimizer": {"positon": 1}}, "")
        with pytest.raises(DiffbmpError, match="Setting 'n' is True"):
            parse_settings(FitSettings, {"n": True}, "")


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.binary(max_size=4)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
keys = st.sampled_from(sorted(Example.model_fields)) | st.text(max_size=12)


@given(values=st.dictionaries(keys, anything, max_size=3))
def test_any_table_gives_settings_or_one_sentence(values: dict[str, Any]) -> None:
    try:
        found = parse_settings(Example, values, "here")
    except DiffbmpError as error:
        text = str(error)
        assert text.startswith(("Setting 'here.", "Unknown setting in 'here"))
        assert text.rstrip().endswith((".", "?"))
    else:
        assert set(values) <= set(Example.model_fields)
        assert found.model_fields_set == set(values)
        assert not isinstance(values.get("count", 0), bool)


@given(
    name=st.sampled_from(sorted(FitSettings.model_fields)), position=st.integers(0, 30), letter=st.sampled_from("xyz")
)
def test_one_wrong_letter_is_recognised(name: str, position: int, letter: str) -> None:
    if len(name) < 4:
        return
    position %= len(name)
    misspelt = name[:position] + letter + name[position + 1 :]
    if misspelt in FitSettings.model_fields:
        return
    near = nearest(misspelt, FitSettings.model_fields)
    assert near is not None
    with pytest.raises(DiffbmpError, match=rf"^Unknown setting '{misspelt}'; did you mean '{near}'\?"):
        parse_settings(FitSettings, {misspelt: 1}, "")


class TestUnknownName:
    def test_says_the_nearest_and_what_there_is(self) -> None:
        assert (
            str(unknown_name("loss", "sim", ["ssim", "mse"]))
            == "Unknown loss 'sim'; did you mean 'ssim'? Known: mse, ssim."
        )
        assert str(unknown_name("loss", "SSIM", ["ssim"])) == "Unknown loss 'SSIM'; did you mean 'ssim'? Known: ssim."
        assert str(unknown_name("loss", "q", ["ssim"])) == "Unknown loss 'q'. Known: ssim."
        assert str(unknown_name("loss", "q", [])) == "Unknown loss 'q'. There is none to choose from."

    @given(names=st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=5), name=st.text(max_size=6))
    def test_the_nearest_is_always_a_known_one(self, names: list[str], name: str) -> None:
        assert nearest(name, names) in {None, *names}
        assert nearest(names[0], names) in [n for n in names if n.casefold() == names[0].casefold()]


class TestRows:
    def test_every_sort_of_field(self) -> None:
        rows = {row["name"]: row for row in setting_rows(Example)}
        shown = {name: (row["type"], row["default"], row["range"]) for name, row in rows.items()}
        assert shown == {
            "count": ("int", 3, ">= 1, <= 100"),
            "rate": ("float | None", None, "> 0"),
            "mask": ("alpha | luminance", "alpha", ""),
            "ink": ("black | red", "black", ""),
            "flag": ("bool", False, ""),
            "name": ("str", "", ""),
            "file": ("Path", "here", ""),
            "size": ("int | auto", "auto", ""),
            "weights": ("dict[str, float]", {}, ""),
            "names": ("list[str]", [], "length <= 3"),
            "tables": ("dict[str, dict[str, any]]", {}, ""),
            "share": ("float | None", None, ">= 0, < 1"),
            "word": ("str", "a", "matching ^[a-z]+$"),
            "optimizer.position": ("float", 1.0, ">= 0"),
            "optimizer.betas": ("tuple[float, float]", [0.9, 0.999], ""),
            "several": ("list[Optimizer]", [], ""),
        }
        assert rows["count"]["description"] == "How many, and no more."
        assert rows["optimizer.position"]["description"] == "Rate of the position."
        assert not any(row["required"] for row in rows.values())
        json.dumps(list(rows.values()), allow_nan=False)

    def test_a_required_field_has_no_default(self) -> None:
        class Needy(Settings):
            path: str

        (row,) = setting_rows(Needy)
        assert row["required"]
        assert row["default"] is None

    def test_the_settings_of_a_fit_are_all_described(self) -> None:
        rows = list(setting_rows(FitSettings))
        assert {"n", "optimizer.position", "blur.sigma"} <= {row["name"] for row in rows}
        assert [row["name"] for row in rows if not row["description"]] == []

    @pytest.mark.parametrize(
        ("annotation", "text"),
        [
            (int, "int"),
            (None, "None"),
            (Any, "any"),
            (tuple[str, ...], "tuple[str, ...]"),
            (Literal["a", 2] | None, "a | 2 | None"),
            (Annotated[list[Path], "note"], "list[Path]"),
        ],
    )
    def test_types(self, annotation: Any, text: str) -> None:
        assert type_text(annotation) == text
