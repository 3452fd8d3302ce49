"""A loader and a loss for DiffBMP, added by an entry point only."""

import torch

import diffbmp


class Checker(diffbmp.Loader):
    """Checkerboard stamp: ``checker:8`` has 8 x 8 fields."""

    name = "checker"

    def load(self, source):
        if not source.isdecimal() or not 1 <= int(source) <= 64:
            raise diffbmp.DiffbmpError(f"checker: takes a number of fields from 1 to 64, got '{source}'.")
        row = torch.arange(int(source) * 4) // 4
        alpha = (row[:, None] + row + 1) % 2
        return [diffbmp.Texture(f"checker-{source}", alpha[None].float())]


class Darkness(diffbmp.Loss):
    """Mean brightness of the picture: the darker, the better."""

    name = "darkness"
    needs_target = False

    def __call__(self, view):
        return view.image.mean()


@diffbmp.hookimpl
def register_loaders(register):
    register(Checker)


@diffbmp.hookimpl
def register_losses(register):
    register(Darkness)
