"""The configuration for the real server, read back with the official messages."""

import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from serving import write_serving_config
from serving.protos import model_server_config_pb2
from serving.tfserving import allowed_batch_sizes
from tfmodels.errors import UserError


def _official(package: str, messages: dict[str, dict[str, tuple]], root: str):
    """A message of TensorFlow Serving whose stubs pip does not ship, from its fields' official numbers and types.

    Args:
        package: A name for the file of descriptors.
        messages: Message -> field -> (number, type, "repeated" or "").
        root: The message to return.
    """
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field, (number, kind, repeated) in fields.items():
            added = message.field.add(name=field, number=number, label=3 if repeated else 1)
            if kind.startswith("."):
                added.type, added.type_name = added.TYPE_MESSAGE, kind
            else:
                added.type = getattr(added, f"TYPE_{kind}")
    pool = descriptor_pool.Default()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    descriptor = pool.FindMessageTypeByName(f"{package}.{root}")
    if hasattr(message_factory, "GetMessageClass"):
        return message_factory.GetMessageClass(descriptor)
    return message_factory.MessageFactory(pool).GetPrototype(descriptor)


@pytest.fixture(scope="module")
def batching_parameters():
    """`tensorflow.serving.BatchingParameters` of session_bundle_config.proto."""
    number = ".google.protobuf.Int64Value"
    fields = {
        "max_batch_size": (1, number, ""),
        "batch_timeout_micros": (2, number, ""),
        "max_enqueued_batches": (3, number, ""),
        "num_batch_threads": (4, number, ""),
        "allowed_batch_sizes": (6, "INT64", "repeated"),
        "pad_variable_length_inputs": (7, "BOOL", ""),
    }
    return _official("tfmodels_test_batching", {"BatchingParameters": fields}, "BatchingParameters")


@pytest.fixture(scope="module")
def monitoring_config():
    """`tensorflow.serving.MonitoringConfig` of monitoring_config.proto."""
    messages = {
        "PrometheusConfig": {"enable": (1, "BOOL", ""), "path": (2, "STRING", "")},
        "MonitoringConfig": {"prometheus_config": (1, ".tfmodels_test_monitoring.PrometheusConfig", "")},
    }
    return _official("tfmodels_test_monitoring", messages, "MonitoringConfig")


def read_models_config(folder):
    text = (folder / "models.config").read_text()
    (model,) = text_format.Parse(text, model_server_config_pb2.ModelServerConfig()).model_config_list.config
    return model


def test_the_newest_versions_are_served(tmp_path):
    model = read_models_config(write_serving_config(tmp_path / "config", name="reviews", num_versions=2))
    assert (model.name, model.base_path, model.model_platform) == ("reviews", "/models/reviews", "tensorflow")
    assert model.model_version_policy.latest.num_versions == 2


def test_labels_choose_the_versions_that_are_served(tmp_path):
    folder = write_serving_config(tmp_path / "config", name="reviews", labels={"stable": 3, "canary": 4})
    model = read_models_config(folder)
    assert dict(model.version_labels) == {"stable": 3, "canary": 4}
    assert list(model.model_version_policy.specific.versions) == [3, 4]
    compose = yaml.safe_load((folder / "docker-compose.yaml").read_text())["services"]["tensorflow-serving"]
    assert "--allow_version_labels_for_unavailable_models=true" in compose["command"]


@pytest.mark.parametrize("size", [1, 2, 3, 24, 32, 100])
def test_batching_ends_at_the_largest_batch(tmp_path, batching_parameters, size):
    folder = write_serving_config(tmp_path / "config", name="reviews", max_batch_size=size, cpus=4)
    parameters = text_format.Parse((folder / "batching_parameters.txt").read_text(), batching_parameters())
    sizes = list(parameters.allowed_batch_sizes)
    assert sizes == sorted(set(sizes)) == allowed_batch_sizes(size)
    assert sizes[-1] == parameters.max_batch_size.value == size
    assert parameters.num_batch_threads.value == 4
    assert not parameters.pad_variable_length_inputs


def test_metrics_are_on(tmp_path, monitoring_config):
    folder = write_serving_config(tmp_path / "config", name="reviews")
    config = text_format.Parse((folder / "monitoring.config").read_text(), monitoring_config())
    assert config.prometheus_config.enable
    assert config.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_compose_bounds_the_server(tmp_path):
    folder = write_serving_config(tmp_path / "config", name="reviews", image="registry/serving:1", memory_mib=512)
    service = yaml.safe_load((folder / "docker-compose.yaml").read_text())["services"]["tensorflow-serving"]
    assert service["image"] == "registry/serving:1"
    assert service["mem_limit"] == "512m"
    assert service["read_only"] is True
    assert service["user"] == "65534:65534"
    assert service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert all(volume["read_only"] for volume in service["volumes"])
    assert "--model_config_file=/config/models.config" in service["command"]
    probe = service["healthcheck"]["test"][-1]
    assert "GET /v1/models/reviews HTTP/1.0\\r\\n" in probe


def test_kubernetes_bounds_the_server(tmp_path):
    folder = write_serving_config(tmp_path / "config", name="reviews", replicas=3, cpus=4, memory_mib=1024)
    config, deployment, service = yaml.safe_load_all((folder / "kubernetes.yaml").read_text())
    for name in ("models.config", "batching_parameters.txt", "monitoring.config"):
        assert config["data"][name].strip() == (folder / name).read_text().strip()
    spec = deployment["spec"]
    assert spec["replicas"] == 3
    pod = spec["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "1024Mi"}
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/v1/models/reviews", "port": "rest"}
    assert "livenessProbe" in container
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    labels = spec["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == spec["selector"]["matchLabels"] == labels
    assert [port["port"] for port in service["spec"]["ports"]] == [8500, 8501]


@pytest.mark.parametrize(
    "options",
    [
        {"name": "Reviews of films"},
        {"name": "reviews/../../etc"},
        {"name": "reviews", "max_batch_size": 0},
        {"name": "reviews", "image": 'x"\n  privileged: true'},
        {"name": "reviews", "rest_port": 8500},
    ],
)
def test_what_the_server_would_refuse_is_refused_here(tmp_path, options):
    with pytest.raises(UserError):
        write_serving_config(tmp_path / "config", **options)
    assert list(tmp_path.iterdir()) == []
