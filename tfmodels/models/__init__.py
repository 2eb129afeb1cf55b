"""Backbones, one file a family, and the tasks that every family shares."""

from tfmodels.models.backbone import Backbone
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Config, Preset
from tfmodels.models.tasks import MaskedLM, SpanClassifier, Task, TextClassifier, TextEmbedder, TokenClassifier

__all__ = [
    "Backbone",
    "BertBackbone",
    "BertConfig",
    "Config",
    "MaskedLM",
    "Preset",
    "SpanClassifier",
    "Task",
    "TextClassifier",
    "TextEmbedder",
    "TokenClassifier",
]
