"""What stamps are called in every layered format, and the sets and groups they are in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import diffbmp
from diffbmp.exporters.grouping import DEPTH, LayerGroup, group_stamps
from diffbmp.exporters.naming import StampName, clean_name, counted, depth_name, stamp_names
from diffbmp.loaders.sources import load_textures, set_name
from diffbmp.testing.exports import mixed_scene


def make_scene(textures: list[diffbmp.Texture], used: list[list[int]], batch: int | None = None) -> diffbmp.Scene:
    """Return a scene with a primitive of stamps for each list of textures."""
    primitives = []
    for indices in used:
        count = len(indices)
        shape = (count,) if batch is None else (batch, count)
        primitives.append(
            diffbmp.Stamps(
                torch.zeros(*shape, 2),
                torch.ones(shape),
                torch.zeros(shape),
                torch.zeros(shape),
                torch.zeros(*shape, 3),
                torch.tensor(indices),
            )
        )
    return diffbmp.Scene(8, 8, diffbmp.Atlas(textures), primitives)


def texture(name: str, set: str = "") -> diffbmp.Texture:
    return diffbmp.Texture(name, torch.ones(1, 2, 2), set)


class TestNames:
    def test_set_texture_and_number_in_painting_order_over_all_primitives(self) -> None:
        textures = [
            texture("leaf-2", "petals"),
            texture("disc", "disc"),
            texture("7"),
            texture("\u82b1", "text:\u82b1\u706b"),
        ]
        names = stamp_names(make_scene(textures, [[0, 1], [2, 3]]))
        assert [name.text for name in names] == ["petals/leaf-2 1", "disc 2", "7 3", "text:\u82b1\u706b/\u82b1 4"]
        assert [(name.number, name.primitive, name.index) for name in names] == [
            (1, 0, 0),
            (2, 0, 1),
            (3, 1, 0),
            (4, 1, 1),
        ]

    def test_instances_are_counted_not_sprites_and_kinds_are_named(self) -> None:
        scene = mixed_scene(["ribbons", "stamps", "ribbons"], count=3)
        names = stamp_names(scene)
        assert [name.number for name in names] == list(range(1, 10))
        assert [(name.primitive, name.index) for name in names[:4]] == [(0, 0), (0, 1), (0, 2), (1, 0)]
        assert names[1].text == "ribbons 2"
        assert counted(scene) == "6 ribbons and 3 stamps"

    def test_a_batch_of_canvases_has_no_names(self) -> None:
        with pytest.raises(diffbmp.DiffbmpError, match="batch of canvases; export one"):
            stamp_names(make_scene([texture("a")], [[0, 0]], batch=2))

    @given(st.text(max_size=200))
    def test_a_name_is_one_short_line_that_utf8_and_xml_can_hold(self, name: str) -> None:
        cleaned = clean_name(name)
        assert len(cleaned) <= 80
        assert cleaned == cleaned.strip()
        cleaned.encode("utf-8")
        assert not any(ord(c) < 32 or c in "\x7f\u2028\u2029\ufffe\uffff" for c in cleaned)

    def test_letters_of_any_script_stay(self) -> None:
        assert clean_name("Bl\u00fcte \u82b1 \U0001f338 e\u0301") == "Bl\u00fcte \u82b1 \U0001f338 e\u0301"
        assert clean_name("a\nb\ud800") == "a\ufffdb\ufffd"
        assert clean_name("x" * 81) == "x" * 79 + "\u2026"


class TestSets:
    @pytest.mark.parametrize(
        ("source", "expected"),
        [
            ("stamps", "stamps"),
            ("stamps/", "stamps"),
            ("./stamps/../stamps/", "stamps"),
            ("stamps/*.png", "stamps"),
            ("stamps/**/*.png", "stamps"),
            ("stamps/stamp-1.png", "stamp-1"),
            ("*.png", "*.png"),
            ("text:a/b", "text:a/b"),
            ("shape:disc", "shape:disc"),
            ("no\0where", "no\0where"),
        ],
    )
    def test_a_source_is_called_as_people_call_it(
        self, source: str, expected: str, stamps: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(stamps.parent)
        assert set_name(source) == expected

    def test_every_texture_knows_its_source(self, stamps: Path, tmp_path: Path) -> None:
        (tmp_path / "more" / "stamps").mkdir(parents=True)
        Image.fromarray(np.full((4, 4), 255, np.uint8)).save(tmp_path / "more" / "stamps" / "stamp-0.png")
        textures = load_textures([str(stamps), str(tmp_path / "more" / "stamps"), "shape:disc"])
        assert [(t.set, t.name) for t in textures] == [
            ("stamps", "stamp-0"),
            ("stamps", "stamp-1"),
            ("stamps", "stamp-2"),
            ("stamps-2", "stamp-0-2"),
            ("shape:disc", "disc"),
        ]

    def test_it_stays_through_moves_and_files(self, tmp_path: Path) -> None:
        scene = make_scene([texture("a", "one \u82b1"), texture("b", "two\ud800")], [[0, 1]])
        assert [t.set for t in scene.atlas.to(dtype=torch.float64).textures] == ["one \u82b1", "two\ud800"]
        diffbmp.save_scene(scene, tmp_path / "a.diffbmp")
        loaded = diffbmp.load_scene(tmp_path / "a.diffbmp")
        assert [t.set for t in loaded.atlas.textures] == ["one \u82b1", "two\\ud800"]


def named(sets: str) -> list[StampName]:
    return [StampName(i + 1, 0, i, "t", label.strip()) for i, label in enumerate(sets)]


def boxes_of(*rows: tuple[int, int, int, int]) -> np.ndarray:
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


class TestGroups:
    def test_none_and_depth(self) -> None:
        names = named("a" * (DEPTH + 5))
        boxes = np.zeros((DEPTH + 5, 4), np.int64)
        assert group_stamps(names, boxes, "none") == [LayerGroup(None, tuple(range(DEPTH + 5)))]
        groups = group_stamps(names, boxes, "depth")
        assert [group.name for group in groups] == [f"depth 1-{DEPTH}", f"depth {DEPTH + 1}-{DEPTH + 5}"]
        assert [index for group in groups for index in group.stamps] == list(range(DEPTH + 5))
        assert depth_name(names) == f"depth 1-{DEPTH + 5}"
        assert group_stamps([], boxes[:0], "set") == []

    def test_sets_that_do_not_overlap_are_one_group_each(self) -> None:
        boxes = boxes_of((0, 0, 2, 2), (2, 0, 2, 2), (0, 2, 2, 2), (2, 2, 2, 2))
        assert group_stamps(named("abab"), boxes, "set") == [LayerGroup("a", (0, 2)), LayerGroup("b", (1, 3))]

    def test_what_is_of_no_set_is_grouped_by_its_kind(self) -> None:
        names = [StampName(1, 0, 0, "leaf", "", "stamps"), StampName(2, 1, 0, "stroke", "", "strokes")]
        groups = group_stamps(names, boxes_of((0, 0, 4, 4), (2, 2, 4, 4)), "set")
        assert groups == [LayerGroup("stamps", (0,)), LayerGroup("strokes", (1,))]

    def test_a_set_between_another_splits_it(self) -> None:
        boxes = boxes_of((0, 0, 4, 4), (1, 1, 4, 4), (2, 2, 4, 4), (50, 50, 4, 4))
        groups = group_stamps(named("ab b"), boxes, "set")
        assert groups == [LayerGroup("a", (0,)), LayerGroup("b", (1, 3)), LayerGroup("stamps", (2,))]
        again = group_stamps(named("abab"), boxes, "set")
        assert again == [LayerGroup("a 1", (0,)), LayerGroup("b", (1, 3)), LayerGroup("a 2", (2,))]

    @given(st.data())
    def test_stamps_that_overlap_keep_their_order(self, data: st.DataObject) -> None:
        count = data.draw(st.integers(1, 25))
        side = st.integers(0, 6)
        boxes = boxes_of(*(data.draw(st.tuples(side, side, side, side)) for _ in range(count)))
        names = named(data.draw(st.text("abc", min_size=count, max_size=count)))
        groups = group_stamps(names, boxes, "set")
        order = [index for group in groups for index in group.stamps]
        assert sorted(order) == list(range(count))
        assert len({group.name for group in groups}) == len(groups)
        place = {index: rank for rank, index in enumerate(order)}
        cells = [
            {(x, y) for x in range(left, left + w) for y in range(top, top + h)} for left, top, w, h in boxes.tolist()
        ]
        for low in range(count):
            for high in range(low + 1, count):
                assert place[low] < place[high] or not cells[low] & cells[high]
        for group in groups:
            assert len({names[index].set for index in group.stamps}) == 1
