"""Weights and gradients of a reference in torch beside ours, also where one tensor there is several variables here."""

import numpy as np

from tests.support import check_parity
from tests.support.gradients import gradients_of
from tfmodels.interop.views import View


def randomise(model, seed=1, deviation=0.2):
    """Ours with random weights."""
    random = np.random.default_rng(seed)
    for variable in model.trainable_variables:
        variable.assign(random.normal(1.0 if variable.name == "gamma" else 0.0, deviation, variable.shape))
    return model


def compare_gradients(name, entries, loss, reference, reference_loss):
    """The gradient of a loss with respect to every weight of the reference, tensor by tensor.

    A weight that the loss does not depend on has no gradient on either side, or zeros.

    Args:
        name: For the report.
        entries: Where our variables lie in the reference's checkpoint.
        loss: Takes nothing and returns our loss.
        reference: The reference.
        reference_loss: Its loss.
    """
    entries = [entry for entry in entries if not entry.optional]
    parts = [_variables(entry) for entry in entries]
    variables = list({id(v): v for group in parts for v in group}.values())
    _, gradients = gradients_of(loss, variables)
    by_variable = {
        id(v): np.zeros(v.shape, "float32") if gradient is None else gradient
        for v, gradient in zip(variables, gradients)
    }
    ours = {}
    for entry, group in zip(entries, parts):
        arrays = [by_variable[id(v)] for v in group] or [np.zeros(entry.variable.shape, "float32")]
        gradient = entry.variable.of(arrays) if isinstance(entry.variable, View) else arrays[0]
        ours[entry.name] = gradient.T if entry.transpose else gradient
    reference.zero_grad()
    reference_loss.backward()
    theirs = {
        key: np.zeros(tuple(p.shape), "float32") if p.grad is None else p.grad.numpy()
        for key, p in reference.named_parameters()
    }
    assert sum(bool(gradient.any()) for gradient in theirs.values()) > len(theirs) / 2
    check_parity(f"{name}: gradient of every weight", ours, theirs)


def _variables(entry):
    """The variables that an entry's tensor is made of; none where the reference never uses it."""
    if isinstance(entry.variable, np.ndarray):
        return ()
    return entry.variable.variables if isinstance(entry.variable, View) else (entry.variable,)


def factors(shape, real=None, seed=0):
    """A random number for every number of an output, zero at padding: a loss that no normalisation makes constant."""
    drawn = np.random.default_rng(seed).normal(size=tuple(shape)).astype("float32")
    return drawn if real is None else drawn * real.reshape(*real.shape, *[1] * (len(shape) - 2))
