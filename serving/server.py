"""A local server that speaks TensorFlow Serving's protocol over gRPC and REST, on TensorFlow Serving's own stubs.

It is the embedded default where no `tensorflow_model_server` runs: for development, tests and small machines. The
engine is `serving.loader`, so answers are those of the real server, and clients need no change to move to it.
"""

import os
import threading
from collections.abc import Mapping
from concurrent import futures

import grpc
import numpy as np

from serving.loader import SavedModel
from serving.manager import ModelManager
from serving.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)
from serving.rest import RestServer
from serving.status import Code, StatusError
from serving.tensors import from_proto, to_proto
from tfmodels.errors import UserError

_GRPC_CODES = {code.value[0]: code for code in grpc.StatusCode}


class PredictService:
    """What both protocols share: finding a model, running it within bounds, describing it."""

    def __init__(self, manager: ModelManager, *, max_batch_size: int, max_concurrency: int):
        """Serves what `manager` has loaded."""
        self._manager = manager
        self._max_batch_size = max_batch_size
        # Each running batch holds its activations: a bound on batches is a bound on memory.
        self._running = threading.BoundedSemaphore(max_concurrency)

    def find(self, name: str, version: int | None = None, label: str | None = None) -> tuple[int, SavedModel]:
        """The version and the model to answer with; see `ModelManager.find`."""
        if name != self._manager.name:
            raise StatusError(Code.NOT_FOUND, f"Servable not found for request: Latest({name[:200]})")
        return self._manager.find(version, label)

    def run(
        self, model: SavedModel, inputs: Mapping[str, np.ndarray], signature: str, outputs: list[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Runs a model.

        Raises:
            StatusError: INVALID_ARGUMENT, the inputs do not fit or the batch is too large.
        """
        for name, array in inputs.items():
            if array.ndim and len(array) > self._max_batch_size:
                raise StatusError(
                    Code.INVALID_ARGUMENT,
                    f"The batch of {len(array)} in {name[:200]!r} is larger than the limit of {self._max_batch_size}: "
                    "split it.",
                )
        with self._running:
            return model.run(inputs, signature, outputs)

    def status(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """The state of one version or of all, the newest first."""
        if name != self._manager.name:
            raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {name[:200]}")
        if label is not None:
            version, _ = self._manager.find(label=label)
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in self._manager.statuses(version):
            entry = response.model_version_status.add(version=status.version, state=status.state)
            entry.status.error_code = status.code
            entry.status.error_message = status.message
        return response

    def metadata(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of a version."""
        version, model = self.find(name, version, label)
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for key, signature in model.meta_graph.signature_def.items():
            signatures.signature_def[key].CopyFrom(signature)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = name
        response.model_spec.version.value = version
        response.metadata["signature_def"].Pack(signatures)
        return response


class _PredictionServicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    def __init__(self, service: PredictService, max_elements: int):
        self._service = service
        self._max_elements = max_elements

    def Predict(self, request, context):
        return _answer(context, self._predict, request)

    def GetModelMetadata(self, request, context):
        return _answer(context, self._metadata, request)

    def _predict(self, request):
        version, model = self._service.find(*_target(request))
        name = request.model_spec.signature_name or "serving_default"
        inputs = {}
        for key, proto in request.inputs.items():
            try:
                inputs[key] = from_proto(proto, max_elements=self._max_elements)
            except StatusError as error:
                raise StatusError(error.code, f"input {key[:200]!r}: {error.message}") from error
        outputs = self._service.run(model, inputs, name, list(request.output_filter) or None)
        response = predict_pb2.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        response.model_spec.signature_name = name
        for key, array in outputs.items():
            response.outputs[key].CopyFrom(to_proto(array))
        return response

    def _metadata(self, request):
        target = _target(request)
        if not request.metadata_field:
            raise StatusError(Code.INVALID_ARGUMENT, "GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise StatusError(Code.INVALID_ARGUMENT, f"Metadata field {field[:200]} is not supported")
        return self._service.metadata(*target)


class _ModelServicer(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, service: PredictService):
        self._service = service

    def GetModelStatus(self, request, context):
        return _answer(context, lambda request: self._service.status(*_target(request)), request)


def _answer(context, function, request):
    try:
        return function(request)
    except StatusError as error:
        # The message travels in the trailing metadata, of which clients take 8 KB.
        return context.abort(_GRPC_CODES[error.code], error.message[:2000])


def _target(request) -> tuple[str, int | None, str | None]:
    if not request.HasField("model_spec"):
        raise StatusError(Code.INVALID_ARGUMENT, "Missing ModelSpec")
    spec = request.model_spec
    choice = spec.WhichOneof("version_choice")
    version = spec.version.value if choice == "version" else None
    return spec.name, version, spec.version_label if choice == "version_label" else None


class ModelServer:
    """Serves the versions of one model over gRPC and REST until it is closed.

    Example:
        >>> with ModelServer("models/reviews", "reviews") as server:  # doctest: +SKIP
        ...     print(server.grpc_address, server.rest_url)

    Attributes:
        name: The model's name.
        manager: The `ModelManager`, which knows the versions.
        grpc_port: The bound gRPC port, once started.
        rest_port: The bound REST port, once started.
    """

    def __init__(
        self,
        base_path: str | os.PathLike,
        name: str = "model",
        *,
        host: str = "127.0.0.1",
        grpc_port: int = 0,
        rest_port: int = 0,
        num_versions: int = 1,
        labels: Mapping[str, int] | None = None,
        poll_seconds: float = 1.0,
        max_request_bytes: int = 16 * 2**20,
        max_batch_size: int = 1024,
        max_concurrency: int | None = None,
        intra_op_threads: int = 0,
        inter_op_threads: int = 0,
    ):
        """Nothing is loaded or bound before `start` or the `with` block.

        Args:
            base_path: The folder with the versions, `<base_path>/<integer>/`, or one version's own folder.
            name: The model's name in requests.
            host: The address to listen on. Others than loopback open the model to the network, without encryption
                or passwords.
            grpc_port: The gRPC port; 0 takes a free one.
            rest_port: The REST port; 0 takes a free one.
            num_versions: How many of the newest versions to serve.
            labels: Label -> version, such as {"stable": 3, "canary": 4}.
            poll_seconds: How often to look for new versions.
            max_request_bytes: Larger requests are refused unread.
            max_batch_size: Larger batches are refused.
            max_concurrency: How many batches run at a time; as many as there are processors by default.
            intra_op_threads: Threads inside an operation; 0 lets TensorFlow choose.
            inter_op_threads: Operations at a time; 0 lets TensorFlow choose.
        """
        self.name = name
        self.host = host
        self.grpc_port = grpc_port
        self.rest_port = rest_port
        self.manager = ModelManager(
            base_path,
            name,
            num_versions=num_versions,
            labels=labels,
            poll_seconds=poll_seconds,
            intra_op_threads=intra_op_threads,
            inter_op_threads=inter_op_threads,
        )
        concurrency = max_concurrency or os.cpu_count() or 1
        self._service = PredictService(self.manager, max_batch_size=max_batch_size, max_concurrency=concurrency)
        self._workers = 2 * concurrency + 2
        self._max_request_bytes = max_request_bytes
        self._grpc: grpc.Server | None = None
        self._rest: RestServer | None = None
        self._closed = threading.Event()

    @property
    def grpc_address(self) -> str:
        """Where gRPC clients connect, `host:port`."""
        return f"{self.host}:{self.grpc_port}"

    @property
    def rest_url(self) -> str:
        """Where REST clients connect, `http://host:port`."""
        return f"http://{self.host}:{self.rest_port}"

    def __enter__(self) -> "ModelServer":
        self.start()
        return self

    def __exit__(self, *error):
        self.close()

    def start(self):
        """Loads the model, binds both ports and answers.

        Raises:
            UserError: No version can be served, or a port is taken.
        """
        try:
            self.manager.start()
            self._start_grpc()
            self._start_rest()
        except BaseException:
            self.close()
            raise

    def _start_grpc(self):
        options = [
            ("grpc.max_receive_message_length", self._max_request_bytes),
            ("grpc.max_send_message_length", -1),
            # Without this a second server would share the port and take half of the requests.
            ("grpc.so_reuseport", 0),
        ]
        server = grpc.server(futures.ThreadPoolExecutor(self._workers, thread_name_prefix="grpc"), options=options)
        # What a request of that size can hold as numbers of four bytes.
        servicer = _PredictionServicer(self._service, max_elements=self._max_request_bytes // 4)
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(_ModelServicer(self._service), server)
        try:
            self.grpc_port = server.add_insecure_port(f"{self.host}:{self.grpc_port}")
        except RuntimeError as error:
            raise UserError(f"Cannot listen on {self.grpc_address}: choose another --port.") from error
        server.start()
        self._grpc = server

    def _start_rest(self):
        try:
            self._rest = RestServer((self.host, self.rest_port), self._service, self._max_request_bytes)
        except OSError as error:
            raise UserError(f"Cannot listen on {self.host}:{self.rest_port}: choose another --rest-port.") from error
        self.rest_port = self._rest.server_address[1]
        threading.Thread(target=self._rest.serve_forever, name="rest", daemon=True).start()

    def wait(self):
        """Blocks until the server is closed."""
        self._closed.wait()

    def close(self):
        """Stops answering and frees the model. Requests under way get a second to finish."""
        if self._rest is not None:
            self._rest.shutdown()
            self._rest.server_close()
            self._rest = None
        if self._grpc is not None:
            self._grpc.stop(grace=1.0).wait()
            self._grpc = None
        self.manager.stop()
        self._closed.set()
