"""Backbones, one file a family, and the tasks that every family shares."""

from tfmodels.models.albert import AlbertBackbone, AlbertConfig
from tfmodels.models.attention import AttentionKind, FullAttention, Guide
from tfmodels.models.awd_lstm import AwdLSTMBackbone, AwdLSTMConfig, TiedLM
from tfmodels.models.backbone import Backbone
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.bigbird import BigBirdAttention, BigBirdBackbone, BigBirdConfig
from tfmodels.models.bilstm import BilstmBackbone, BilstmConfig
from tfmodels.models.bp_transformer import BinaryPartition, BPTransformerBackbone, BPTransformerConfig
from tfmodels.models.config import Config, Preset
from tfmodels.models.da_transformer import DATransformerBackbone, DATransformerConfig
from tfmodels.models.electra import ElectraBackbone, ElectraConfig
from tfmodels.models.ernie import ErnieBackbone, ErnieConfig
from tfmodels.models.etc import ETCAttention, ETCBackbone, ETCConfig
from tfmodels.models.external import External
from tfmodels.models.feed_forward_only import FeedForwardOnly
from tfmodels.models.knowledge import KnowledgeEncoder
from tfmodels.models.linformer import Linformer
from tfmodels.models.low_rank import LowRank
from tfmodels.models.multi_scale import MultiScale, MultiScaleBackbone, MultiScaleConfig
from tfmodels.models.nezha import NezhaBackbone, NezhaConfig
from tfmodels.models.reformer import (
    LocalAttention,
    LSHAttention,
    ReformerBackbone,
    ReformerConfig,
    ReformerLM,
    ReformerMaskedLM,
)
from tfmodels.models.roberta import RobertaBackbone, RobertaConfig
from tfmodels.models.routing import Routing
from tfmodels.models.set_transformer import InducedSetAttention, SetTransformerBackbone, SetTransformerConfig
from tfmodels.models.star_transformer import Star, StarTransformerBackbone, StarTransformerConfig
from tfmodels.models.tasks import (
    CausalLM,
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
    "AttentionKind",
    "AwdLSTMBackbone",
    "AwdLSTMConfig",
    "BPTransformerBackbone",
    "BPTransformerConfig",
    "Backbone",
    "BertBackbone",
    "BertConfig",
    "BigBirdAttention",
    "BigBirdBackbone",
    "BigBirdConfig",
    "BilstmBackbone",
    "BilstmConfig",
    "BinaryPartition",
    "CausalLM",
    "Config",
    "DATransformerBackbone",
    "DATransformerConfig",
    "ETCAttention",
    "ETCBackbone",
    "ETCConfig",
    "ElectraBackbone",
    "ElectraConfig",
    "ErnieBackbone",
    "ErnieConfig",
    "External",
    "FeedForwardOnly",
    "FullAttention",
    "Guide",
    "InducedSetAttention",
    "KnowledgeEncoder",
    "LSHAttention",
    "Linformer",
    "LocalAttention",
    "LowRank",
    "MaskedLM",
    "MultiScale",
    "MultiScaleBackbone",
    "MultiScaleConfig",
    "NezhaBackbone",
    "NezhaConfig",
    "PairClassifier",
    "PairedMaskedLM",
    "PermutationLM",
    "Preset",
    "ReformerBackbone",
    "ReformerConfig",
    "ReformerLM",
    "ReformerMaskedLM",
    "ReplacedTokenDetector",
    "RobertaBackbone",
    "RobertaConfig",
    "Routing",
    "SetTransformerBackbone",
    "SetTransformerConfig",
    "SpanClassifier",
    "Star",
    "StarTransformerBackbone",
    "StarTransformerConfig",
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
