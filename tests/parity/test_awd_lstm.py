"""AWD-LSTM's layers against torch's LSTM: outputs, the last state, and the gradient of every weight."""

import keras
import numpy as np
import pytest
import torch

from tests.support import gradients_of, to_numpy
from tests.support.tensors import assert_close
from tfmodels.layers import WeightDropLSTM

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("dropped", [False, True], ids=["plain", "weights dropped"])
@pytest.mark.parametrize("sizes", [(6, 5), (3, 8)])
def test_the_lstm_is_torchs(sizes, dropped):
    size, units = sizes
    random = np.random.default_rng(0)
    ours, theirs = WeightDropLSTM(units, 0.5), torch.nn.LSTM(size, units, batch_first=True)
    ours.build((None, None, size))
    kernel, recurrent, bias = (random.normal(size=weight.shape).astype("float32") for weight in ours.get_weights())
    ours.set_weights([kernel, recurrent, bias])
    # The mask of DropConnect, which the authors' code multiplies into weight_hh_l0 before every batch.
    mask = (random.integers(0, 2, recurrent.shape) * 2.0 if dropped else np.ones(recurrent.shape)).astype("float32")
    ours.drop = lambda weights, training: weights * mask
    with torch.no_grad():
        for name, value in {
            "weight_ih_l0": kernel.T,
            "weight_hh_l0": (recurrent * mask).T,
            "bias_ih_l0": bias,
            "bias_hh_l0": 0 * bias,
        }.items():
            getattr(theirs, name).copy_(torch.tensor(value))
    x, state = random.normal(size=(3, 7, size)).astype("float32"), random.normal(size=(3, 2 * units)).astype("float32")
    factors = random.normal(size=(3, 7, units)).astype("float32")
    h, c = (torch.tensor(part)[None] for part in np.split(state, 2, axis=1))
    expected, (last_h, last_c) = theirs(torch.tensor(x), (h.contiguous(), c.contiguous()))
    found = to_numpy(ours(x, state=state, training=True))
    assert_close(found[..., :units], expected.detach().numpy(), 1e-5)
    assert_close(found[:, -1], np.concatenate([last_h[0].detach(), last_c[0].detach()], axis=1), 1e-5)
    (expected * torch.tensor(factors)).sum().backward()

    def loss():
        return keras.ops.sum(ours(x, state=state, training=True)[..., :units] * factors)

    _, gradients = gradients_of(loss, ours.trainable_variables)
    wanted = (
        theirs.weight_ih_l0.grad.numpy().T,
        theirs.weight_hh_l0.grad.numpy().T * mask,
        theirs.bias_ih_l0.grad.numpy(),
    )
    for gradient, other in zip(gradients, wanted, strict=True):
        assert_close(gradient, other, 1e-5)
