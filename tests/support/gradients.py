"""Gradients on whichever backend runs: the one place of the shared checks that knows backends."""

import keras
import numpy as np
from keras import ops

from tests.support.tensors import to_numpy

# A constant added to every key adds the same number to all logits of a query, which the softmax takes out again: the
# gradient of a key's bias is zero, up to rounding.
_ZERO_BY_NATURE = ("key/bias",)


def gradients_of(function, variables):
    """The value of a scalar function and its gradient with respect to Keras variables.

    Args:
        function: Takes nothing and returns a scalar tensor that depends on the variables.
        variables: Keras variables.

    Returns:
        A pair of a float and a list of arrays, with None where TensorFlow finds no connection (JAX has zeros there).
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = function()
        gradients = tape.gradient(value, [variable.value for variable in variables])
        # A gradient of an embedding table may come as its rows.
        gradients = [None if gradient is None else tf.convert_to_tensor(gradient) for gradient in gradients]
    elif backend == "jax":
        import jax

        def of_values(values):
            with keras.StatelessScope(state_mapping=list(zip(variables, values))):
                return function()

        value, gradients = jax.value_and_grad(of_values)([variable.value for variable in variables])
    else:
        raise NotImplementedError(f"no gradients on the backend {backend!r} yet")
    return float(value), [None if gradient is None else to_numpy(gradient) for gradient in gradients]


def gradients_with_respect_to(function, *arrays):
    """The gradients of `function(*tensors)`, a scalar, with respect to its arguments."""
    variables = [keras.Variable(array, dtype="float32") for array in arrays]
    return gradients_of(lambda: function(*(ops.convert_to_tensor(variable) for variable in variables)), variables)[1]


def random_sum(outputs, seed=0):
    """The sum of all outputs, each component times a number drawn once: a loss that no normalisation makes constant."""
    random = np.random.default_rng(seed)
    total = 0.0
    for tensor in keras.tree.flatten(outputs):
        factors = random.normal(size=tuple(tensor.shape)).astype("float32")
        total = total + ops.sum(ops.cast(tensor, "float32") * factors)
    return total


def check_gradients_reach(function, variables, unused=()):
    """Every variable gets a finite gradient that is not zero everywhere.

    Args:
        function: Takes nothing and returns a scalar tensor.
        variables: Keras variables.
        unused: Parts of paths of variables that the function must not depend on.
    """
    assert variables, "there are no weights to check"
    for variable, gradient in zip(variables, gradients_of(function, variables)[1]):
        if any(part in variable.path for part in unused):
            assert gradient is None or not gradient.any(), f"{variable.path} gets a gradient, but must not"
            continue
        assert gradient is not None, f"{variable.path} gets no gradient"
        assert np.isfinite(gradient).all(), f"the gradient of {variable.path} is not finite"
        if not variable.path.endswith(_ZERO_BY_NATURE):
            assert gradient.any(), f"the gradient of {variable.path} is zero everywhere"


def finite_differences(function, array, step=1e-5):
    """The gradient of a float64 NumPy function of one array, by central differences."""
    array = np.array(array, "float64")
    gradient = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        kept = array[index]
        array[index] = kept + step
        above = function(array)
        array[index] = kept - step
        below = function(array)
        array[index] = kept
        gradient[index] = (above - below) / (2 * step)
    return gradient


def largest_tensor(function, *inputs):
    """The number of elements of the largest tensor that a function and its gradients compute."""
    if keras.backend.backend() == "jax":
        import jax

        gradients = jax.grad(lambda *tensors: function(*tensors).sum(), argnums=range(len(inputs)))
        return max(v.aval.size for eqn in _equations(jax.make_jaxpr(gradients)(*inputs).jaxpr) for v in eqn.outvars)
    import tensorflow as tf

    @tf.function
    def traced(*tensors):
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            output = tf.reduce_sum(function(*tensors))
        return tape.gradient(output, tensors)

    graph = traced.get_concrete_function(*map(tf.constant, inputs)).graph
    return max(t.shape.num_elements() or 0 for op in graph.get_operations() for t in op.outputs if t.shape.rank)


def _equations(jaxpr):
    """The equations of a jaxpr and of those that stand in their parameters, such as an inner function's."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)  # a closed one holds it
                if hasattr(inner, "eqns"):
                    yield from _equations(inner)
