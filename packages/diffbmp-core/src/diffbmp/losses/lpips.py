"""A perceptual loss by a trained network: LPIPS, over VGG, AlexNet or SqueezeNet."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from diffbmp.errors import DiffbmpError
from diffbmp.losses.inputs import LossInputs
from diffbmp.losses.pixelwise import Comparing
from diffbmp.losses.setup import LossSetup
from diffbmp.paths import require_file
from diffbmp.settings import Settings as SettingsModel

__all__ = ["LearnedPerceptualSimilarity"]

SMALLEST = 32
"""Shortest side in pixels that all the networks' layers have room for."""


class _Network(NamedTuple):
    builder: str
    """Name of torchvision's function; its published weights are the enumeration of that name."""
    weights: str
    megabytes: int


NETWORKS = {
    "vgg": _Network("vgg16", "VGG16_Weights", 528),
    "alex": _Network("alexnet", "AlexNet_Weights", 233),
    "squeeze": _Network("squeezenet1_1", "SqueezeNet1_1_Weights", 5),
}


class LearnedPerceptualSimilarity(Comparing):
    """Distance of a trained network's features, weighted by what people find alike (LPIPS; Zhang et al. 2018).

    Needs ``pip install lpips`` and the network's weights, which are downloaded from PyTorch's servers at the first
    use, or given as a file. Where neither can be had, ``nlpd`` and ``ms-ssim`` need no weights.
    """

    name = "lpips"

    class Settings(SettingsModel):
        """Settings of LPIPS."""

        network: Literal["vgg", "alex", "squeeze"] = "vgg"
        """Network whose features are compared: vgg gives the best gradients, squeeze takes the least time."""
        weights: str = Field("", max_length=4096)
        """File of the network's weights as torchvision publishes them (vgg16-397923af.pth); left out, PyTorch's cache
        is looked in, and they are downloaded where it has none."""

    settings: Settings

    def __init__(self, settings: Any = None) -> None:
        super().__init__(settings)
        self._model: Any = None
        self._goal: tuple[Tensor, list[Tensor]] | None = None

    def __call__(self, inputs: LossInputs) -> Tensor:
        """Return the loss, at least 0; 0 where both are equal."""
        image, target = self.pictures(inputs)
        if self._model is None:
            self._model = _load(self.settings.network, self.settings.weights)
        model = self._model.to(image.device, image.dtype)
        if self._goal is None or self._goal[0] is not target:
            with torch.no_grad():
                self._goal = (target, _features(model, target))
        terms = [
            layer((ours - theirs).square()).mean()
            for layer, ours, theirs in zip(model.lins, _features(model, image), self._goal[1], strict=True)
        ]
        return torch.stack(terms).sum()

    def prepare(self, setup: LossSetup) -> None:
        """Refuse a canvas that is too small, and load the network, so that what is missing is said before any work."""
        height, width = setup.size
        if min(height, width) < SMALLEST:
            raise DiffbmpError(
                f"The loss '{self.name}' needs a canvas of at least {SMALLEST} x {SMALLEST} pixels, and this one is "
                f"{width} x {height}; use a larger canvas, or the loss nlpd."
            )
        self._goal = None
        if self._model is None:
            self._model = _load(self.settings.network, self.settings.weights)
        self._model = self._model.to(setup.device, setup.dtype)


def _features(model: Any, picture: Tensor) -> list[Tensor]:
    """Return the normalised features of each layer, ``(1, C, h, w)``, of RGB ``(3, H, W)`` in [0, 1]."""
    layers = model.net(model.scaling_layer(picture[None] * 2 - 1))
    # The library divides by a norm whose gradient is NaN where no feature of a layer responds.
    return [layer * torch.rsqrt(layer.square().sum(dim=1, keepdim=True) + 1e-20) for layer in layers]


def _load(network: str, weights: str) -> Any:
    """Return LPIPS over ``network`` with its trained weights, frozen.

    Raises:
        DiffbmpError: where the library or the weights cannot be had, or the file holds something else.
    """
    library = _library()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lpips calls torchvision by its older names
        model = library.LPIPS(net=network, pnet_rand=True, verbose=False)
    state = _weights(network, weights)
    # lpips keeps torchvision's layers under their numbers, cut into slices: slice2.5.bias is features.5.bias.
    values = {name: state.get(f"features.{name.partition('.')[2]}") for name in model.net.state_dict()}
    unfit = [
        name for name, held in model.net.state_dict().items() if getattr(values[name], "shape", None) != held.shape
    ]
    if unfit:
        raise DiffbmpError(
            f"The weights '{weights or 'in the cache of PyTorch'}' are not those of {NETWORKS[network].builder}; "
            f"give the file that torchvision publishes with losses.lpips.weights, or choose another network."
        )
    model.net.load_state_dict(values)
    return model.requires_grad_(False).eval()


def _library() -> Any:
    """Return the module ``lpips``."""
    for name in ("lpips", "torchvision"):
        if importlib.util.find_spec(name) is None:
            raise DiffbmpError(
                f"The loss 'lpips' needs the package {name}: pip install lpips; the losses nlpd and ms-ssim "
                "need neither it nor weights."
            )
    _declare_torchvision_operators()
    import lpips

    return lpips


def _declare_torchvision_operators() -> None:
    """Let torchvision's Python part be imported where its compiled part does not belong to this PyTorch.

    At its import torchvision describes operators of its compiled part, and fails where they do not exist, as with its
    build for CUDA beside a PyTorch for CPUs. The networks need none of them, so their declaration is enough.
    """
    import torch.library

    try:
        import torchvision  # noqa: F401
    except RuntimeError:
        schema = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for operator in ("torchvision::nms", "torchvision::qnms"):
            if not hasattr(torch.ops.torchvision, operator.rpartition(":")[2]):
                torch.library.define(operator, schema)


def _weights(network: str, path: str) -> dict[str, Tensor]:
    """Return torchvision's weights of ``network`` from a file, PyTorch's cache or the network."""
    if path:
        file: Path = require_file(path, "weights")
        try:
            state: object = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whatever a file that is none makes of the unpickler
            raise DiffbmpError(f"The weights '{path}' cannot be read as a file of PyTorch weights: {error}.") from error
        if not isinstance(state, dict):
            raise DiffbmpError(f"The weights '{path}' hold no table of tensors by name.")
        return state
    import torchvision.models

    url = getattr(torchvision.models, NETWORKS[network].weights).IMAGENET1K_V1.url
    try:
        loaded: dict[str, Tensor] = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", progress=False, check_hash=True, weights_only=True
        )
    except (OSError, RuntimeError) as error:
        raise DiffbmpError(
            f"The loss 'lpips' needs the weights of {NETWORKS[network].builder} ({NETWORKS[network].megabytes} MB), "
            f"which cannot be had here ({error}); download {url} elsewhere and name the file with "
            "losses.lpips.weights, or use the losses nlpd or ms-ssim, which need none."
        ) from error
    return loaded
