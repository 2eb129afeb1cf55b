"""`check_layer`: what every layer of the library keeps to."""

import json

import keras
import numpy as np

from tests.support.gradients import check_gradients_reach, random_sum
from tests.support.tensors import to_numpy


def check_layer(make, inputs, output_shape, *, lengths=(1, 4, 7), bfloat16_tolerance=0.05):
    """Shapes, dtypes, configuration, gradients, low precision and symbolic calls of a layer.

    Args:
        make: `make(dtype=None)`, a new layer.
        inputs: `inputs(batch, length)`, the layer's call arguments, arrays by name.
        output_shape: `output_shape(batch, length)`, the shape of its output.
        lengths: tokens; the layer is called with each.
        bfloat16_tolerance: The largest difference between bfloat16 and float32, relative to the largest output.
    """
    layer = make()
    for length in lengths:
        output = layer(**inputs(3, length))
        assert tuple(output.shape) == output_shape(3, length)
        assert keras.backend.standardize_dtype(output.dtype) == "float32"
    _is_restored_from_its_configuration(layer, inputs)
    if layer.trainable_variables:
        check_gradients_reach(lambda: random_sum(layer(**inputs(3, 5))), layer.trainable_variables)
    _computes_in_bfloat16(layer, make, inputs, bfloat16_tolerance)
    _tells_the_shape_of_symbolic_inputs(make(), inputs, output_shape)


def _is_restored_from_its_configuration(layer, inputs):
    text = json.dumps(keras.saving.serialize_keras_object(layer))
    twin = keras.saving.deserialize_keras_object(json.loads(text))
    assert type(twin) is type(layer)
    assert json.dumps(keras.saving.serialize_keras_object(twin)) == text
    arguments = inputs(2, 5)
    twin(**arguments)
    # Paths may differ: Keras builds a restored part before the layer that holds it.
    assert [(v.name, v.shape) for v in twin.weights] == [(v.name, v.shape) for v in layer.weights]
    twin.set_weights(layer.get_weights())
    np.testing.assert_array_equal(to_numpy(twin(**arguments)), to_numpy(layer(**arguments)))


def _computes_in_bfloat16(layer, make, inputs, tolerance):
    low = make(dtype="mixed_bfloat16")
    arguments = inputs(2, 5)
    low(**arguments)
    assert all(keras.backend.standardize_dtype(variable.dtype) == "float32" for variable in low.trainable_variables)
    low.set_weights(layer.get_weights())
    output = low(**arguments)
    assert keras.backend.standardize_dtype(output.dtype) == "bfloat16"
    expected = to_numpy(layer(**arguments))
    difference = np.abs(to_numpy(output) - expected).max()
    assert difference <= tolerance * np.abs(expected).max(), f"bfloat16 differs by {difference}"
    if low.trainable_variables:
        check_gradients_reach(lambda: random_sum(low(**arguments)), low.trainable_variables)


def _tells_the_shape_of_symbolic_inputs(layer, inputs, output_shape):
    small, large = inputs(2, 5), inputs(3, 6)

    def symbolic(name):
        shape = [size if size == other else None for size, other in zip(small[name].shape, large[name].shape)]
        return keras.Input(batch_shape=shape, dtype=str(small[name].dtype))

    output = layer(**{name: symbolic(name) for name in small})
    expected = [size if size == other else None for size, other in zip(output_shape(2, 5), output_shape(3, 6))]
    assert list(output.shape) == expected
    assert output.dtype == "float32"
    # What was built on symbolic inputs works on real ones.
    assert tuple(layer(**small).shape) == output_shape(2, 5)
