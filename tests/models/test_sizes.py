"""What sizes of images the models take, and of what size their feature maps are."""

import jax
import pytest

from cnn_jax.config import ModelConfig
from cnn_jax.errors import ConfigError
from cnn_jax.models.building import build
from tests.models.keras_reference import application


@pytest.mark.sample(1)
@pytest.mark.parametrize(("size", "last"), [(224, 7), (150, 4), (33, 1)])
def test_the_final_map_has_keras_size(size, last):
    config = ModelConfig("mobilenet", alpha=0.25, image_size=size)
    model = build(config, 2)
    images = jax.ShapeDtypeStruct((1, size, size, 3), "uint8")
    body = model.part(0, [layer.name for layer in model.layers].index("global_pool"))
    shape = jax.eval_shape(body.outputs, model.shapes, images).shape
    assert shape == (1, last, last, 256) == (1, *application(config, top=False).output_shape[1:])


@pytest.mark.parametrize("size", [1, 8, 16])
def test_images_that_vanish_in_the_network_are_an_error(size):
    with pytest.raises(ConfigError, match=f"model.image_size={size} is too small"):
        build(ModelConfig(image_size=size, alpha=0.25), classes=2)


def test_a_vgg_takes_images_from_32_pixels_on():
    build(ModelConfig("vgg16", image_size=32), classes=2)
    with pytest.raises(ConfigError, match=r"image_size=31 is too small for vgg16.*block5_pool"):
        build(ModelConfig("vgg16", image_size=31), classes=2)


@pytest.mark.parametrize("name", ["mobilenet", "simple_cnn"])
def test_fully_connected_layers_are_vggs_alone(name):
    with pytest.raises(
        ConfigError, match=f"model.top='fc' is not possible: it must be pool or flatten for model.name={name}"
    ):
        ModelConfig(name, top="fc")
