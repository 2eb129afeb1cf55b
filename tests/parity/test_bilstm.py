"""The BiLSTM beside torch's, which packs rows of different lengths: outputs and the gradient of every weight."""

import numpy as np
import pytest
import torch
from keras import ops

from tests.models.tiny import tiny
from tests.parity.weights import factors, randomise
from tests.support import check_parity, to_numpy, token_batch
from tests.support.gradients import gradients_of

pytestmark = pytest.mark.parity

LENGTHS = [6, 1, 9, 4]


class Reference(torch.nn.Module):
    """An embedding and torch's LSTM in both directions."""

    def __init__(self, config):
        super().__init__()
        self.embeddings = torch.nn.Embedding(config.vocabulary_size, config.embedding_dim)
        self.lstm = torch.nn.LSTM(
            config.embedding_dim, config.hidden_dim // 2, config.num_layers, batch_first=True, bidirectional=True
        )

    def forward(self, token_ids, lengths):
        packed = torch.nn.utils.rnn.pack_padded_sequence(
            self.embeddings(token_ids), lengths, batch_first=True, enforce_sorted=False
        )
        states, (last, _) = self.lstm(packed)
        padded, _ = torch.nn.utils.rnn.pad_packed_sequence(states, batch_first=True)
        return padded, torch.cat([last[-2], last[-1]], dim=-1)


def order(config):
    """Torch's names of our weights, in our order; its input and state biases are one of ours."""
    for layer in range(config.num_layers):
        for direction in ("", "_reverse"):
            for kind in ("weight_ih", "weight_hh", "bias_ih"):
                yield f"lstm.{kind}_l{layer}{direction}"


@pytest.mark.parametrize("sizes", [{"num_layers": 1}, {"num_layers": 2, "hidden_dim": 6}], ids=["one", "two"])
def test_outputs_and_gradients_are_those_of_torch(sizes):
    backbone = randomise(tiny("bilstm", **sizes))
    reference = Reference(backbone.config)
    names = ["embeddings.weight", *order(backbone.config)]
    parameters = dict(reference.named_parameters())
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.zero_()
        for name, variable in zip(names, backbone.trainable_variables, strict=True):
            value = torch.from_numpy(np.array(variable))
            parameters[name].copy_(value if name == "embeddings.weight" or value.ndim == 1 else value.T)
    batch = token_batch(LENGTHS)
    states, last = reference(torch.from_numpy(batch["token_ids"]).long(), torch.tensor(LENGTHS))
    real = batch["padding_mask"]
    outputs = to_numpy(backbone(batch))
    check_parity(
        f"bilstm, {sizes}: outputs",
        {"states": outputs["sequence_output"][real], "last": outputs["pooled_output"]},
        {"states": states.detach().numpy()[real], "last": last.detach().numpy()},
    )

    by_state, by_last = factors(states.shape, real), factors(last.shape, seed=1)
    (states * torch.from_numpy(by_state)).sum().add((last * torch.from_numpy(by_last)).sum()).backward()

    def loss():
        found = backbone(batch)
        return ops.sum(found["sequence_output"] * by_state) + ops.sum(found["pooled_output"] * by_last)

    _, gradients = gradients_of(loss, backbone.trainable_variables)
    theirs = {name: parameters[name].grad.numpy() for name in names}
    ours = {
        name: gradient if name == "embeddings.weight" or gradient.ndim == 1 else gradient.T
        for name, gradient in zip(names, gradients)
    }
    check_parity(f"bilstm, {sizes}: gradient of every weight", ours, theirs)
