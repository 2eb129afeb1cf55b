"""Tensors and records on the wire: the same bytes and values as TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf

from serving.protos import tensor_pb2, types_pb2
from serving.records import read_records, write_records
from serving.status import Code, StatusError
from serving.tensors import as_strings, from_proto, to_proto

ARRAYS = [
    np.array([[1.5, -2.0], [np.inf, 3.0]], np.float32),
    np.arange(6, dtype=np.int64).reshape(2, 3),
    np.array([True, False]),
    np.array(7, np.int32),
    np.array([0.5, 1.0], np.float16),
    np.array([-1, 2], np.int8),
    np.zeros((0, 4), np.float64),
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{list(array.shape)}")
def test_tensorflow_reads_what_is_written_and_the_reverse(array):
    np.testing.assert_array_equal(tf.make_ndarray(to_proto(array)), array)
    read = from_proto(tf.make_tensor_proto(array))
    assert read.dtype == array.dtype
    np.testing.assert_array_equal(read, array)


def test_strings_keep_their_bytes():
    texts = [b"", b"\0", b"nul at the end\0", b"\xff\xfe", "größer".encode()]
    assert tf.make_ndarray(to_proto(texts)).tolist() == texts
    assert from_proto(tf.make_tensor_proto(texts)).tolist() == texts
    assert as_strings("größer") == "größer".encode()


def test_a_last_value_fills_the_tensor_up():
    proto = tf.make_tensor_proto(3, tf.int32, shape=[2, 2])
    assert len(proto.int_val) == 1 or proto.tensor_content
    np.testing.assert_array_equal(from_proto(proto), [[3, 3], [3, 3]])


def _proto(shape, dtype=types_pb2.DT_STRING, **fields) -> tensor_pb2.TensorProto:
    proto = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    "proto",
    [
        _proto([2]),
        _proto([1], string_val=[b"a", b"b"]),
        _proto([-1], string_val=[b"a"]),
        _proto([1], types_pb2.DT_FLOAT, tensor_content=b"abc"),
        _proto([1], types_pb2.DT_BFLOAT16, half_val=[1]),
        _proto([1], types_pb2.DT_INVALID),
        _proto([1], 9999),
    ],
    ids=["no values", "too many", "open shape", "cut content", "bfloat16", "no type", "unknown type"],
)
def test_a_tensor_that_is_not_whole_is_invalid(proto):
    with pytest.raises(StatusError) as caught:
        from_proto(proto)
    assert caught.value.code == Code.INVALID_ARGUMENT


def test_a_small_message_cannot_claim_a_huge_tensor():
    with pytest.raises(StatusError) as caught:
        from_proto(_proto([10**6, 10**6], string_val=[b"a"]), max_elements=1000)
    assert caught.value.code == Code.RESOURCE_EXHAUSTED


def test_records_are_tensorflows_records(tmp_path):
    records = [b"", b"a", bytes(range(256)) * 3]
    assert write_records(tmp_path / "ours", records) == 3
    assert [record.numpy() for record in tf.data.TFRecordDataset(str(tmp_path / "ours"))] == records
    with tf.io.TFRecordWriter(str(tmp_path / "theirs")) as writer:
        for record in records:
            writer.write(record)
    assert list(read_records(tmp_path / "theirs")) == records


@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: data[:20] + b"?" + data[21:]])
def test_damaged_records_are_data_loss(tmp_path, damage):
    write_records(tmp_path / "file", [b"some record", b"another"])
    (tmp_path / "file").write_bytes(damage((tmp_path / "file").read_bytes()))
    with pytest.raises(StatusError) as caught:
        list(read_records(tmp_path / "file"))
    assert caught.value.code == Code.DATA_LOSS
