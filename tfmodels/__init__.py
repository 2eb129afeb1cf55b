"""Keras 3 layers and models of NLP and deep learning, with distillation, TFX pipelines and TensorFlow Serving.

Rooms load on entry: importing the package imports neither Keras nor TensorFlow.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "list_models": "tfmodels.registry",
    "create_model": "tfmodels.registry",
    "describe_model": "tfmodels.registry",
    "from_hf": "tfmodels.interop",
    "to_hf": "tfmodels.interop",
    "UserError": "tfmodels.errors",
}
_ROOMS = (
    "datasets",
    "distillation",
    "interop",
    "layers",
    "metrics",
    "models",
    "objectives",
    "ops",
    "text",
    "training",
)

__all__ = ["__version__", *_HOMES, *_ROOMS]


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return import_module(f"tfmodels.{name}")
    raise AttributeError(f"module 'tfmodels' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
