"""SavedModels through TensorFlow's C API: the C++ loader and session of TensorFlow Serving, without Python TensorFlow.

`tensorflow_model_server` loads a SavedModel with `LoadSavedModel` and answers with `Session::Run`. The C API's
`TF_LoadSessionFromSavedModel` and `TF_SessionRun` are the same two functions, and pip's TensorFlow ships them in
`libtensorflow_cc.so.2`. What loads and runs here therefore loads and runs there; Python's `tf.saved_model.load` is
another loader, which accepts models that the server refuses.

The functions release Python's lock while they run, so that threads share one `SavedModel`.
"""

import ctypes
import os
import weakref
from collections.abc import Iterable, Mapping
from ctypes import POINTER, c_char_p, c_int, c_int64, c_size_t, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from serving.protos import config_pb2, kernel_def_pb2, meta_graph_pb2
from serving.status import Code, StatusError
from serving.tensors import as_strings, dtype_name, dtype_number, numpy_dtype
from tfmodels.errors import UserError

__all__ = ["SavedModel", "Signature", "StatusError", "TensorInfo"]


class _Output(ctypes.Structure):
    """C's `TF_Output`: one output of an operation."""

    _fields_ = (("operation", c_void_p), ("index", c_int))


class _Buffer(ctypes.Structure):
    """C's `TF_Buffer`: bytes that TensorFlow owns."""

    _fields_ = (("data", c_void_p), ("length", c_size_t), ("deallocator", c_void_p))


# C's `TF_TString`: up to 22 bytes stand in it, longer ones on the heap.
_STRING_BYTES = 24

# name -> (type of the result, types of the arguments)
_FUNCTIONS = {
    "TF_NewStatus": (c_void_p, []),
    "TF_DeleteStatus": (None, [c_void_p]),
    "TF_GetCode": (c_int, [c_void_p]),
    "TF_Message": (c_char_p, [c_void_p]),
    "TF_NewBuffer": (POINTER(_Buffer), []),
    "TF_DeleteBuffer": (None, [POINTER(_Buffer)]),
    "TF_LoadLibrary": (c_void_p, [c_char_p, c_void_p]),
    "TF_NewSessionOptions": (c_void_p, []),
    "TF_SetConfig": (None, [c_void_p, c_char_p, c_size_t, c_void_p]),
    "TF_DeleteSessionOptions": (None, [c_void_p]),
    "TF_NewGraph": (c_void_p, []),
    "TF_DeleteGraph": (None, [c_void_p]),
    "TF_GraphOperationByName": (c_void_p, [c_void_p, c_char_p]),
    "TF_LoadSessionFromSavedModel": (
        c_void_p,
        [c_void_p, c_void_p, c_char_p, POINTER(c_char_p), c_int, c_void_p, POINTER(_Buffer), c_void_p],
    ),
    "TF_SessionRun": (
        None,
        [
            *[c_void_p, c_void_p],
            *[POINTER(_Output), POINTER(c_void_p), c_int],
            *[POINTER(_Output), POINTER(c_void_p), c_int],
            *[c_void_p, c_int, c_void_p, c_void_p],
        ],
    ),
    "TF_CloseSession": (None, [c_void_p, c_void_p]),
    "TF_DeleteSession": (None, [c_void_p, c_void_p]),
    "TF_AllocateTensor": (c_void_p, [c_int, POINTER(c_int64), c_int, c_size_t]),
    "TF_DeleteTensor": (None, [c_void_p]),
    "TF_TensorType": (c_int, [c_void_p]),
    "TF_NumDims": (c_int, [c_void_p]),
    "TF_Dim": (c_int64, [c_void_p, c_int]),
    "TF_TensorByteSize": (c_size_t, [c_void_p]),
    "TF_TensorData": (c_void_p, [c_void_p]),
    "TF_StringInit": (None, [c_void_p]),
    "TF_StringCopy": (None, [c_void_p, c_char_p, c_size_t]),
    "TF_StringGetDataPointer": (c_void_p, [c_void_p]),
    "TF_StringGetSize": (c_size_t, [c_void_p]),
    "TF_Version": (c_char_p, []),
    "TF_GetAllRegisteredKernels": (POINTER(_Buffer), [c_void_p]),
    # `tensorflow::DisableXlaCompilation()`: C++ without a C name; the mangled one is part of the ABI.
    "_ZN10tensorflow21DisableXlaCompilationEv": (None, []),
}


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL:
    """TensorFlow's C library as TensorFlow Serving sets it up: XLA off, TF-Text's ops registered.

    Switching XLA off holds for the whole process, its Python TensorFlow included.

    Raises:
        UserError: pip's TensorFlow is not installed, or has no C library.
    """
    folder = _package_folder("tensorflow")
    path = folder / "libtensorflow_cc.so.2" if folder else None
    if path is None or not path.exists():
        raise UserError("The C++ loader needs pip's TensorFlow for Linux: run `pip install tensorflow`.")
    library = ctypes.CDLL(str(path))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library._ZN10tensorflow21DisableXlaCompilationEv()
    text = _package_folder("tensorflow_text")
    for operations in sorted(text.glob("python/*/_*.so")) if text else []:
        with _Status(library) as status:
            library.TF_LoadLibrary(str(operations).encode(), status)
    return library


def _package_folder(package: str) -> Path | None:
    """Where a package is installed; looking does not import it."""
    spec = find_spec(package)
    return Path(spec.submodule_search_locations[0]) if spec else None


def tensorflow_version() -> str:
    """The version of the C++ library, such as "2.16.2"."""
    return _library().TF_Version().decode()


def cpu_operations() -> set[str]:
    """The names of the operations that have a CPU kernel in this process, TF-Text's included."""
    library = _library()
    with _Status(library) as status:
        buffer = library.TF_GetAllRegisteredKernels(status)
    try:
        serialized = ctypes.string_at(buffer.contents.data, buffer.contents.length)
    finally:
        library.TF_DeleteBuffer(buffer)
    kernels = kernel_def_pb2.KernelList.FromString(serialized).kernel
    return {kernel.op for kernel in kernels if kernel.device_type in ("CPU", "DEFAULT")}


class _Status:
    """A `TF_Status` for the block; an error in it becomes a `StatusError` when the block ends."""

    def __init__(self, library: ctypes.CDLL):
        self._library = library

    def __enter__(self) -> int:
        self._status = self._library.TF_NewStatus()
        return self._status

    def __exit__(self, kind, error, traceback):
        code = self._library.TF_GetCode(self._status)
        message = self._library.TF_Message(self._status).decode("utf-8", "replace")
        self._library.TF_DeleteStatus(self._status)
        if code and error is None:
            raise StatusError(code, message)


@dataclass(frozen=True)
class TensorInfo:
    """A named input or output of a signature.

    Attributes:
        tensor: The tensor's name in the graph, such as "serving_default_text:0".
        dtype: TensorFlow's type number.
        shape: The sizes, None where any is fine; None if the rank is unknown.
    """

    tensor: str
    dtype: int
    shape: tuple[int | None, ...] | None

    @classmethod
    def from_proto(cls, proto) -> "TensorInfo":
        """Reads a `tensorflow.TensorInfo` message."""
        shape = None
        if not proto.tensor_shape.unknown_rank:
            shape = tuple(None if dim.size < 0 else dim.size for dim in proto.tensor_shape.dim)
        return cls(proto.name, proto.dtype, shape)

    def __str__(self):
        sizes = "?" if self.shape is None else ", ".join("None" if size is None else str(size) for size in self.shape)
        return f"{dtype_name(self.dtype)}[{sizes}]"

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether an array of this shape fits."""
        if self.shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            want is None or want == size for want, size in zip(self.shape, shape)
        )


@dataclass(frozen=True)
class Signature:
    """A signature of a SavedModel: named inputs and outputs, sorted by name."""

    name: str
    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]

    @classmethod
    def from_proto(cls, name: str, proto) -> "Signature":
        """Reads a `tensorflow.SignatureDef` message."""
        return cls(
            name,
            {key: TensorInfo.from_proto(proto.inputs[key]) for key in sorted(proto.inputs)},
            {key: TensorInfo.from_proto(proto.outputs[key]) for key in sorted(proto.outputs)},
        )


class SavedModel:
    """A SavedModel in a C++ session. Threads may share it; it closes when the last reference goes.

    Example:
        >>> with SavedModel("exports/1") as model:  # doctest: +SKIP
        ...     model.run({"text": ["Good."]})["probabilities"]

    Attributes:
        directory: Where it was read from.
        meta_graph: The `MetaGraphDef` message as the loader gave it.
        signatures: The `Signature`s by name.
    """

    def __init__(
        self,
        directory: str | os.PathLike,
        *,
        tags: Iterable[str] = ("serve",),
        intra_op_threads: int = 0,
        inter_op_threads: int = 0,
    ):
        """Loads the model, restores its variables and fills its tables.

        Args:
            directory: The folder with `saved_model.pb`.
            tags: The tags of the graph to load.
            intra_op_threads: Threads inside an operation; 0 lets TensorFlow choose. The first model of a process
                decides for all.
            inter_op_threads: Operations at a time; 0 lets TensorFlow choose.

        Raises:
            StatusError: The C++ loader refuses the model.
            UserError: TensorFlow's C library is missing.
        """
        self.directory = Path(directory)
        self._library = library = _library()
        config = config_pb2.ConfigProto(
            intra_op_parallelism_threads=intra_op_threads, inter_op_parallelism_threads=inter_op_threads
        ).SerializeToString()
        tags = [tag.encode() for tag in tags]
        options, graph, meta_graph = library.TF_NewSessionOptions(), library.TF_NewGraph(), library.TF_NewBuffer()
        try:
            with _Status(library) as status:
                library.TF_SetConfig(options, config, len(config), status)
            with _Status(library) as status:
                session = library.TF_LoadSessionFromSavedModel(
                    options,
                    None,
                    os.fsencode(self.directory),
                    (c_char_p * len(tags))(*tags),
                    len(tags),
                    graph,
                    meta_graph,
                    status,
                )
            serialized = ctypes.string_at(meta_graph.contents.data, meta_graph.contents.length)
        except StatusError:
            library.TF_DeleteGraph(graph)
            raise
        finally:
            library.TF_DeleteSessionOptions(options)
            library.TF_DeleteBuffer(meta_graph)
        self._session, self._graph = session, graph
        self._close = weakref.finalize(self, _close_session, library, session, graph)
        # At the end of the process other threads may still be running the session; the memory goes anyway.
        self._close.atexit = False
        self.meta_graph = meta_graph_pb2.MetaGraphDef.FromString(serialized)
        # TensorFlow's own entries, such as `__saved_model_init_op`, name no method and cannot be asked.
        self.signatures = {
            name: Signature.from_proto(name, proto)
            for name, proto in sorted(self.meta_graph.signature_def.items())
            if proto.method_name
        }

    def __enter__(self) -> "SavedModel":
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Frees the session and its variables. The model must not be running."""
        self._close()

    def run(
        self,
        inputs: Mapping[str, object],
        signature: str = "serving_default",
        outputs: Iterable[str] | None = None,
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            inputs: An array, or nested sequences, for every input of the signature. Strings may be text or bytes.
            signature: The signature's name.
            outputs: The outputs wanted; all of them by default.

        Returns:
            The outputs in the order of their names; strings are object arrays of bytes.

        Raises:
            StatusError: INVALID_ARGUMENT for inputs that do not fit the signature, FAILED_PRECONDITION for an unknown
                signature, or what the graph reports.
        """
        if not self._close.alive:
            raise StatusError(Code.FAILED_PRECONDITION, f"the model {self.directory} is closed.")
        spec = self.signature(signature)
        arrays = self._checked(spec, inputs)
        wanted = self._wanted(spec, outputs)
        feeds = [(spec.inputs[name], array) for name, array in arrays.items()]
        results = self._run(feeds, [spec.outputs[name] for name in wanted])
        return dict(zip(wanted, results))

    def signature(self, name: str = "serving_default") -> Signature:
        """The signature of that name.

        Raises:
            StatusError: FAILED_PRECONDITION, there is none (the code of `tensorflow_model_server`).
        """
        if name not in self.signatures:
            raise StatusError(
                Code.FAILED_PRECONDITION, f"there is no signature {name!r}; the model has {_listed(self.signatures)}."
            )
        return self.signatures[name]

    @staticmethod
    def _checked(spec: Signature, inputs: Mapping[str, object]) -> dict[str, np.ndarray]:
        unknown, missing = inputs.keys() - spec.inputs.keys(), spec.inputs.keys() - inputs.keys()
        if unknown or missing:
            sent = f"there is no input {_listed(unknown)}" if unknown else f"the input {_listed(missing)} is missing"
            raise StatusError(Code.INVALID_ARGUMENT, f"{sent}; signature {spec.name!r} takes {_listed(spec.inputs)}.")
        arrays = {}
        for name, info in spec.inputs.items():
            array = _as_array(name, inputs[name], info)
            if not info.accepts(array.shape):
                raise StatusError(
                    Code.INVALID_ARGUMENT, f"input {name!r} must be {info} but has the shape {list(array.shape)}."
                )
            arrays[name] = array
        return arrays

    @staticmethod
    def _wanted(spec: Signature, outputs: Iterable[str] | None) -> list[str]:
        wanted = list(spec.outputs) if outputs is None else list(outputs)
        unknown = set(wanted) - spec.outputs.keys()
        if unknown:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"there is no output {_listed(unknown)}; signature {spec.name!r} gives {_listed(spec.outputs)}.",
            )
        return wanted

    def _run(self, feeds: list[tuple[TensorInfo, np.ndarray]], fetches: list[TensorInfo]) -> list[np.ndarray]:
        library = self._library
        feed_outputs = (_Output * len(feeds))(*[self._output(info) for info, _ in feeds])
        fetch_outputs = (_Output * len(fetches))(*[self._output(info) for info in fetches])
        feed_tensors = (c_void_p * len(feeds))()
        fetch_tensors = (c_void_p * len(fetches))()
        try:
            for position, (_, array) in enumerate(feeds):
                feed_tensors[position] = _to_tensor(library, array)
            with _Status(library) as status:
                library.TF_SessionRun(
                    self._session,
                    None,
                    *(feed_outputs, feed_tensors, len(feeds)),
                    *(fetch_outputs, fetch_tensors, len(fetches)),
                    *(None, 0, None, status),
                )
            return [_from_tensor(library, tensor) for tensor in fetch_tensors]
        finally:
            # TensorFlow counts references: memory that an output shares with an input goes with the last of them.
            for tensor in (*feed_tensors, *fetch_tensors):
                if tensor:
                    library.TF_DeleteTensor(tensor)

    def _output(self, info: TensorInfo) -> _Output:
        name, _, index = info.tensor.partition(":")
        operation = self._library.TF_GraphOperationByName(self._graph, name.encode())
        if not operation:
            raise StatusError(Code.NOT_FOUND, f"the graph has no operation {name!r}.")
        return _Output(operation, int(index or 0))


def _close_session(library: ctypes.CDLL, session: int, graph: int):
    # An error on the way out leaves nothing to mend; the memory goes in any case.
    status = library.TF_NewStatus()
    library.TF_CloseSession(session, status)
    library.TF_DeleteSession(session, status)
    library.TF_DeleteGraph(graph)
    library.TF_DeleteStatus(status)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names)) or "none"


def _as_array(name: str, value: object, info: TensorInfo) -> np.ndarray:
    """The value as an array of the input's type; numbers are cast only where none can change its value."""
    dtype = numpy_dtype(info.dtype)
    given = isinstance(value, np.ndarray)
    try:
        array = value if given else np.asarray(value, object if dtype.hasobject else None)
    except ValueError as error:
        raise StatusError(Code.INVALID_ARGUMENT, f"input {name!r} is ragged: give rows of one length.") from error
    is_text = array.dtype.kind in "OSU"
    if is_text and dtype.hasobject:
        try:
            return as_strings(array)
        except StatusError as error:
            raise StatusError(error.code, f"input {name!r}: {error.message}") from error
    # Python's own numbers have no width, and an empty list has no type at all.
    literal = not given and (array.size == 0 or array.dtype.kind == dtype.kind)
    if is_text or dtype.hasobject or not (literal or array.dtype == dtype):
        raise StatusError(
            Code.INVALID_ARGUMENT, f"input {name!r} must be {info} but is {array.dtype.name}{list(array.shape)}."
        )
    return np.ascontiguousarray(array, dtype)


def _to_tensor(library: ctypes.CDLL, array: np.ndarray) -> int:
    """A new `TF_Tensor` with a copy of the array."""
    dimensions = (c_int64 * array.ndim)(*array.shape)
    strings = array.dtype.hasobject
    size = array.size * _STRING_BYTES if strings else array.nbytes
    tensor = library.TF_AllocateTensor(dtype_number(array.dtype), dimensions, array.ndim, size)
    if not tensor:
        raise StatusError(Code.RESOURCE_EXHAUSTED, f"there is no memory for a tensor of {size} bytes.")
    data = library.TF_TensorData(tensor)
    if strings:
        for position, value in enumerate(array.reshape(-1)):
            string = data + position * _STRING_BYTES
            library.TF_StringInit(string)
            library.TF_StringCopy(string, value, len(value))
    elif size:
        ctypes.memmove(data, array.ctypes.data, size)
    return tensor


def _from_tensor(library: ctypes.CDLL, tensor: int) -> np.ndarray:
    """A copy of a `TF_Tensor` as an array."""
    shape = tuple(library.TF_Dim(tensor, axis) for axis in range(library.TF_NumDims(tensor)))
    dtype = numpy_dtype(library.TF_TensorType(tensor))
    data = library.TF_TensorData(tensor)
    if not dtype.hasobject:
        array = np.empty(shape, dtype)
        if array.nbytes:
            ctypes.memmove(array.ctypes.data, data, array.nbytes)
        return array
    array = np.empty(int(np.prod(shape, dtype=np.int64)), dtype=object)
    for position in range(array.size):
        string = data + position * _STRING_BYTES
        array[position] = ctypes.string_at(library.TF_StringGetDataPointer(string), library.TF_StringGetSize(string))
    return array.reshape(shape)
