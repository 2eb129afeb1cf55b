"""Export, prove and serve: SavedModels for TensorFlow Serving.

The names load on first use, so that the gate's process and the client's commands import no TensorFlow.
"""

from importlib import import_module

_HOMES = {
    "GateReport": "serving.gate",
    "GrpcClient": "serving.client",
    "ModelServer": "serving.server",
    "RestClient": "serving.client",
    "SavedModel": "serving.loader",
    "StatusError": "serving.status",
    "check_savedmodel": "serving.gate",
    "export_savedmodel": "serving.export",
    "keras_reference": "serving.export",
    "write_serving_config": "serving.tfserving",
}

__all__ = [
    "GateReport",
    "GrpcClient",
    "ModelServer",
    "RestClient",
    "SavedModel",
    "StatusError",
    "check_savedmodel",
    "export_savedmodel",
    "keras_reference",
    "write_serving_config",
]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__():
    return __all__
