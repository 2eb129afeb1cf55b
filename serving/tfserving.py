"""Configuration for the real server, `tensorflow_model_server`: its own files, a compose file, a Kubernetes manifest.

Whatever is written here starts the server on the versions that this library exports, with nothing changed in a client.
Texts are padded in the graph, so `pad_variable_length_inputs` stays off: it would pad token ids with the first one.
"""

import os
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format

from serving.protos import model_server_config_pb2
from tfmodels.errors import UserError
from tfmodels.files import atomic_directory

DEFAULT_IMAGE = "tensorflow/serving:2.16.1"
METRICS_PATH = "/monitoring/prometheus/metrics"

# The name stands in URLs, file names and Kubernetes objects: what all of them allow.
_NAME = re.compile(r"[a-z]([-a-z0-9]{0,40}[a-z0-9])?")


def write_serving_config(
    directory: str | os.PathLike,
    *,
    name: str,
    labels: Mapping[str, int] | None = None,
    num_versions: int = 1,
    max_batch_size: int = 32,
    batch_timeout_micros: int = 2000,
    max_enqueued_batches: int = 100,
    cpus: int = 2,
    memory_mib: int = 2048,
    replicas: int = 1,
    image: str = DEFAULT_IMAGE,
    models: str = "./models",
    volume_claim: str = "models",
    grpc_port: int = 8500,
    rest_port: int = 8501,
    overwrite: bool = False,
) -> Path:
    """Writes a folder of configuration.

    The folder gets `models.config`, `batching_parameters.txt`, `monitoring.config`, `docker-compose.yaml` and
    `kubernetes.yaml`. The server runs as nobody, with a read-only file system, no privileges and bounded resources.

    Args:
        directory: The folder to make.
        name: The model's name in requests: lower-case letters, digits and dashes.
        labels: Label -> version, such as {"stable": 3, "canary": 4}; the server then serves just these versions.
        num_versions: Without labels, how many of the newest versions to serve.
        max_batch_size: The largest batch that the server forms of single requests.
        batch_timeout_micros: How long a request may wait for others, in microseconds.
        max_enqueued_batches: How many batches may wait; requests beyond are refused as UNAVAILABLE.
        cpus: Processors, which is also how many batches run at a time.
        memory_mib: The server's memory, in MiB.
        replicas: Pods in Kubernetes.
        image: The server's container image. Pin it by digest in production.
        models: For compose, the folder on this machine that holds `NAME/<version>/`.
        volume_claim: For Kubernetes, the claim of the volume that holds `NAME/<version>/`.
        grpc_port: The port for gRPC.
        rest_port: The port for REST and for metrics.
        overwrite: Replace `directory` if it exists.

    Returns:
        The path of `directory`.

    Raises:
        UserError: A value that the server would refuse.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            f"{name!r} cannot be a model's name: use lower-case letters, digits and dashes, like 'reviews'."
        )
    for what, value in {
        "max_batch_size": max_batch_size,
        "max_enqueued_batches": max_enqueued_batches,
        "num_versions": num_versions,
        "cpus": cpus,
        "memory_mib": memory_mib,
        "replicas": replicas,
    }.items():
        if value < 1:
            raise UserError(f"{what} must be at least 1, not {value}.")
    for value in (image, models, volume_claim):
        if not value or any(character in value for character in "\"'\n\\") or value != value.strip():
            raise UserError(f"{value!r} cannot stand in the configuration: remove quotes, line breaks and backslashes.")
    if grpc_port == rest_port:
        raise UserError("gRPC and REST need two different ports.")
    server_files = {
        "models.config": _models_config(name, labels or {}, num_versions),
        "batching_parameters.txt": _batching(max_batch_size, batch_timeout_micros, max_enqueued_batches, cpus),
        "monitoring.config": _monitoring(),
    }
    settings = {
        "name": name,
        "image": image,
        "models": models,
        "claim": volume_claim,
        "cpus": cpus,
        "memory": memory_mib,
        "replicas": replicas,
        "grpc_port": grpc_port,
        "rest_port": rest_port,
        "metrics": METRICS_PATH,
        # The server reads these files again when they change: labels move from version to version without a restart.
        "flags": _flags(grpc_port, rest_port, bool(labels)),
        "files": server_files,
    }
    with atomic_directory(directory, overwrite=overwrite) as partial:
        for file, content in server_files.items():
            (partial / file).write_text(content, encoding="utf-8")
        (partial / "docker-compose.yaml").write_text(_compose(**settings), encoding="utf-8")
        (partial / "kubernetes.yaml").write_text(_kubernetes(**settings), encoding="utf-8")
    return Path(directory)


def allowed_batch_sizes(max_batch_size: int) -> list[int]:
    """Powers of two up to the largest batch, which the server wants last: few shapes to warm up, little padding.

    Example:
        >>> allowed_batch_sizes(24)
        [1, 2, 4, 8, 16, 24]
    """
    sizes = [1]
    while sizes[-1] * 2 < max_batch_size:
        sizes.append(sizes[-1] * 2)
    return sizes if sizes[-1] == max_batch_size else [*sizes, max_batch_size]


def _models_config(name: str, labels: Mapping[str, int], num_versions: int) -> str:
    config = model_server_config_pb2.ModelServerConfig()
    model = config.model_config_list.config.add(name=name, base_path=f"/models/{name}", model_platform="tensorflow")
    if labels:
        # A label may only point to a version that is served, so these are served and no other.
        model.model_version_policy.specific.versions.extend(sorted(set(labels.values())))
        for label, version in sorted(labels.items()):
            model.version_labels[label] = version
    else:
        model.model_version_policy.latest.num_versions = num_versions
    return text_format.MessageToString(config)


def _batching(max_batch_size: int, timeout: int, enqueued: int, cpus: int) -> str:
    sizes = "".join(f"allowed_batch_sizes: {size}\n" for size in allowed_batch_sizes(max_batch_size))
    return (
        f"max_batch_size {{ value: {max_batch_size} }}\n"
        f"batch_timeout_micros {{ value: {timeout} }}\n"
        f"max_enqueued_batches {{ value: {enqueued} }}\n"
        f"num_batch_threads {{ value: {cpus} }}\n"
        f"{sizes}"
    )


def _monitoring() -> str:
    return f'prometheus_config {{\n  enable: true\n  path: "{METRICS_PATH}"\n}}\n'


def _flags(grpc_port: int, rest_port: int, labels: bool) -> list[str]:
    flags = [
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        "--model_config_file=/config/models.config",
        "--model_config_file_poll_wait_seconds=30",
        "--enable_batching=true",
        "--batching_parameters_file=/config/batching_parameters.txt",
        "--monitoring_config_file=/config/monitoring.config",
    ]
    # At the start no version is available yet for a label to point to.
    return [*flags, "--allow_version_labels_for_unavailable_models=true"] if labels else flags


def _yaml_list(items, indent: int) -> str:
    return "\n".join(f"{' ' * indent}- {item}" for item in items)


def _compose(*, name, image, models, cpus, memory, grpc_port, rest_port, flags, **_) -> str:
    # The image has no curl; bash can speak enough HTTP to ask for the status.
    probe = (
        f"exec 3<>/dev/tcp/127.0.0.1/{rest_port}; "
        f"printf 'GET /v1/models/{name} HTTP/1.0\\\\r\\\\n\\\\r\\\\n' >&3; grep -q AVAILABLE <&3"
    )
    return f"""\
# TensorFlow Serving for the model {name}: `docker compose up`, then
#   curl -d '{{"instances": ["Good."]}}' http://127.0.0.1:{rest_port}/v1/models/{name}:predict
# The versions stand in {models}/{name}/<version>/. The ports are bound to this machine alone.
services:
  tensorflow-serving:
    image: "{image}"
    entrypoint: ["tensorflow_model_server"]
    command:
{_yaml_list(flags, 6)}
    ports:
      - "127.0.0.1:{grpc_port}:{grpc_port}"
      - "127.0.0.1:{rest_port}:{rest_port}"
    volumes:
      - type: bind
        source: "{models}"
        target: /models
        read_only: true
      - type: bind
        source: .
        target: /config
        read_only: true
    user: "65534:65534"
    read_only: true
    tmpfs: [/tmp]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    cpus: {cpus}
    mem_limit: {memory}m
    pids_limit: 512
    restart: unless-stopped
    healthcheck:
      test: ["CMD", "bash", "-c", "{probe}"]
      interval: 10s
      timeout: 5s
      retries: 3
      start_period: 60s
"""


def _kubernetes(*, name, image, claim, cpus, memory, replicas, grpc_port, rest_port, metrics, flags, files, **_) -> str:
    config = "\n".join(f"  {file}: |\n{textwrap.indent(content.rstrip(), '    ')}" for file, content in files.items())
    return f"""\
# TensorFlow Serving for the model {name}: `kubectl apply -f kubernetes.yaml`.
# The volume behind the claim {claim} holds {name}/<version>/.
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}-serving
  labels: {{app: {name}-serving}}
data:
{config}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}-serving
  labels: {{app: {name}-serving}}
spec:
  replicas: {replicas}
  selector:
    matchLabels: {{app: {name}-serving}}
  template:
    metadata:
      labels: {{app: {name}-serving}}
      annotations:
        prometheus.io/scrape: "true"
        prometheus.io/port: "{rest_port}"
        prometheus.io/path: {metrics}
    spec:
      automountServiceAccountToken: false
      securityContext:
        runAsNonRoot: true
        runAsUser: 65534
        runAsGroup: 65534
        seccompProfile: {{type: RuntimeDefault}}
      containers:
        - name: tensorflow-serving
          image: "{image}"
          command: [tensorflow_model_server]
          args:
{_yaml_list(flags, 12)}
          ports:
            - {{name: grpc, containerPort: {grpc_port}}}
            - {{name: rest, containerPort: {rest_port}}}
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {{drop: [ALL]}}
          resources:
            requests: {{cpu: "{cpus}", memory: {memory}Mi}}
            limits: {{cpu: "{cpus}", memory: {memory}Mi}}
          # The REST port opens when all models are loaded and warm.
          startupProbe:
            httpGet: {{path: /v1/models/{name}, port: rest}}
            periodSeconds: 5
            failureThreshold: 60
          readinessProbe:
            httpGet: {{path: /v1/models/{name}, port: rest}}
            periodSeconds: 5
          livenessProbe:
            tcpSocket: {{port: grpc}}
            periodSeconds: 10
            failureThreshold: 6
          volumeMounts:
            - {{name: models, mountPath: /models, readOnly: true}}
            - {{name: config, mountPath: /config, readOnly: true}}
            - {{name: tmp, mountPath: /tmp}}
      volumes:
        - name: models
          persistentVolumeClaim: {{claimName: "{claim}", readOnly: true}}
        - name: config
          configMap: {{name: {name}-serving}}
        - name: tmp
          emptyDir: {{sizeLimit: 64Mi}}
---
apiVersion: v1
kind: Service
metadata:
  name: {name}-serving
  labels: {{app: {name}-serving}}
spec:
  selector: {{app: {name}-serving}}
  ports:
    - {{name: grpc, port: {grpc_port}, targetPort: grpc}}
    - {{name: rest, port: {rest_port}, targetPort: rest}}
"""
