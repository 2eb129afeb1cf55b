"""Clients of a served model over gRPC and REST: the same for `tfmodels serve` and for `tensorflow_model_server`."""

import base64
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

import grpc
import numpy as np
from google.protobuf.json_format import ParseDict

from serving.gate import columns
from serving.loader import Signature
from serving.manager import VersionStatus
from serving.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_pb2,
    model_service_pb2_grpc,
    prediction_service_pb2_grpc,
)
from serving.status import Code, StatusError
from serving.tensors import as_strings, from_proto, numpy_dtype
from serving.warmup import predict_request
from tfmodels.errors import UserError

# A request stays below this size, however long its texts are: servers and proxies bound requests.
_MAX_BATCH_BYTES = 4 * 2**20


class _Client:
    """What both protocols share: rows to columns, batches, and their answers put together."""

    def __init__(
        self,
        address: str,
        model: str = "model",
        *,
        version: int | None = None,
        label: str | None = None,
        signature: str = "serving_default",
        batch_size: int = 256,
        timeout: float = 60.0,
    ):
        """Connects at the first request.

        Args:
            address: Where the server listens.
            model: The model's name on the server.
            version: The version to ask; the newest one by default.
            label: The version's label, instead of its number.
            signature: The signature to ask.
            batch_size: Larger inputs are split into requests of so many rows.
            timeout: Seconds to wait for each answer.

        Raises:
            UserError: Both a version and a label are given, or a batch size below 1.
        """
        if version is not None and label is not None:
            raise UserError("Give a version or a label, not both.")
        if batch_size < 1:
            raise UserError("Give a batch size of at least 1.")
        self.address = address
        self.model = model
        self.version = version
        self.label = label
        self.signature = signature
        self.batch_size = batch_size
        self.timeout = timeout
        self._signatures: dict[str, Signature] | None = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Closes the connection."""

    def predict(self, texts: Sequence | Mapping[str, Sequence]) -> dict[str, np.ndarray]:
        """Asks the model.

        Args:
            texts: Texts; for a model of pairs, pairs of texts; or input name -> texts. Any number of them.

        Returns:
            Output name -> array with a row for every text, in the order of the texts.

        Raises:
            StatusError: The server refuses the request.
            UserError: No server answers, or there is no text.
        """
        names = list(self.metadata().inputs)
        inputs = dict(texts) if isinstance(texts, Mapping) else columns(texts, names)
        arrays = {name: as_strings(values) for name, values in inputs.items()}
        if not arrays or len({len(array) for array in arrays.values()}) != 1 or not len(next(iter(arrays.values()))):
            raise UserError("Give at least one text, and as many for every input.")
        answers = [self._predict(batch) for batch in _batches(arrays, self.batch_size)]
        return {name: np.concatenate([answer[name] for answer in answers]) for name in sorted(answers[0])}

    def metadata(self) -> Signature:
        """The signature that is asked: names, types and shapes of the inputs and outputs.

        Raises:
            StatusError: The server has no such model, version or signature.
            UserError: No server answers.
        """
        if self._signatures is None:
            found = self._signature_defs()
            self._signatures = {name: Signature.from_proto(name, proto) for name, proto in found.items()}
        if self.signature not in self._signatures:
            raise StatusError(
                Code.FAILED_PRECONDITION,
                f"there is no signature {self.signature!r}; the model has {', '.join(sorted(self._signatures))}.",
            )
        return self._signatures[self.signature]

    def status(self) -> list[VersionStatus]:
        """The state of the versions that the server knows, or of the one that is asked.

        Raises:
            StatusError: The server has no such model or version.
            UserError: No server answers.
        """
        response = self._status()
        return [
            VersionStatus(entry.version, entry.state, Code(entry.status.error_code), entry.status.error_message)
            for entry in response.model_version_status
        ]

    def _unreachable(self, reason: object) -> UserError:
        return UserError(f"No server answers at {self.address} ({reason}): start one with `tfmodels serve DIR`.")


class GrpcClient(_Client):
    """A client over gRPC.

    Example:
        >>> with GrpcClient("127.0.0.1:8500", "reviews") as client:  # doctest: +SKIP
        ...     client.predict(["Good.", "Bad."])["probabilities"]
    """

    def __init__(self, address: str, model: str = "model", **options):
        """See `_Client`; `address` is `host:port`."""
        super().__init__(address, model, **options)
        # The client splits what it sends; an answer may have any size.
        self._channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", -1)])
        self._prediction = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        self._models = model_service_pb2_grpc.ModelServiceStub(self._channel)

    def close(self):
        """Closes the channel."""
        self._channel.close()

    def _predict(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        request = predict_request(self.model, inputs, self.signature)
        self._aim(request.model_spec)
        response = self._call(self._prediction.Predict, request)
        return {name: from_proto(proto) for name, proto in response.outputs.items()}

    def _signature_defs(self) -> Mapping:
        request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        self._aim(request.model_spec)
        response = self._call(self._prediction.GetModelMetadata, request)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return signatures.signature_def

    def _status(self) -> get_model_status_pb2.GetModelStatusResponse:
        request = get_model_status_pb2.GetModelStatusRequest()
        self._aim(request.model_spec)
        return self._call(self._models.GetModelStatus, request)

    def _aim(self, spec: model_pb2.ModelSpec):
        spec.name = self.model
        if self.version is not None:
            spec.version.value = self.version
        elif self.label is not None:
            spec.version_label = self.label

    def _call(self, method, request):
        try:
            return method(request, timeout=self.timeout)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAVAILABLE:
                raise self._unreachable(error.details()) from error
            raise StatusError(error.code().value[0], error.details()) from error


class RestClient(_Client):
    """A client over REST, which needs nothing but HTTP.

    Example:
        >>> RestClient("http://127.0.0.1:8501", "reviews").predict(["Good."])  # doctest: +SKIP
    """

    def __init__(self, address: str, model: str = "model", **options):
        """See `_Client`; `address` is `http://host:port`, or `host:port`."""
        if "://" not in address:
            address = f"http://{address}"
        if not address.startswith(("http://", "https://")):
            raise UserError(f"{address} is no HTTP address: use http://HOST:PORT.")
        super().__init__(address.rstrip("/"), model, **options)

    def _predict(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        values = {name: [_json_string(value) for value in array] for name, array in inputs.items()}
        body = {"signature_name": self.signature, "inputs": values}
        outputs = self._call(":predict", body)["outputs"]
        signature = self.metadata()
        if len(signature.outputs) == 1:
            outputs = dict.fromkeys(signature.outputs, outputs)
        return {name: np.asarray(outputs[name], numpy_dtype(info.dtype)) for name, info in signature.outputs.items()}

    def _signature_defs(self) -> Mapping:
        content = self._call("/metadata")["metadata"]["signature_def"]
        # A field that this client's stubs do not know yet does no harm.
        return ParseDict(content, get_model_metadata_pb2.SignatureDefMap(), ignore_unknown_fields=True).signature_def

    def _status(self) -> get_model_status_pb2.GetModelStatusResponse:
        return ParseDict(self._call(""), get_model_status_pb2.GetModelStatusResponse(), ignore_unknown_fields=True)

    def _call(self, suffix: str, body: dict | None = None) -> dict:
        path = f"/v1/models/{quote(self.model, safe='')}"
        if self.version is not None:
            path += f"/versions/{self.version}"
        elif self.label is not None:
            path += f"/labels/{quote(self.label, safe='')}"
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.address + path + suffix, data, headers)
        try:
            with urllib.request.urlopen(request, timeout=self.timeout) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise StatusError(Code.from_http(error.code), _error_message(error)) from error
        except (urllib.error.URLError, ConnectionError, TimeoutError) as error:
            raise self._unreachable(getattr(error, "reason", error)) from error


def _batches(arrays: Mapping[str, np.ndarray], batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """Splits columns into batches of at most `batch_size` rows and, but for single rows, `_MAX_BATCH_BYTES`."""
    rows = len(next(iter(arrays.values())))
    start = size = 0
    for row in range(rows):
        row_size = sum(len(array[row]) for array in arrays.values())
        if row > start and (row - start == batch_size or size + row_size > _MAX_BATCH_BYTES):
            yield {name: array[start:row] for name, array in arrays.items()}
            start, size = row, 0
        size += row_size
    yield {name: array[start:] for name, array in arrays.items()}


def _json_string(value: bytes):
    """Text as a JSON string, other bytes as the protocol's base64 object."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(value).decode("ascii")}


def _error_message(error: urllib.error.HTTPError) -> str:
    body = error.read().decode("utf-8", "replace")
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        # Something between client and server answered.
        return f"{error.reason}: {body[:200]}"
