"""Sprites of several primitives together: whose each one is."""

from __future__ import annotations

import torch

from diffbmp.rendering.sprites import Sprites


def sprites(instance: list[int] | None, count: int) -> Sprites:
    zeros = torch.zeros(count)
    return Sprites(
        torch.zeros(count, 2, 3), zeros, torch.zeros(count, 3), zeros.long(), zeros,
        None if instance is None else torch.tensor(instance),
    )  # fmt: skip


def test_instances_are_counted_on_from_primitive_to_primitive() -> None:
    both = Sprites.concatenate([sprites([0, 0, 1], 3), sprites(None, 2)])
    assert both.instances.tolist() == [0, 0, 1, 2, 3]


def test_instances_without_sprites_count() -> None:
    both = Sprites.concatenate([sprites([0], 1), sprites([0, 1], 2)], [2, 2])
    assert both.instances.tolist() == [0, 2, 3]


def test_where_every_sprite_is_an_instance_nothing_is_numbered() -> None:
    assert Sprites.concatenate([sprites(None, 1), sprites(None, 2)]).instance is None
