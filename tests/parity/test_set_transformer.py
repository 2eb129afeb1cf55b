"""Set Transformer beside torch_geometric: pooled sets of unequal size, induced points, the gradient of every weight."""

import keras
import numpy as np
import pytest
import torch
from keras import ops
from torch_geometric.nn.aggr import SetTransformerAggregation
from torch_geometric.nn.aggr.utils import InducedSetAttentionBlock

from tests.support import check_parity, to_numpy
from tests.support.gradients import gradients_of
from tfmodels.layers import InducedAttention, MultiHeadAttention, PoolingByMultiHeadAttention, Projection
from tfmodels.layers import TransformerBlock as Block
from tfmodels.ops import padding

pytestmark = pytest.mark.parity

LENGTHS = (5, 1, 9, 4)
SIZES = {
    "three heads, two encoders": {"channels": 12, "heads": 3, "num_encoder_blocks": 2},
    "one head, three seeds, two decoders": {
        "channels": 7,
        "heads": 1,
        "num_seed_points": 3,
        "num_encoder_blocks": 1,
        "num_decoder_blocks": 2,
    },
    "five heads, four seeds, averaged": {
        "channels": 15,
        "heads": 5,
        "num_seed_points": 4,
        "num_encoder_blocks": 1,
        "num_decoder_blocks": 0,
        "concat": False,
    },
}


def attention(size, heads):
    return MultiHeadAttention(heads, size, name="attention")


def feed_forward(size):
    return Projection(size, "relu", name="feed_forward")


def block(size, heads):
    return Block(attention(size, heads), feed_forward(size), layer_norm_epsilon=1e-5)


def randomised(reference):
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in reference.named_parameters():
            parameter.normal_(1.0 if "layer_norm" in name and name.endswith("weight") else 0.0, 0.4)
    return reference.eval()


def of_linear(ours, theirs):
    """Pairs of a variable of ours and a function that finds it in a dict of the reference's arrays."""
    yield ours.kernel, lambda arrays: arrays[f"{theirs}.weight"].T
    yield ours.bias, lambda arrays: arrays[f"{theirs}.bias"]


def of_attention(ours, theirs):
    for number, name in enumerate(("query", "key", "value")):
        projection = getattr(ours, name)
        yield projection.kernel, lambda arrays, n=number: np.split(arrays[f"{theirs}.in_proj_weight"], 3)[n].T
        yield projection.bias, lambda arrays, n=number: np.split(arrays[f"{theirs}.in_proj_bias"], 3)[n]
    yield from of_linear(ours.output_projection, f"{theirs}.out_proj")


def of_norms(ours, theirs):
    for number, norm in enumerate((ours.attention_norm, ours.feed_forward_norm), start=1):
        yield norm.gamma, lambda arrays, n=number: arrays[f"{theirs}.layer_norm{n}.weight"]
        yield norm.beta, lambda arrays, n=number: arrays[f"{theirs}.layer_norm{n}.bias"]


def of_block(ours, theirs):
    yield from of_attention(ours.attention, f"{theirs}.attn")
    yield from of_linear(ours.feed_forward, f"{theirs}.lin")
    yield from of_norms(ours, theirs)


def compare(name, run, pairs, reference, run_reference, x):
    """Outputs, and the gradients of the set's elements and of every weight of the reference."""
    arrays = {key: parameter.detach().numpy() for key, parameter in reference.named_parameters()}
    assert sum(variable.shape.num_elements() for variable, _ in pairs) == sum(array.size for array in arrays.values())
    for variable, find in pairs:
        variable.assign(find(arrays))
    elements = torch.tensor(x, requires_grad=True)
    expected = run_reference(elements)
    upstream = np.random.default_rng(1).normal(size=tuple(expected.shape)).astype("float32")
    (expected * torch.tensor(upstream)).sum().backward()
    ours = keras.Variable(x)
    check_parity(f"{name}: output", {"": to_numpy(run(ops.convert_to_tensor(ours)))}, {"": expected.detach()})
    variables = [ours, *(variable for variable, _ in pairs)]
    _, gradients = gradients_of(lambda: ops.sum(run(ops.convert_to_tensor(ours)) * upstream), variables)
    found = {key: parameter.grad.numpy() for key, parameter in reference.named_parameters()}
    theirs = [elements.grad.numpy(), *(find(found) for _, find in pairs)]
    check_parity(f"{name}: gradients", dict(enumerate(gradients)), dict(enumerate(theirs)))


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_pooled_sets_of_unequal_size(sizes):
    reference = randomised(SetTransformerAggregation(layer_norm=True, **sizes))
    size, heads = reference.channels, reference.heads
    encoders = [block(size, heads) for _ in reference.encoders]
    decoders = [block(size, heads) for _ in reference.decoders]
    pooling = PoolingByMultiHeadAttention(reference.num_seed_points, block(size, heads), feed_forward(size))
    is_real = np.arange(max(LENGTHS))[None] < np.array(LENGTHS)[:, None]
    x = np.random.default_rng(0).normal(size=(sum(LENGTHS), size)).astype("float32")
    index = np.flatnonzero(is_real)

    def run(elements):
        # The elements of all sets after each other, as the reference takes them.
        padded = ops.scatter(index[:, None], elements, (is_real.size, size))
        sets, mask = ops.reshape(padded, (*is_real.shape, size)), padding(is_real)
        for layer in encoders:
            sets = layer(sets, attention_mask=mask)
        seeds = pooling(sets, attention_mask=mask)
        for layer in decoders:
            seeds = layer(seeds)
        return ops.reshape(seeds, (len(LENGTHS), -1)) if reference.concat else ops.mean(seeds, axis=1)

    run(x)
    pairs = [pair for n, ours in enumerate(encoders) for pair in of_block(ours, f"encoders.{n}.mab")]
    pairs += [pair for n, ours in enumerate(decoders) for pair in of_block(ours, f"decoders.{n}.mab")]
    pairs += [*of_block(pooling.block, "pma.mab"), *of_linear(pooling.feed_forward, "pma.lin")]
    pairs.append((pooling.queries, lambda arrays: arrays["pma.seed"][0]))
    sets = torch.repeat_interleave(torch.arange(len(LENGTHS)), torch.tensor(LENGTHS))
    compare(f"SetTransformerAggregation, {heads} heads", run, pairs, reference, lambda e: reference(e, sets), x)


@pytest.mark.parametrize("size, heads, points", [(12, 3, 5), (7, 1, 2), (15, 5, 11)])
def test_induced_points(size, heads, points):
    """Fewer points than elements, and more."""
    reference = randomised(InducedSetAttentionBlock(size, points, heads))
    layer = Block(
        InducedAttention(points, block(size, heads), attention(size, heads)),
        feed_forward(size),
        layer_norm_epsilon=1e-5,
    )
    x = np.random.default_rng(0).normal(size=(3, 7, size)).astype("float32")
    is_real = np.array([[1, 1, 1, 1, 1, 1, 1], [1, 1, 0, 1, 0, 0, 1], [1, 0, 0, 0, 0, 0, 0]], bool)

    def run(elements):
        return layer(elements, attention_mask=padding(is_real)) * is_real[..., None].astype("float32")

    run(x)
    induced = layer.attention
    pairs = [*of_block(induced.block, "mab1"), *of_attention(induced.attention, "mab2.attn")]
    pairs += [*of_linear(layer.feed_forward, "mab2.lin"), *of_norms(layer, "mab2")]
    pairs.append((induced.queries, lambda arrays: arrays["ind"][0]))
    real = torch.tensor(is_real)
    compare(
        f"InducedSetAttentionBlock, {points} points",
        run,
        pairs,
        reference,
        lambda elements: reference(elements, real) * real[..., None],
        x,
    )
