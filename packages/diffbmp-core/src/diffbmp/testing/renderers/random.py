"""Gradients that are random estimates: a function of the seed, and right on average where the renderer is exact."""

from __future__ import annotations

import dataclasses

import torch

from diffbmp.rendering.reference import Reference
from diffbmp.rendering.renderer import CompositeInputs
from diffbmp.testing.comparison import SPRITE_INPUTS, assert_same_bits, texel_border
from diffbmp.testing.inputs import moved
from diffbmp.testing.kinks import in_double, kink_mask
from diffbmp.testing.renderers.suite import RendererSuite, where
from diffbmp.testing.tolerances import MEAN_ERRORS, MEAN_NOISE, TOTAL_GRADIENT

__all__ = ["RandomGradients"]


class RandomGradients(RendererSuite):
    """Tests of a stochastic renderer."""

    @where(lambda suite: suite.claims().stochastic)
    def test_pictures_do_not_follow_the_seed(self) -> None:
        """Nor need one."""
        inputs = self.random(62)
        image = self.draw(inputs)
        for seed in (None, torch.tensor(2)):
            assert torch.equal(self.draw(dataclasses.replace(inputs, seed=seed)), image)

    @where(lambda suite: suite.claims().stochastic)
    def test_gradients_follow_the_seed(self) -> None:
        """The same seed gives the same bits, another one other gradients, whatever PyTorch's own generators do."""
        inputs = self.random(62)
        grad_image = self.gradient_like(inputs)

        def gradients(seed: int) -> dict[str, torch.Tensor]:
            torch.manual_seed(int(torch.randint(2**31, ())))
            given = dataclasses.replace(inputs, seed=torch.tensor(seed))
            found = self.draw_and_differentiate(given, grad_image)[1]
            if self.same_bits:
                assert_same_bits(self.draw_and_differentiate(given, grad_image)[1], found, f"with the seed {seed}")
            return {name: getattr(found, name) for name in SPRITE_INPUTS}

        first = gradients(7)
        for seed in (8, 2**40, -1):
            other = gradients(seed)
            changed = [name for name in SPRITE_INPUTS if not torch.equal(first[name], other[name])]
            assert changed, f"the seeds 7 and {seed} give the same gradients"

    @where(lambda suite: suite.claims().stochastic and suite.claims().exact)
    def test_the_mean_gradient_is_that_of_reference(self, blend: str, filter: str) -> None:
        """Within MEAN_ERRORS standard errors over ``seeds`` seeds, which are few enough errors to tell by."""
        inputs = self.random(63, count=6, size=(12, 14), radius=(3, 6), blend=blend, filter=filter)
        grad_image = self._weights(inputs)
        double = in_double(moved(inputs, "cpu"))
        _, state = Reference().forward(double)
        truth = Reference().backward(double, state, grad_image.cpu().double(), texel_gradient=True)
        names = (*SPRITE_INPUTS, *(("texels",) if self.claims().texel_gradients else ()))
        total = {name: torch.zeros_like(getattr(truth, name)) for name in names}
        squares = {name: torch.zeros_like(getattr(truth, name)) for name in names}
        for seed in range(self.seeds):
            given = dataclasses.replace(inputs, seed=torch.tensor(seed))
            found = self.draw_and_differentiate(given, grad_image)[1]
            for name in names:
                value = getattr(found, name).cpu().double()
                total[name] += value
                squares[name] += value**2
        for name in names:
            expected, mean = getattr(truth, name), total[name] / self.seeds
            variance = (squares[name] / self.seeds - mean**2).clamp(min=0) / (self.seeds - 1)
            if name == "texels":  # the border means nothing
                border = texel_border(double)
                expected, mean, variance = (v.masked_fill(border, 0.0) for v in (expected, mean, variance))
            whole, noise = float(expected.norm()), float(variance.sum().sqrt())
            assert noise <= MEAN_NOISE * whole, (
                f"the mean gradient of {name} is too noisy to tell, {noise:.3g} of {whole:.3g}; raise `seeds`"
            )
            error = float((mean - expected).norm())
            assert error <= MEAN_ERRORS * noise + TOTAL_GRADIENT * whole, (
                f"the mean gradient of {name} is off by {error:.3g} of {whole:.3g}, {error / noise:.1f} standard errors"
            )

    def _weights(self, inputs: CompositeInputs) -> torch.Tensor:
        """Return a random gradient of the image that is zero at kinks."""
        kinks = kink_mask(moved(inputs, "cpu")).to(inputs.frame.device)
        return self.gradient_like(inputs).masked_fill(kinks[:, None], 0.0)
