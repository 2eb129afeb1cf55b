"""TensorFlow's and TensorFlow Serving's official protocol messages, without importing TensorFlow itself.

The generated modules live inside the `tensorflow` package, whose `__init__` takes seconds and hundreds of megabytes to
run although the messages need none of it. While they load, a bare package with the same search path stands in for
`tensorflow`. A later `import tensorflow` is the real one and shares these message classes.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec

from tfmodels.errors import UserError


@contextmanager
def _bare_tensorflow() -> Iterator[None]:
    if "tensorflow" in sys.modules:
        yield
        return
    found = find_spec("tensorflow")
    if found is None:
        raise UserError("TensorFlow is not installed: run `pip install tensorflow`.")
    spec = ModuleSpec("tensorflow", loader=None, is_package=True)
    spec.submodule_search_locations = list(found.submodule_search_locations)
    bare = module_from_spec(spec)
    sys.modules["tensorflow"] = bare
    try:
        yield
    finally:
        if sys.modules.get("tensorflow") is bare:
            del sys.modules["tensorflow"]


if find_spec("tensorflow_serving") is None:
    raise UserError("tensorflow-serving-api is not installed: run `pip install 'tfmodels[serving]'`.")

with _bare_tensorflow():
    from tensorflow.core.example import example_pb2
    from tensorflow.core.framework import kernel_def_pb2, tensor_pb2, types_pb2
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2, saved_model_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_pb2,
        model_service_pb2_grpc,
        predict_pb2,
        prediction_log_pb2,
        prediction_service_pb2_grpc,
    )
    from tensorflow_serving.config import model_server_config_pb2

__all__ = [
    "config_pb2",
    "example_pb2",
    "get_model_metadata_pb2",
    "get_model_status_pb2",
    "kernel_def_pb2",
    "meta_graph_pb2",
    "model_pb2",
    "model_server_config_pb2",
    "model_service_pb2_grpc",
    "predict_pb2",
    "prediction_log_pb2",
    "prediction_service_pb2_grpc",
    "saved_model_pb2",
    "tensor_pb2",
    "types_pb2",
]
