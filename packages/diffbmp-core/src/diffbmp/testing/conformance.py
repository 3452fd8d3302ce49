"""The suite that every renderer must pass, core's own and a stranger's alike."""

from __future__ import annotations

from diffbmp.testing.renderers.calls import Calls
from diffbmp.testing.renderers.layers import Layers
from diffbmp.testing.renderers.pictures import Pictures
from diffbmp.testing.renderers.random import RandomGradients

__all__ = ["RendererConformance"]


class RendererConformance(Pictures, Calls, Layers, RandomGradients):
    """Subclass it in a test module, and pytest runs on your renderer what it claims::

        from diffbmp.testing import RendererConformance

        class TestMine(RendererConformance):
            renderer = "mine"  # or an object, such as Mine()
            device = "cuda"

    A renderer is asked for its ``dtypes``, ``blends`` and ``filters``, for gradients of texels and for layers only as
    far as its class variables claim them; what it does not claim is not tested, and not skipped either.

    One that is ``exact`` must lie within 1e-5 (values) and 1e-4 (gradients, relative) of ``reference`` in float64, and
    a million times closer where it draws float64, on scenes with rotation, shear, stretch, minification, overlap beyond
    1000 deep, alpha exactly 1, sprites off the canvas and frames without area; ``diffbmp.testing.tolerances`` has every
    number. Gradients are not compared at the pixels that ``kink_mask`` finds. It may stop drawing a pixel once its
    transmittance T is small, in value and gradient alike. What is left out changes a pixel by up to T, so that only a
    threshold of about 5e-6 or less passes here. One that is not exact must give premultiplied pictures, finite
    gradients, and zero gradients where nothing is drawn.

    The same inputs must give the same bits, for any number of threads, and a canvas the same bits alone and in a batch;
    where a setting of yours gives that up, set ``same_bits = False``. A ``stochastic`` renderer must do so for the same
    seed, and must give other gradients for another one and the same picture for all. If it is exact too, the mean of
    its gradients over ``seeds`` seeds must be that of ``reference`` within four standard errors.

    The suite skips where the renderer says that it cannot run on ``device``.
    """
