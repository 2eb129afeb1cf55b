"""Recorded requests: what warms a model up in TensorFlow Serving, and what the gate replays.

`tensorflow_model_server` replays `assets.extra/tf_serving_warmup_requests` before a version becomes available, so that
the first user does not pay for lazy initialisation. A request in it that fails keeps the version from loading.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from serving.protos import example_pb2, predict_pb2, prediction_log_pb2
from serving.records import read_records, write_records
from serving.status import Code, StatusError
from serving.tensors import as_strings, from_proto, to_proto

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
# tensorflow_model_server refuses a version with more.
MAX_WARMUP_REQUESTS = 1000


@dataclass(frozen=True)
class Recorded:
    """A request, and its answer where one is known.

    Attributes:
        inputs: Input name -> array or nested sequences.
        outputs: Output name -> array; empty where no answer is known.
        signature: The signature's name.
    """

    inputs: Mapping[str, object]
    outputs: Mapping[str, np.ndarray] = field(default_factory=dict)
    signature: str = "serving_default"


def predict_request(
    name: str, inputs: Mapping[str, object], signature: str = "serving_default"
) -> predict_pb2.PredictRequest:
    """A PredictRequest for the model `name`."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for key, value in inputs.items():
        request.inputs[key].CopyFrom(to_proto(value))
    return request


def write_recorded(path: str | os.PathLike, requests: Iterable[Recorded], *, name: str = "model") -> int:
    """Writes requests as a TFRecord file of PredictionLogs.

    Returns:
        The number of requests written.
    """

    def serialized(recorded: Recorded) -> bytes:
        log = prediction_log_pb2.PredictionLog()
        log.predict_log.request.CopyFrom(predict_request(name, recorded.inputs, recorded.signature))
        for key, value in recorded.outputs.items():
            log.predict_log.response.outputs[key].CopyFrom(to_proto(value))
        return log.SerializeToString()

    return write_records(path, map(serialized, requests))


def read_recorded(path: str | os.PathLike) -> Iterator[Recorded]:
    """Yields the requests of a TFRecord file of PredictionLogs.

    Raises:
        StatusError: The file is not whole (DATA_LOSS), or holds something other than Predict requests
            (UNIMPLEMENTED).
    """
    for record in read_records(path):
        log = prediction_log_pb2.PredictionLog.FromString(record)
        kind = log.WhichOneof("log_type")
        if kind != "predict_log":
            raise StatusError(Code.UNIMPLEMENTED, f"{path} holds a {kind}; only predict_log is supported.")
        logged = log.predict_log
        yield Recorded(
            {key: from_proto(proto) for key, proto in logged.request.inputs.items()},
            {key: from_proto(proto) for key, proto in logged.response.outputs.items()},
            logged.request.model_spec.signature_name or "serving_default",
        )


def replay_warmup(model) -> int:
    """Runs a model's warm-up requests as TensorFlow Serving does before it makes a version available.

    Args:
        model: A `serving.loader.SavedModel`.

    Returns:
        The number of requests run; 0 where the export has none.

    Raises:
        StatusError: A request fails, the file is damaged, or it holds more than 1,000 requests.
    """
    path = model.directory / WARMUP_FILE
    if not path.exists():
        return 0
    count = 0
    for recorded in read_recorded(path):
        count += 1
        if count > MAX_WARMUP_REQUESTS:
            raise StatusError(
                Code.INVALID_ARGUMENT, f"{path} holds more than the {MAX_WARMUP_REQUESTS} requests that are allowed."
            )
        model.run(recorded.inputs, recorded.signature)
    return count


def serialized_examples(features: Mapping[str, object]) -> list[bytes]:
    """Columns of text as serialised `tf.Example`s, the input of the signature `serve_examples`.

    Args:
        features: Feature name -> a sequence of texts; all of one length.

    Returns:
        One serialised `tf.Example` a row.
    """
    columns = {name: as_strings(values) for name, values in features.items()}
    rows = []
    for values in zip(*columns.values()):
        example = example_pb2.Example()
        for name, value in zip(columns, values):
            example.features.feature[name].bytes_list.value.append(value)
        rows.append(example.SerializeToString())
    return rows
