"""The networks that are served."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from cnn_jax.evaluation.classifier import Classifier
from cnn_jax.evaluation.network import LayeredNetwork
from cnn_jax.explaining import feature_maps, saliency
from cnn_jax.runtime.compiling import beside
from cnn_jax.serving.decoder import Recipe

LEAST_SIDE = 176
"""Pixels of the picture that shows where a network looked, at least."""


@dataclass(frozen=True)
class Network:
    """A classifier and its name."""

    name: str
    classifier: Classifier

    @property
    def explains(self) -> bool:
        """Whether it has layers to look into; exported files have none."""
        return isinstance(self.classifier.network, LayeredNetwork)

    @property
    def recipe(self) -> Recipe:
        """How pictures are prepared for it."""
        return Recipe(self.classifier.background, self.classifier.resize)

    def warm_up(self, sizes: Sequence[int]) -> None:
        """Compile what serving takes: batches of these sizes, and Grad-CAM."""
        pixels = np.zeros(self.recipe.shape, np.uint8)
        batches = [np.repeat(pixels[None], size, axis=0) for size in sizes]
        if not self.explains:
            for batch in batches:
                self.classifier.batch(batch)
            return
        programs = [beside(self.classifier.batch, batch) for batch in batches]
        for program in [beside(self.overlay, pixels, 0), *programs]:
            program.result()

    def overlay(self, pixels: UInt8[np.ndarray, "h w 3"], index: int) -> UInt8[np.ndarray, "_ _ 3"]:
        """Grad-CAM for the class of that index over the picture, as the network sees it."""
        model, variables = self.classifier.model, self.classifier.variables
        (found,) = saliency.grad_cam(model, variables, pixels[None], np.asarray([index]))
        return saliency.overlay(feature_maps.enlarged(pixels, max(*pixels.shape[:2], LEAST_SIDE)), found)

    def describe(self) -> dict[str, object]:
        """For the page, and for programs."""
        return {
            "name": self.name,
            "classes": list(self.classifier.classes),
            "image_size": self.recipe.resize.size,
            "explains": self.explains,
        }
