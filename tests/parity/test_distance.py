"""Biases of distances beside transformers: T5's buckets and attention, Bloom's slopes."""

import keras
import numpy as np
import pytest
import torch
import transformers
from keras import ops
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.t5.modeling_t5 import T5Attention

from tests.support import check_parity, to_numpy
from tests.support.gradients import gradients_of
from tests.support.oracles import softmax
from tfmodels.layers import BucketedBias, LinearBias, MultiHeadAttention
from tfmodels.ops import padding

pytestmark = pytest.mark.parity


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("num_buckets, max_distance", [(32, 128), (32, 512), (16, 20), (7, 100), (64, 1000)])
def test_buckets_equal_transformers(num_buckets, max_distance, is_causal):
    distances = np.arange(-1500, 1501, dtype="int32")
    ours = BucketedBias(2, num_buckets, max_distance, is_causal).buckets(ops.convert_to_tensor(distances))
    # transformers counts from the query to the key.
    theirs = T5Attention._relative_position_bucket(
        torch.tensor(-distances).long(), not is_causal, num_buckets, max_distance
    )
    np.testing.assert_array_equal(to_numpy(ours), theirs.numpy())


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("heads, size", [(3, 21), (1, 10), (4, 20)])
def test_attention_equals_transformers(heads, size, is_causal):
    """Outputs and the gradient of every weight; T5's queries are not scaled, ours are larger by what scales them."""
    config = transformers.T5Config(
        d_model=size,
        d_kv=size // heads,
        num_heads=heads,
        dropout_rate=0.0,
        relative_attention_num_buckets=10,
        relative_attention_max_distance=9,
        is_decoder=is_causal,
    )
    torch.manual_seed(0)
    reference = T5Attention(config, has_relative_attention_bias=True).eval()
    layer = MultiHeadAttention(
        heads, size, positions=BucketedBias(heads, 10, 9, is_causal, name="positions"), is_causal=is_causal
    )
    x = np.random.default_rng(0).normal(size=(3, 13, size)).astype("float32")
    is_real = np.arange(13)[None] < np.array([13, 5, 8])[:, None]
    is_real[0, 6] = False
    layer(x)
    scale = np.sqrt(size // heads)
    names = {"q": layer.query, "k": layer.key, "v": layer.value, "o": layer.output_projection}
    variables = {f"{name}.weight": projection.kernel for name, projection in names.items()}
    variables["relative_attention_bias.weight"] = layer.positions.biases
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            parameter.normal_(0.0, 0.4)
            array = parameter.numpy() if name.startswith("relative") else parameter.numpy().T
            variables[name].assign(array * (scale if name == "q.weight" else 1.0))
    assert set(variables) == {name for name, _ in reference.named_parameters()}

    mask = np.broadcast_to(is_real[:, None, None], (3, 1, 13, 13))
    mask = mask & np.tri(13, dtype=bool) if is_causal else mask
    elements = torch.tensor(x, requires_grad=True)
    expected = reference(elements, mask=torch.tensor(np.where(mask, 0.0, -1e9).astype("float32")))[0]
    upstream = np.random.default_rng(1).normal(size=x.shape).astype("float32") * is_real[..., None]
    (expected * torch.tensor(upstream)).sum().backward()

    ours = keras.Variable(x)

    def run():
        return layer(ops.convert_to_tensor(ours), attention_mask=padding(is_real))

    name = f"T5Attention, {heads} heads{', causal' if is_causal else ''}"
    real = {"": to_numpy(run())[is_real]}, {"": expected.detach().numpy()[is_real]}
    check_parity(f"{name}: output", *real)
    _, gradients = gradients_of(lambda: ops.sum(run() * upstream), [ours, *variables.values()])
    gradients = dict(zip(("input", *variables), gradients))
    theirs = {"input": elements.grad.numpy()}
    for key, parameter in reference.named_parameters():
        theirs[key] = parameter.grad.numpy() if key.startswith("relative") else parameter.grad.numpy().T
    gradients["q.weight"] = gradients["q.weight"] * scale
    check_parity(f"{name}: gradients", gradients, theirs)


@pytest.mark.parametrize("heads", [1, 4, 6, 12, 16, 25])
def test_weights_of_biased_attention_equal_blooms(heads):
    """Bloom adds a bias of the key's place alone, which the softmax cannot tell from one of distances."""
    length = 11
    logits = np.random.default_rng(0).normal(size=(heads, length, length)).astype("float32")
    theirs = build_alibi_tensor(torch.ones(1, length, dtype=torch.long), heads, torch.float32).numpy()
    ours = to_numpy(LinearBias(heads).bias(length, length))[0]
    past = np.tri(length, dtype=bool)
    weights = [softmax(np.where(past, logits + bias, -np.inf)) for bias in (ours, theirs)]
    check_parity(f"Bloom's biases, {heads} heads", {"": weights[0]}, {"": weights[1]})
