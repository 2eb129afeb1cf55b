"""Backbones, one file a family, and the tasks that every family shares."""

from tfmodels.models.albert import AlbertBackbone, AlbertConfig
from tfmodels.models.awd_lstm import AwdLSTMBackbone, AwdLSTMConfig, TiedLM
from tfmodels.models.backbone import Backbone
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.bilstm import BilstmBackbone, BilstmConfig
from tfmodels.models.config import Config, Preset
from tfmodels.models.electra import ElectraBackbone, ElectraConfig
from tfmodels.models.ernie import ErnieBackbone, ErnieConfig
from tfmodels.models.nezha import NezhaBackbone, NezhaConfig
from tfmodels.models.roberta import RobertaBackbone, RobertaConfig
from tfmodels.models.tasks import (
    MaskedLM,
    PairClassifier,
    PairedMaskedLM,
    ReplacedTokenDetector,
    SpanClassifier,
    TableClassifier,
    Task,
    TextClassifier,
    TextEmbedder,
    TokenClassifier,
)
from tfmodels.models.transformer_xl import AdaptiveLM, TransformerXLBackbone, TransformerXLConfig
from tfmodels.models.xlnet import PermutationLM, XLNetBackbone, XLNetConfig

__all__ = [
    "AdaptiveLM",
    "AlbertBackbone",
    "AlbertConfig",
    "AwdLSTMBackbone",
    "AwdLSTMConfig",
    "Backbone",
    "BertBackbone",
    "BertConfig",
    "BilstmBackbone",
    "BilstmConfig",
    "Config",
    "ElectraBackbone",
    "ElectraConfig",
    "ErnieBackbone",
    "ErnieConfig",
    "MaskedLM",
    "NezhaBackbone",
    "NezhaConfig",
    "PairClassifier",
    "PairedMaskedLM",
    "PermutationLM",
    "Preset",
    "ReplacedTokenDetector",
    "RobertaBackbone",
    "RobertaConfig",
    "SpanClassifier",
    "TableClassifier",
    "Task",
    "TextClassifier",
    "TextEmbedder",
    "TiedLM",
    "TokenClassifier",
    "TransformerXLBackbone",
    "TransformerXLConfig",
    "XLNetBackbone",
    "XLNetConfig",
]
