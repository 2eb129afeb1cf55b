"""The same exports, configuration and clients on the real `tensorflow_model_server`, where one can be had."""

import shutil
import socket
import subprocess
import time
import uuid

import numpy as np
import pytest

from serving import GrpcClient, RestClient, write_serving_config
from serving.tfserving import DEFAULT_IMAGE
from tests.serving.support import publish
from tfmodels.errors import UserError

BINARY = shutil.which("tensorflow_model_server")


def _docker_answers() -> bool:
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=False).returncode == 0


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.fixture(scope="module")
def real_server(exported, tmp_path_factory):
    """Runs the real server on the generated configuration; gives (gRPC address, REST URL)."""
    if not BINARY and not _docker_answers():
        pytest.skip("there is neither a tensorflow_model_server binary nor a docker engine that answers")
    root = tmp_path_factory.mktemp("real")
    publish(exported.path, root / "models" / "tiny", 1)
    grpc_port, rest_port = _free_ports(2)
    config = write_serving_config(root / "config", name="tiny", grpc_port=grpc_port, rest_port=rest_port)
    container = f"tfmodels-test-{uuid.uuid4().hex[:8]}"
    if BINARY:
        command = [
            BINARY,
            f"--port={grpc_port}",
            f"--rest_api_port={rest_port}",
            "--model_name=tiny",
            f"--model_base_path={root / 'models' / 'tiny'}",
            "--enable_batching=true",
            f"--batching_parameters_file={config / 'batching_parameters.txt'}",
            f"--monitoring_config_file={config / 'monitoring.config'}",
        ]
    else:
        command = ["docker", "run", "--rm", "--name", container, "--read-only", "--tmpfs", "/tmp", "--user", "65534"]
        command += ["--cap-drop", "ALL", "-v", f"{root / 'models'}:/models:ro", "-v", f"{config}:/config:ro"]
        command += ["-p", f"127.0.0.1:{grpc_port}:{grpc_port}", "-p", f"127.0.0.1:{rest_port}:{rest_port}"]
        command += ["--entrypoint", "tensorflow_model_server", DEFAULT_IMAGE]
        command += [f"--port={grpc_port}", f"--rest_api_port={rest_port}", "--enable_batching=true"]
        command += ["--model_config_file=/config/models.config", "--monitoring_config_file=/config/monitoring.config"]
        command += ["--batching_parameters_file=/config/batching_parameters.txt"]
    log = root / "log"
    with open(log, "wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    try:
        _wait(f"http://127.0.0.1:{rest_port}", process, log)
        yield f"127.0.0.1:{grpc_port}", f"http://127.0.0.1:{rest_port}"
    finally:
        if not BINARY:
            subprocess.run(["docker", "kill", container], capture_output=True, check=False)
        process.kill()
        process.wait()


def _wait(url: str, process: subprocess.Popen, log):
    deadline = time.monotonic() + 300
    while True:
        try:
            RestClient(url, "tiny").status()
            return
        except UserError:
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline, "tensorflow_model_server did not come up within 300 s"
            time.sleep(1)


@pytest.mark.parametrize("kind", [GrpcClient, RestClient])
def test_the_real_server_answers_as_the_keras_model_does(real_server, exported, kind):
    texts = ["good film", "bad", "", "\u4e0d\u9519", b"good \xff film"]
    client = kind(real_server[kind is RestClient], "tiny")
    (status,) = client.status()
    assert (status.version, status.state_name) == (1, "AVAILABLE")
    assert str(client.metadata().inputs["text"]) == "string[None]"
    for name, expected in exported.answers(texts).items():
        np.testing.assert_allclose(client.predict(texts)[name], expected, atol=1e-5)
    assert client.predict(["good"] * 1000)["logits"].shape == (1000, 2)
