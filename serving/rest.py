"""TensorFlow Serving's REST protocol: JSON to arrays, arrays to JSON, and the HTTP handler.

Requests come as rows (`{"instances": [...]}`, answered with `{"predictions": [...]}`) or as columns
(`{"inputs": ...}`, answered with `{"outputs": ...}`). A model with one input takes it bare, one with several takes
objects; outputs are given likewise. Bytes are `{"b64": "..."}`. Errors are `{"error": "..."}`.
"""

import base64
import binascii
import inspect
import json
import logging
import re
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import numpy as np
from google.protobuf.json_format import MessageToDict

from serving.loader import Signature, TensorInfo
from serving.protos import get_model_metadata_pb2, types_pb2
from serving.status import Code, StatusError
from serving.tensors import dtype_name, numpy_dtype

_LOG = logging.getLogger(__name__)

_MODEL = r"/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(_MODEL + r":(?P<method>classify|regress|predict)", re.IGNORECASE)
_GET = re.compile(_MODEL + r"(?P<metadata>/metadata)?", re.IGNORECASE)

# Every integer type of the protocol is smaller.
_MAX_VERSION = 2**63 - 1


def parse_request(body: bytes) -> dict:
    """The JSON object of a request.

    Raises:
        StatusError: INVALID_ARGUMENT, the body is not one.
    """
    try:
        document = json.loads(body)
    except UnicodeDecodeError as error:
        raise _invalid(f"The request is not UTF-8 ({error.reason}); send other bytes as {{'b64': ...}}.") from error
    except json.JSONDecodeError as error:
        raise _invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except RecursionError as error:
        raise _invalid("JSON Parse error: the document is nested too deeply.") from error
    if not isinstance(document, dict):
        raise _invalid(f"JSON Value: {_shown(document)} Is not object")
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _invalid("'signature_name' key must be a string value.")
    return document


def read_inputs(document: Mapping, signature: Signature) -> tuple[dict[str, np.ndarray], bool]:
    """The arrays of a Predict request.

    Args:
        document: The request's JSON object.
        signature: What the model takes.

    Returns:
        Input name -> array, and whether the request came as rows.

    Raises:
        StatusError: INVALID_ARGUMENT, the values do not fit.
    """
    if ("instances" in document) == ("inputs" in document):
        if "instances" in document:
            raise _invalid("Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist")
        raise _invalid("Missing 'inputs' or 'instances' key")
    if "instances" in document:
        return _from_rows(document["instances"], signature.inputs), True
    return _from_columns(document["inputs"], signature.inputs), False


def _from_rows(rows: object, inputs: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    if not isinstance(rows, list):
        raise _invalid("Expecting 'instances' to be an list/array")
    if not rows:
        raise _invalid("No values in 'instances' array")
    if not _is_object(rows[0]):
        if len(inputs) > 1:
            raise _invalid(f"instances is a plain list, but expecting list of objects with {_listed(inputs)}")
        name = next(iter(inputs))
        for position, row in enumerate(rows):
            if _is_object(row):
                raise _invalid(f"Expecting value/list but got object at item {position} of input list")
        return {name: _array(rows, name, inputs[name])}
    for position, row in enumerate(rows):
        if not _is_object(row):
            raise _invalid(f"Expecting object but got {_shown(row)} at item {position} of input list")
        if row.keys() != inputs.keys():
            raise _invalid(
                f"Failed to process element: {position} of 'instances' list. JSON object: {_shown(row)} keys must be "
                f"equal to: {_listed(inputs)}"
            )
    return {name: _array([row[name] for row in rows], name, info) for name, info in inputs.items()}


def _from_columns(columns: object, inputs: Mapping[str, TensorInfo]) -> dict[str, np.ndarray]:
    if not _is_object(columns):
        if len(inputs) > 1:
            raise _invalid(f"inputs is a plain value/list, but expecting an object with {_listed(inputs)}")
        name = next(iter(inputs))
        return {name: _array(columns, name, inputs[name])}
    for name in inputs:
        if name not in columns:
            raise _invalid(f"Missing named input: {name} in 'inputs' object.")
    for name in columns:
        if name not in inputs:
            raise _invalid(f"There is no input {_shown(name)}: the model takes {_listed(inputs)}.")
    return {name: _array(columns[name], name, info) for name, info in inputs.items()}


def _array(value: object, name: str, info: TensorInfo) -> np.ndarray:
    """Nested lists as an array of the input's type."""
    shape = []
    inner = value
    while isinstance(inner, list):
        shape.append(len(inner))
        inner = inner[0] if inner else None
    flat: list = []
    _flatten(value, shape, 0, flat, name, info.dtype)
    try:
        array = np.empty(len(flat), numpy_dtype(info.dtype))
        array[:] = flat
    except OverflowError as error:
        raise _invalid(f"A value of {name} does not fit {dtype_name(info.dtype)}: {error}") from error
    return array.reshape(shape)


def _flatten(value: object, shape: list[int], level: int, flat: list, name: str, dtype: int):
    if level == len(shape):
        flat.append(_scalar(value, name, dtype))
        return
    if not isinstance(value, list):
        raise _invalid(f"JSON Value: {_shown(value)} of {name} found at incorrect level: {level} expected a list")
    if len(value) != shape[level]:
        raise _invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} of {name} expected size: "
            f"{shape[level]}"
        )
    for item in value:
        _flatten(item, shape, level + 1, flat, name, dtype)


def _scalar(value: object, name: str, dtype: int):
    kind = numpy_dtype(dtype).kind
    if dtype == types_pb2.DT_STRING:
        if isinstance(value, str):
            try:
                return value.encode("utf-8")
            except UnicodeEncodeError as error:
                raise _invalid(f"A text of {name} holds half of a surrogate pair, which is no character.") from error
        if isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value["b64"], str):
            try:
                return base64.b64decode(value["b64"], validate=True)
            except (binascii.Error, ValueError) as error:
                raise _invalid(f"Unable to base64 decode a value of {name}") from error
    elif kind == "b":
        if isinstance(value, bool):
            return value
    elif (isinstance(value, int) and not isinstance(value, bool)) or (isinstance(value, float) and kind == "f"):
        return value
    raise _invalid(f"JSON Value: {_shown(value)} of {name} is not of expected type: {dtype_name(dtype)}")


def write_outputs(outputs: Mapping[str, np.ndarray], rows: bool) -> dict:
    """The JSON object that answers a Predict request.

    Args:
        outputs: Output name -> array.
        rows: Whether the request came as rows.

    Returns:
        `{"predictions": [...]}` for rows, `{"outputs": ...}` for columns.

    Raises:
        StatusError: INVALID_ARGUMENT, outputs of different first sizes cannot be given as rows.
    """
    values = {name: _plain(array, as_bytes=name.endswith("_bytes")) for name, array in outputs.items()}
    if not rows:
        return {"outputs": values if len(values) > 1 else next(iter(values.values()))}
    sizes = {array.shape[0] if array.ndim else None for array in outputs.values()}
    if len(sizes) != 1 or None in sizes:
        raise _invalid("The outputs have no batch size in common: ask with 'inputs' instead of 'instances'.")
    if len(values) == 1:
        return {"predictions": next(iter(values.values()))}
    return {"predictions": [dict(zip(values, row)) for row in zip(*values.values())]}


def _plain(array: np.ndarray, *, as_bytes: bool):
    if array.dtype.hasobject:
        return _plain_strings(array.tolist(), as_bytes)
    if array.dtype in (np.float32, np.float16):
        # The shortest digits that give the same float32, not those of the float64 beside it: 0.1, not 0.10000000149.
        return array.astype(str).astype(np.float64).tolist()
    return array.tolist()


def _plain_strings(value, as_bytes: bool):
    if isinstance(value, list):
        return [_plain_strings(item, as_bytes) for item in value]
    if as_bytes:
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value.decode("utf-8", "replace")


def _is_object(value: object) -> bool:
    return isinstance(value, dict) and not (value.keys() == {"b64"} and isinstance(value["b64"], str))


def _listed(names) -> str:
    return ",".join(names)


def _shown(value: object) -> str:
    try:
        text = json.dumps(value)
    except RecursionError:
        return "a deeply nested value"
    return text if len(text) <= 256 else text[:256] + "..."


def _invalid(message: str) -> StatusError:
    return StatusError(Code.INVALID_ARGUMENT, message)


class RestServer(ThreadingHTTPServer):
    """The HTTP server; its handlers find the model in `service`."""

    daemon_threads = True
    # A client that keeps its connection open must not hold up the end of the server.
    block_on_close = False

    def __init__(self, address: tuple[str, int], service, max_request_bytes: int):
        """Binds to `address`; `service` is a `serving.server.PredictService`."""
        self.service = service
        self.max_request_bytes = max_request_bytes
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Headers and body leave in one piece; else a small answer waits for the acknowledgement of its headers.
    wbufsize = -1
    disable_nagle_algorithm = True
    # Seconds that a client may take over a read or a write.
    timeout = 60
    server_version = "tfmodels"
    sys_version = ""

    def do_GET(self):
        self._answer(self._get)

    def do_POST(self):
        self._answer(self._post)

    def _get(self) -> dict:
        path = urlsplit(self.path).path
        match = _GET.fullmatch(path)
        if match is None:
            raise self._malformed(path)
        name, version, label = _target(match)
        if match["metadata"]:
            return _metadata_json(self.server.service.metadata(name, version, label))
        response = self.server.service.status(name, version, label)
        return MessageToDict(response, preserving_proto_field_name=True, **_WITH_DEFAULTS)

    def _post(self) -> dict:
        body = self._body()
        path = urlsplit(self.path).path
        match = _POST.fullmatch(path)
        if match is None:
            raise self._malformed(path)
        if match["method"].lower() != "predict":
            raise StatusError(Code.UNIMPLEMENTED, f"Only predict is served, not {match['method']}.")
        service = self.server.service
        document = parse_request(body)
        _, model = service.find(*_target(match))
        signature = model.signature(document.get("signature_name") or "serving_default")
        inputs, rows = read_inputs(document, signature)
        return write_outputs(service.run(model, inputs, signature.name), rows)

    def _body(self) -> bytes:
        """The request's body.

        Raises:
            _HttpError: Its length is not stated, or too large.
        """
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not length:
            raise _HttpError(411, "State the size of the request in Content-Length.")
        if not (length.isascii() and length.isdigit()):
            raise _HttpError(400, f"Content-Length is no number: {length[:40]}")
        limit = self.server.max_request_bytes
        # Python refuses to read a number of thousands of digits.
        size = int(length[:18])
        if size > limit:
            self._discard(size)
            raise _HttpError(413, f"The request is larger than the limit of {limit} bytes.")
        body = self.rfile.read(size)
        if len(body) < size:
            raise _HttpError(400, "The request ended before its Content-Length.")
        return body

    def _discard(self, size: int):
        """Reads a body away that is not absurdly large.

        Most clients send all of it before they look for an answer; they would only see a broken connection.
        """
        if size <= 8 * self.server.max_request_bytes:
            while size > 0 and (chunk := self.rfile.read(min(size, 1 << 16))):
                size -= len(chunk)

    def _malformed(self, path: str) -> Exception:
        if not path.lower().startswith("/v1/"):
            return _HttpError(404, f"There is nothing at {path[:200]}")
        return _invalid(f"Malformed request: {self.command} {path[:200]}")

    def _answer(self, function):
        try:
            status, content = 200, function()
        except StatusError as error:
            status, content = error.code.http, {"error": error.message}
        except _HttpError as error:
            # The body was not read: the next request on this connection would begin in it.
            self.close_connection = True
            status, content = error.status, {"error": str(error)}
        except (ConnectionError, TimeoutError):
            self.close_connection = True
            return
        except Exception as error:
            # A bug: the client learns that, the log gets the traceback, and the server lives.
            _LOG.exception("A request failed: %s %s", self.command, self.path)
            status, content = 500, {"error": f"Internal error: {type(error).__name__}"}
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *args):
        _LOG.debug("%s %s", self.address_string(), format % args)


class _HttpError(Exception):
    """An error of HTTP itself, before a request can be read."""

    def __init__(self, status: int, message: str):
        self.status = status
        super().__init__(message)


def _target(match: re.Match) -> tuple[str, int | None, str | None]:
    version = int(match["version"]) if match["version"] else None
    if version is not None and version > _MAX_VERSION:
        raise _invalid(f"Failed to convert version: {match['version']} to numeric.")
    return unquote(match["name"]), version, unquote(match["label"]) if match["label"] else None


def _metadata_json(response: get_model_metadata_pb2.GetModelMetadataResponse) -> dict:
    signatures = get_model_metadata_pb2.SignatureDefMap()
    response.metadata["signature_def"].Unpack(signatures)
    return {
        "model_spec": MessageToDict(response.model_spec, preserving_proto_field_name=True, **_WITH_DEFAULTS),
        "metadata": {"signature_def": MessageToDict(signatures, preserving_proto_field_name=True, **_WITH_DEFAULTS)},
    }


def _with_defaults() -> dict[str, bool]:
    """The option that makes `MessageToDict` write empty fields too: protobuf 5 renamed it."""
    new = "always_print_fields_with_no_presence"
    return {new if new in inspect.signature(MessageToDict).parameters else "including_default_value_fields": True}


_WITH_DEFAULTS = _with_defaults()
