"""NumPy arrays to and from `TensorProto`, the wire form of TensorFlow Serving, without TensorFlow.

Strings are object arrays of `bytes`, because NumPy's own byte strings lose trailing NUL characters.
"""

from collections.abc import Iterable
from math import prod

import numpy as np

from serving.protos import tensor_pb2, types_pb2
from serving.status import Code, StatusError

STRING = types_pb2.DT_STRING

# TensorFlow's type number -> (NumPy's type, the field of TensorProto that holds its values)
_TYPES = {
    types_pb2.DT_FLOAT: (np.dtype(np.float32), "float_val"),
    types_pb2.DT_DOUBLE: (np.dtype(np.float64), "double_val"),
    types_pb2.DT_INT8: (np.dtype(np.int8), "int_val"),
    types_pb2.DT_INT16: (np.dtype(np.int16), "int_val"),
    types_pb2.DT_INT32: (np.dtype(np.int32), "int_val"),
    types_pb2.DT_INT64: (np.dtype(np.int64), "int64_val"),
    types_pb2.DT_UINT8: (np.dtype(np.uint8), "int_val"),
    types_pb2.DT_UINT16: (np.dtype(np.uint16), "int_val"),
    types_pb2.DT_UINT32: (np.dtype(np.uint32), "uint32_val"),
    types_pb2.DT_UINT64: (np.dtype(np.uint64), "uint64_val"),
    types_pb2.DT_BOOL: (np.dtype(np.bool_), "bool_val"),
    types_pb2.DT_HALF: (np.dtype(np.float16), "half_val"),
    STRING: (np.dtype(object), "string_val"),
}
_NUMBERS = {dtype: number for number, (dtype, _) in _TYPES.items()}


def dtype_name(number: int) -> str:
    """The name of a TensorFlow type number, as messages show it: `float32`, `string`, `DT_BFLOAT16`."""
    if number == STRING:
        return "string"
    if number in _TYPES:
        return _TYPES[number][0].name
    # A client may send a number that no type has.
    return types_pb2.DataType.Name(number) if number in types_pb2.DataType.values() else f"type {number}"


def numpy_dtype(number: int) -> np.dtype:
    """NumPy's type for a TensorFlow type number.

    Raises:
        StatusError: UNIMPLEMENTED, NumPy has no such type (bfloat16, resources, quantised numbers).
    """
    if number not in _TYPES:
        raise StatusError(Code.UNIMPLEMENTED, f"tensors of type {dtype_name(number)} are not supported: use float32.")
    return _TYPES[number][0]


def dtype_number(dtype: np.dtype) -> int:
    """The TensorFlow type number for a NumPy type; every kind of string is DT_STRING.

    Raises:
        StatusError: INVALID_ARGUMENT, TensorFlow has no such type.
    """
    if dtype.kind in "OSU":
        return STRING
    if dtype not in _NUMBERS:
        raise StatusError(Code.INVALID_ARGUMENT, f"arrays of type {dtype} cannot be sent.")
    return _NUMBERS[dtype]


def as_strings(values) -> np.ndarray:
    """Text or bytes as an array of bytes; text is encoded as UTF-8.

    Args:
        values: One text or bytes, or nested sequences or an array of them.

    Returns:
        object[...]: `bytes` in the shape of `values`.

    Raises:
        StatusError: INVALID_ARGUMENT, an element is neither text nor bytes, or text that has no UTF-8 form.
    """
    array = np.asarray(values, dtype=object)
    encoded = np.empty(array.shape, dtype=object)
    encoded.reshape(-1)[:] = [_as_bytes(value) for value in array.reshape(-1)]
    return encoded


def _as_bytes(value) -> bytes:
    if isinstance(value, bytes):
        return value
    if isinstance(value, str):
        try:
            return value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise StatusError(Code.INVALID_ARGUMENT, f"a text cannot be encoded as UTF-8: {error.reason}.") from error
    raise StatusError(Code.INVALID_ARGUMENT, f"expected a string but got {type(value).__name__} {value!r:.60}.")


def to_proto(array) -> tensor_pb2.TensorProto:
    """A NumPy array, or nested sequences of text, as a TensorProto.

    Returns:
        The message, with its values in the typed field, as `tensorflow_model_server` writes them.
    """
    array = np.asarray(array) if not _holds_text(array) else as_strings(array)
    number = dtype_number(array.dtype)
    proto = tensor_pb2.TensorProto(dtype=number)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    if number == STRING:
        proto.string_val.extend(as_strings(array).reshape(-1))
    elif number == types_pb2.DT_HALF:
        proto.half_val.extend(array.reshape(-1).view(np.uint16).tolist())
    else:
        getattr(proto, _TYPES[number][1]).extend(array.reshape(-1).tolist())
    return proto


def _holds_text(values) -> bool:
    if isinstance(values, np.ndarray):
        return values.dtype.kind in "OSU"
    if isinstance(values, (str, bytes)):
        return True
    return isinstance(values, Iterable) and any(_holds_text(value) for value in list(values)[:1])


def from_proto(proto: tensor_pb2.TensorProto, *, max_elements: int | None = None) -> np.ndarray:
    """A TensorProto as a NumPy array.

    Args:
        proto: The message. Its values stand in the typed field or in `tensor_content`.
        max_elements: Refuse more elements than this. A few bytes can claim a huge shape, since TensorFlow fills a
            tensor up with its last value.

    Returns:
        The array; strings are object arrays of bytes.

    Raises:
        StatusError: INVALID_ARGUMENT, the message is not a whole tensor; RESOURCE_EXHAUSTED, it is too large.
    """
    try:
        dtype = numpy_dtype(proto.dtype)
    except StatusError as error:
        raise StatusError(Code.INVALID_ARGUMENT, error.message) from error
    if proto.tensor_shape.unknown_rank or any(dim.size < 0 for dim in proto.tensor_shape.dim):
        raise StatusError(Code.INVALID_ARGUMENT, "a tensor must state its whole shape.")
    shape = tuple(dim.size for dim in proto.tensor_shape.dim)
    size = prod(shape)
    if max_elements is not None and size > max_elements:
        raise StatusError(
            Code.RESOURCE_EXHAUSTED, f"a tensor of shape {list(shape)} is larger than the limit of {max_elements}."
        )
    if proto.tensor_content and not dtype.hasobject:
        if len(proto.tensor_content) != size * dtype.itemsize:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"tensor_content has {len(proto.tensor_content)} bytes; {dtype.name}{list(shape)} needs "
                f"{size * dtype.itemsize}.",
            )
        return np.frombuffer(proto.tensor_content, dtype=dtype).reshape(shape).copy()
    values = list(getattr(proto, _TYPES[proto.dtype][1]))
    if len(values) > size or (not values and size):
        raise StatusError(
            Code.INVALID_ARGUMENT, f"a tensor of shape {list(shape)} needs {size} values but has {len(values)}."
        )
    array = np.empty(size, dtype=dtype)
    if proto.dtype == types_pb2.DT_HALF:
        array.view(np.uint16)[: len(values)] = values
    else:
        try:
            array[: len(values)] = values
        except OverflowError as error:
            raise StatusError(Code.INVALID_ARGUMENT, f"a value does not fit {dtype.name}: {error}.") from error
    if len(values) < size:
        array[len(values) :] = array[len(values) - 1]
    return array.reshape(shape)
