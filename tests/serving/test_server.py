"""The local server: TensorFlow Serving's protocol, bad requests that it outlives, versions that change under it."""

import base64
import http.client
import json
import socket
import threading
import time
import urllib.parse

import grpc
import numpy as np
import pytest
import tensorflow as tf

from serving import GrpcClient, ModelServer, RestClient, StatusError
from serving.protos import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    tensor_pb2,
    types_pb2,
)
from serving.status import Code
from serving.warmup import WARMUP_FILE, Recorded, serialized_examples, write_recorded
from tests.serving.support import make_exported, publish
from tfmodels.errors import UserError

GOOD = ["good film", "bad"]


class Rest:
    """Bare HTTP, to say what no client would."""

    def __init__(self, server):
        parts = urllib.parse.urlsplit(server.rest_url)
        self.host, self.port = parts.hostname, parts.port

    def ask(self, method, path, body=None, headers=None):
        """Returns (status, JSON)."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            assert response.headers["Content-Type"] == "application/json"
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def predict(self, content, path="/v1/models/tiny:predict"):
        """Posts JSON, or bytes as they are."""
        return self.ask("POST", path, content if isinstance(content, bytes) else json.dumps(content).encode())


class Grpc:
    """The bare stubs."""

    def __init__(self, server):
        self.channel = grpc.insecure_channel(server.grpc_address, [("grpc.max_send_message_length", -1)])
        self.prediction = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def predict(self, inputs, *, name="tiny", **spec):
        """Predicts; values are TensorProtos or what TensorFlow makes one of."""
        request = predict_pb2.PredictRequest()
        request.model_spec.name = name
        if "version" in spec:
            request.model_spec.version.value = spec["version"]
        if "label" in spec:
            request.model_spec.version_label = spec["label"]
        if "signature" in spec:
            request.model_spec.signature_name = spec["signature"]
        request.output_filter.extend(spec.get("outputs", []))
        for key, value in inputs.items():
            proto = value if isinstance(value, tensor_pb2.TensorProto) else tf.make_tensor_proto(value)
            request.inputs[key].CopyFrom(proto)
        return self.prediction.Predict(request, timeout=60)


@pytest.fixture
def rest(server, exported):
    """Bare REST; afterwards the server must still answer rightly."""
    yield Rest(server)
    assert_alive(server, exported)


@pytest.fixture
def stubs(server, exported):
    """Bare gRPC; afterwards the server must still answer rightly."""
    opened = Grpc(server)
    yield opened
    opened.channel.close()
    assert_alive(server, exported)


def assert_alive(server, exported):
    expected = exported.answers(GOOD)["logits"]
    with GrpcClient(server.grpc_address, "tiny") as client:
        np.testing.assert_allclose(client.predict(GOOD)["logits"], expected, atol=1e-6)
    np.testing.assert_allclose(RestClient(server.rest_url, "tiny").predict(GOOD)["logits"], expected, atol=1e-6)


def refused(function, *arguments, **named) -> tuple[str, str]:
    """The code and message of a gRPC call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        function(*arguments, **named)
    return caught.value.code().name, caught.value.details()


def wait_for(condition, what: str, seconds: float = 60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


# --- The protocol -----------------------------------------------------------------------------------------------------


def test_grpc_predict_answers_named_float_tensors(stubs, exported):
    response = stubs.predict({"text": GOOD})
    assert response.model_spec.name == "tiny"
    assert response.model_spec.version.value == 1
    assert response.model_spec.signature_name == "serving_default"
    assert sorted(response.outputs) == ["logits", "probabilities"]
    for name, expected in exported.answers(GOOD).items():
        np.testing.assert_allclose(tf.make_ndarray(response.outputs[name]), expected, atol=1e-6)


def test_grpc_predict_takes_a_signature_a_version_and_an_output_filter(stubs):
    examples = serialized_examples({"text": GOOD})
    response = stubs.predict({"examples": examples}, signature="serve_examples", version=1, outputs=["logits"])
    assert list(response.outputs) == ["logits"]


def test_grpc_metadata_gives_the_signatures(stubs):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "tiny"
    response = stubs.prediction.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["serving_default"].inputs["text"].dtype == types_pb2.DT_STRING
    assert response.model_spec.version.value == 1


def test_grpc_status_gives_the_versions(stubs):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "tiny"
    (status,) = stubs.models.GetModelStatus(request).model_version_status
    assert (status.version, status.state, status.status.error_code) == (1, status.AVAILABLE, 0)


def test_what_the_server_does_not_do_is_unimplemented(stubs):
    from tensorflow_serving.apis import classification_pb2

    assert refused(stubs.prediction.Classify, classification_pb2.ClassificationRequest())[0] == "UNIMPLEMENTED"


def test_rest_rows_are_answered_with_rows(rest, exported):
    status, content = rest.predict({"instances": GOOD})
    assert status == 200
    expected = exported.answers(GOOD)
    for row, prediction in enumerate(content["predictions"]):
        assert sorted(prediction) == ["logits", "probabilities"]
        np.testing.assert_allclose(prediction["logits"], expected["logits"][row], atol=1e-6)


@pytest.mark.parametrize("instances", [[{"text": text} for text in GOOD], [{"b64": "Z29vZCBmaWxt"}, "bad"]])
def test_rest_rows_may_be_objects_or_base64(rest, instances):
    assert rest.predict({"instances": instances})[1] == rest.predict({"instances": GOOD})[1]


def test_rest_columns_are_answered_with_columns(rest, exported):
    status, content = rest.predict({"inputs": {"text": GOOD}})
    assert status == 200
    np.testing.assert_allclose(content["outputs"]["logits"], exported.answers(GOOD)["logits"], atol=1e-6)
    assert rest.predict({"inputs": GOOD})[1] == content


def test_rest_numbers_are_the_shortest_of_float32(rest, exported):
    content = rest.predict({"inputs": GOOD})[1]
    logits = np.array(content["outputs"]["logits"])
    np.testing.assert_array_equal(logits, [[float(str(np.float32(v))) for v in row] for row in logits])


def test_a_single_output_is_given_bare(tmp_path):
    module = tf.Module()
    spec = tf.TensorSpec([None], tf.string, name="text")
    function = tf.function(lambda text: {"score_bytes": text}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "7"), signatures=function.get_concrete_function())
    with ModelServer(tmp_path / "7", "one") as server:
        rest = Rest(server)
        assert server.manager.find()[0] == 7
        b64 = {"b64": base64.b64encode(b"a").decode()}
        assert rest.predict({"instances": ["a"]}, "/v1/models/one:predict") == (200, {"predictions": [b64]})
        assert rest.predict({"inputs": ["a"]}, "/v1/models/one:predict") == (200, {"outputs": [b64]})
        assert RestClient(server.rest_url, "one").metadata().outputs.keys() == {"score_bytes"}


def test_rest_pairs_are_objects(exported_pairs):
    rows = [("good film", "the plot"), ("bad", "")]
    inputs = {"text": [a for a, _ in rows], "text_pair": [b for _, b in rows]}
    expected = exported_pairs.reference(inputs)["logits"]
    with ModelServer(exported_pairs.path.parent, "pairs") as server:
        rest = Rest(server)
        path = "/v1/models/pairs:predict"
        instances = [{"text": a, "text_pair": b} for a, b in rows]
        content = rest.predict({"instances": instances}, path)[1]
        np.testing.assert_allclose([row["logits"] for row in content["predictions"]], expected, atol=1e-6)
        assert rest.predict({"instances": ["good"]}, path)[0] == 400
        assert rest.predict({"inputs": ["good"]}, path)[0] == 400
        assert rest.predict({"inputs": {"text": ["good"]}}, path)[0] == 400
        assert rest.predict({"inputs": {"text": ["good", "bad"], "text_pair": ["good"]}}, path)[0] == 400
        with GrpcClient(server.grpc_address, "pairs") as client:
            np.testing.assert_allclose(client.predict(rows)["logits"], expected, atol=1e-6)


def test_rest_status_and_metadata_have_the_shape_of_tensorflow_servings(rest):
    available = {"version": "1", "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
    assert rest.ask("GET", "/v1/models/tiny") == (200, {"model_version_status": [available]})
    assert rest.ask("GET", "/v1/models/tiny/versions/1") == (200, {"model_version_status": [available]})
    status, content = rest.ask("GET", "/v1/models/tiny/metadata")
    assert status == 200
    assert content["model_spec"] == {"name": "tiny", "signature_name": "", "version": "1"}
    signature = content["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["text"]["dtype"] == "DT_STRING"
    assert signature["inputs"]["text"]["tensor_shape"]["dim"] == [{"size": "-1", "name": ""}]


def test_connections_are_kept(server):
    connection = http.client.HTTPConnection(server.host, server.rest_port, timeout=60)
    for _ in range(3):
        connection.request("POST", "/v1/models/tiny:predict", json.dumps({"instances": GOOD}))
        response = connection.getresponse()
        assert response.status == 200
        response.read()
    connection.close()


# --- Bad requests -----------------------------------------------------------------------------------------------------


def proto(shape, dtype=types_pb2.DT_STRING, **fields):
    message = tensor_pb2.TensorProto(dtype=dtype, **fields)
    for size in shape:
        message.tensor_shape.dim.add(size=size)
    return message


@pytest.mark.parametrize(
    "inputs, sentence",
    [
        ({"words": GOOD}, "there is no input 'words'"),
        ({"text": GOOD, "more": GOOD}, "there is no input 'more'"),
        ({}, "the input 'text' is missing"),
        ({"text": [1.5, 2.0]}, "input 'text' must be string"),
        ({"text": [[1, 2]]}, "input 'text' must be string"),
        ({"text": "good"}, "must be string[None] but has the shape []"),
        ({"text": [["good"]]}, "must be string[None] but has the shape [1, 1]"),
        ({"text": proto([3], string_val=[])}, "needs 3 values but has 0"),
        ({"text": proto([1], types_pb2.DT_FLOAT, tensor_content=b"abc")}, "tensor_content has 3 bytes"),
        ({"text": proto([1], types_pb2.DT_BFLOAT16, half_val=[1])}, "DT_BFLOAT16 are not supported"),
        ({"text": proto([1], 12345)}, "type 12345"),
        ({"text": ["x"] * 10_000}, "batch of 10000"),
        ({"x" * 100_000: GOOD}, "there is no input"),
    ],
)
def test_grpc_requests_that_do_not_fit_are_invalid(stubs, inputs, sentence):
    code, message = refused(stubs.predict, inputs)
    assert code == "INVALID_ARGUMENT"
    assert sentence in message


def test_grpc_names_that_do_not_exist_are_not_found(stubs):
    assert refused(stubs.predict, {"text": GOOD}, name="other")[0] == "NOT_FOUND"
    assert refused(stubs.predict, {"text": GOOD}, version=99)[0] == "NOT_FOUND"
    assert refused(stubs.predict, {"text": GOOD}, label="stable")[0] == "INVALID_ARGUMENT"
    assert refused(stubs.predict, {"text": GOOD}, signature="classify")[0] == "FAILED_PRECONDITION"
    assert refused(stubs.predict, {"text": GOOD}, outputs=["score"])[0] == "INVALID_ARGUMENT"
    assert refused(stubs.prediction.Predict, predict_pb2.PredictRequest())[0] == "INVALID_ARGUMENT"
    assert refused(stubs.models.GetModelStatus, get_model_status_pb2.GetModelStatusRequest())[0] == "INVALID_ARGUMENT"
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "tiny"
    assert refused(stubs.prediction.GetModelMetadata, request)[0] == "INVALID_ARGUMENT"


def test_grpc_a_failing_graph_is_told(stubs):
    code, message = refused(stubs.predict, {"examples": [b"no example"]}, signature="serve_examples")
    assert code == "INVALID_ARGUMENT"
    assert "Could not parse example" in message


def test_grpc_large_messages_are_refused_unread(stubs):
    assert refused(stubs.predict, {"text": ["x" * 5_000_000]})[0] == "RESOURCE_EXHAUSTED"


def test_grpc_a_small_message_cannot_claim_a_huge_tensor(stubs):
    assert refused(stubs.predict, {"text": proto([10**12], string_val=[b"a"])})[0] == "RESOURCE_EXHAUSTED"


def test_grpc_empty_batches_have_empty_answers(stubs):
    response = stubs.predict({"text": np.array([], object)})
    assert tf.make_ndarray(response.outputs["logits"]).shape == (0, 2)


@pytest.mark.parametrize(
    "body, sentence",
    [
        ({"instances": [{"words": "good"}]}, "keys must be equal to: text"),
        ({"inputs": {"words": GOOD}}, "Missing named input: text"),
        ({"inputs": {"text": GOOD, "more": GOOD}}, "There is no input"),
        ({"instances": [1.5]}, "is not of expected type: string"),
        ({"instances": [None]}, "is not of expected type: string"),
        ({"instances": [True]}, "is not of expected type: string"),
        ({"instances": ["good", {"text": "bad"}]}, "Expecting value/list but got object at item 1"),
        ({"instances": [{"text": "good"}, "bad"]}, "Expecting object but got"),
        ({"instances": [["good"], "bad"]}, "found at incorrect level"),
        ({"instances": [["good"], ["bad", "good"]]}, "unexpected size"),
        ({"instances": [["good"]]}, "must be string[None]"),
        ({"instances": [{"b64": "%"}]}, "Unable to base64 decode"),
        ({"instances": []}, "No values in 'instances' array"),
        ({"instances": "good"}, "Expecting 'instances' to be an list/array"),
        ({"instances": GOOD, "inputs": GOOD}, "expecting only one of"),
        ({"inputs": "good"}, "must be string[None]"),
        ({}, "Missing 'inputs' or 'instances' key"),
        ({"instances": GOOD, "signature_name": 1}, "must be a string"),
        ({"instances": GOOD, "signature_name": "classify"}, "there is no signature 'classify'"),
        ({"instances": ["x"] * 10_000}, "batch of 10000"),
        ({"instances": ["\ud800"]}, "half of a surrogate pair"),
        ([], "Is not object"),
        (b"", "JSON Parse error"),
        (b"{", "JSON Parse error"),
        (b'{"instances": ["\xff\xfe"]}', "not UTF-8"),
        (b'{"instances": ' + b"[" * 100_000, "nested too deeply"),
    ],
)
def test_rest_requests_that_do_not_fit_are_bad(rest, body, sentence):
    status, content = rest.predict(body)
    assert status == 400
    assert list(content) == ["error"]
    assert sentence in content["error"]


def test_rest_names_that_do_not_exist_are_told(rest):
    body = {"instances": GOOD}
    assert rest.predict(body, "/v1/models/other:predict")[0] == 404
    assert rest.predict(body, "/v1/models/tiny/versions/99:predict")[0] == 404
    assert rest.predict(body, "/v1/models/tiny/labels/stable:predict")[0] == 400
    assert rest.predict(body, "/v1/models/tiny/versions/99999999999999999999:predict")[0] == 400
    assert rest.predict(body, "/v1/models/tiny:explain")[0] == 400
    assert rest.predict(body, "/v1/models/tiny:classify")[0] == 501
    assert rest.ask("GET", "/v1/models/other")[0] == 404
    assert rest.ask("GET", "/v1/models/tiny/versions/99")[0] == 404
    assert rest.ask("GET", "/elsewhere")[0] == 404


def test_rest_empty_columns_have_empty_answers(rest):
    assert rest.predict({"inputs": {"text": []}}) == (200, {"outputs": {"logits": [], "probabilities": []}})


def test_rest_large_requests_are_refused_unread(rest):
    assert rest.predict(b"x" * 5_000_000)[0] == 413
    status, content = rest.ask("POST", "/v1/models/tiny:predict", headers={"Content-Length": "9" * 40})
    assert (status, list(content)) == (413, ["error"])


def test_rest_a_request_must_state_its_size(rest):
    assert rest.ask("POST", "/v1/models/tiny:predict", headers={"Transfer-Encoding": "chunked"})[0] == 411
    assert rest.ask("POST", "/v1/models/tiny:predict", headers={"Content-Length": "-5"})[0] == 400


def test_rest_a_client_that_leaves_does_no_harm(rest):
    with socket.create_connection((rest.host, rest.port)) as connection:
        connection.sendall(b"POST /v1/models/tiny:predict HTTP/1.1\r\nContent-Length: 1000\r\n\r\n{")
    with socket.create_connection((rest.host, rest.port)) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        assert b"400" in connection.recv(1000)


def test_long_strings_are_answered(client, exported):
    texts = ["good " * 200_000, "bad", "x" * 1_000_000]
    np.testing.assert_allclose(client.predict(texts)["logits"], exported.answers(texts)["logits"], atol=1e-6)


def test_bytes_that_are_not_utf8_are_answered(client, exported):
    expected = exported.answers(["good \ufffd film"])["logits"]
    np.testing.assert_allclose(client.predict([b"good \xff film"])["logits"], expected, atol=1e-6)


def test_nul_characters_are_answered(client, exported):
    texts = ["good\0film\0", "\0"]
    # A batch of one shape is not computed as one of another: equal to rounding.
    np.testing.assert_allclose(client.predict(texts)["logits"], exported.answers(texts)["logits"], atol=1e-5)


def test_ten_thousand_strings_are_answered_in_batches(client, exported):
    outputs = client.predict([*["good film"] * 9_999, "bad"])
    assert outputs["logits"].shape == (10_000, 2)
    np.testing.assert_allclose(outputs["logits"][[0, -1]], exported.answers(GOOD)["logits"], atol=1e-5)


# --- Versions ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """The same model with other weights."""
    return make_exported(tmp_path_factory.mktemp("second") / "1", seed=6)


def states(server) -> dict[int, str]:
    return {status.version: status.state_name for status in server.manager.statuses()}


def test_a_new_version_takes_over_without_a_gap(exported, second, tmp_path):
    publish(exported.path, tmp_path, 1)
    old, new = (each.answers(GOOD)["logits"] for each in (exported, second))
    answers, failures, done = [], [], threading.Event()

    def ask(client):
        while not done.is_set():
            try:
                answers.append(client.predict(GOOD)["logits"])
            except Exception as error:
                failures.append(error)

    with ModelServer(tmp_path, "tiny", poll_seconds=0.05) as server:
        clients = [GrpcClient(server.grpc_address, "tiny"), RestClient(server.rest_url, "tiny")]
        threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(answers) > 3, "an answer")
        publish(second.path, tmp_path, 2)
        wait_for(lambda: states(server) == {1: "END", 2: "AVAILABLE"}, "the switch")
        seen = len(answers)
        wait_for(lambda: len(answers) > seen + 6, "an answer of the new version")
        done.set()
        for thread in threads:
            thread.join()
        np.testing.assert_allclose(clients[0].predict(GOOD)["logits"], new, atol=1e-6)
    assert failures == []
    assert all(np.allclose(answer, old, atol=1e-5) or np.allclose(answer, new, atol=1e-5) for answer in answers)
    assert np.allclose(answers[0], old, atol=1e-5)


def test_a_broken_version_is_reported_and_the_old_one_serves_on(exported, second, tmp_path):
    publish(exported.path, tmp_path, 1)
    with ModelServer(tmp_path, "tiny", poll_seconds=0.05) as server, GrpcClient(server.grpc_address, "tiny") as client:
        broken = publish(second.path, tmp_path, 2, broken=True)
        wait_for(lambda: states(server).get(2) == "END", "the report")
        assert states(server)[1] == "AVAILABLE"
        (report,) = [status for status in client.status() if status.version == 2]
        assert report.code != Code.OK
        assert report.message
        np.testing.assert_allclose(client.predict(GOOD)["logits"], exported.answers(GOOD)["logits"], atol=1e-6)
        with pytest.raises(StatusError, match="Servable not found"):
            GrpcClient(server.grpc_address, "tiny", version=2).predict(GOOD)

        data = next((second.path / "variables").glob("*.data-*"))
        (broken / "variables" / data.name).write_bytes(data.read_bytes())
        wait_for(lambda: states(server).get(2) == "AVAILABLE", "the mended version")
        np.testing.assert_allclose(client.predict(GOOD)["logits"], second.answers(GOOD)["logits"], atol=1e-6)


def test_a_version_whose_warmup_fails_does_not_serve(exported, tmp_path):
    publish(exported.path, tmp_path, 1)
    bad = publish(exported.path, tmp_path, 2)
    write_recorded(bad / WARMUP_FILE, [Recorded({"words": GOOD})])
    with ModelServer(tmp_path, "tiny") as server:
        assert states(server) == {1: "AVAILABLE", 2: "END"}


def test_what_is_no_whole_version_is_left_alone(exported, tmp_path):
    publish(exported.path, tmp_path, 1)
    (tmp_path / "2" / "variables").mkdir(parents=True)
    (tmp_path / ".3.partial-x").mkdir()
    (tmp_path / "notes.txt").touch()
    with ModelServer(tmp_path, "tiny") as server:
        assert states(server) == {1: "AVAILABLE"}


def test_removing_the_newest_version_goes_back_to_the_one_before(exported, second, tmp_path):
    publish(exported.path, tmp_path, 1)
    newest = publish(second.path, tmp_path, 2)
    with ModelServer(tmp_path, "tiny", poll_seconds=0.05) as server, GrpcClient(server.grpc_address, "tiny") as client:
        np.testing.assert_allclose(client.predict(GOOD)["logits"], second.answers(GOOD)["logits"], atol=1e-6)
        newest.rename(tmp_path / "withdrawn")
        wait_for(lambda: states(server) == {1: "AVAILABLE", 2: "END"}, "the way back")
        np.testing.assert_allclose(client.predict(GOOD)["logits"], exported.answers(GOOD)["logits"], atol=1e-6)
        (tmp_path / "1").rename(tmp_path / "also-withdrawn")
        time.sleep(0.3)
        assert states(server)[1] == "AVAILABLE"


@pytest.mark.parametrize("kind", [GrpcClient, RestClient])
def test_labels_and_versions_choose_a_model(exported, second, tmp_path, kind):
    publish(exported.path, tmp_path, 1)
    publish(second.path, tmp_path, 2)
    with ModelServer(tmp_path, "tiny", labels={"stable": 1, "canary": 2}) as server:
        address = server.grpc_address if kind is GrpcClient else server.rest_url
        assert states(server) == {1: "AVAILABLE", 2: "AVAILABLE"}
        for choice, each in [
            ({"label": "stable"}, exported),
            ({"label": "canary"}, second),
            ({"version": 1}, exported),
            ({}, second),
        ]:
            with kind(address, "tiny", **choice) as client:
                np.testing.assert_allclose(client.predict(GOOD)["logits"], each.answers(GOOD)["logits"], atol=1e-6)


def test_a_folder_without_a_servable_version_is_the_users_mistake(exported, tmp_path):
    with pytest.raises(UserError, match="is not a folder"):
        ModelServer(tmp_path / "nowhere").start()
    with pytest.raises(UserError, match="holds no exported version"):
        ModelServer(tmp_path).start()
    publish(exported.path, tmp_path, 1, broken=True)
    with pytest.raises(UserError, match=r"No version in .* can be served\. version 1: "):
        ModelServer(tmp_path).start()


def test_taken_ports_are_the_users_mistake(server, exported):
    with pytest.raises(UserError, match="choose another --port"):
        ModelServer(exported.path.parent, grpc_port=server.grpc_port).start()
    with pytest.raises(UserError, match="choose another --rest-port"):
        ModelServer(exported.path.parent, rest_port=server.rest_port).start()


def test_the_server_listens_on_loopback_alone(server):
    assert server.grpc_address.startswith("127.0.0.1:")
    assert server.rest_url.startswith("http://127.0.0.1:")
