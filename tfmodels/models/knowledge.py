"""ERNIE of Tsinghua: an encoder that reads the entities of a knowledge graph with the text (arXiv:1905.07129).

The lower layers are a BERT's (the paper's T-Encoder). In the upper ones, its K-Encoder, every layer of the BERT becomes
an `Aggregator`: entities attend to each other, and each is fused with the first token that names it. Their vectors come
from the graph, such as TransE's, and stay as they are. `entities` tells which ones a text names, by numbers from 1 at
those first tokens and 0 elsewhere; a text without any is encoded as the BERT itself encodes it.

    knowledge = KnowledgeEncoder(tfmodels.create_model("bert_base"), num_entities=len(vectors))
    knowledge.set_entities(vectors)
    objectives = [MaskedLanguageModel(), NextSentence(), EntityAlignment(knowledge.entities)]
    pretrainer = Pretrainer(knowledge.backbone, objectives, knowledge=knowledge)

Differences from the paper: see `Aggregator`. The released code fuses in seven layers, the first without attention
between entities; here they are the paper's six.

Cost: BERT's, and for each aggregator O(T F E + T^2 E) time and 2 F E + 4 E^2 weights, a tenth of a layer of BERT-base.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from tfmodels.errors import UserError
from tfmodels.layers.base import check_whole
from tfmodels.layers.block import TransformerBlock
from tfmodels.layers.entities import Aggregator, EntityEmbedding
from tfmodels.layers.feedforward import FeedForward
from tfmodels.models.backbone import TokenModel, token_inputs
from tfmodels.models.bert import BertBackbone


@keras.saving.register_keras_serializable("tfmodels")
class KnowledgeEncoder(TokenModel):
    """A BERT that reads entities, on the BERT's own layers and weights.

    Args:
        backbone: An encoder of BERT's kind, with random weights or trained ones.
        num_entities: The number of entities of the graph.
        entity_dim: E.
        num_aggregators: The upper layers that read entities; half of the layers by default.
        num_heads: Heads of the attention between entities.
        name: The model's name.

    Call arguments:
        inputs: Those of the backbone, and `entities` int32[B, T]: the number of the entity that a mention names at its
            first token, from 1, and 0 at all others.

    Returns:
        `sequence_output` float[B, T, D] and `pooled_output` float[B, D] as from the backbone, and `entity_output`
        float[B, T, E], zeros where there is no entity.

    Raises:
        UserError: The backbone's layers are not of BERT's kind, or the sizes do not fit.

    Example:
    >>> import tfmodels
    >>> from tfmodels.models import KnowledgeEncoder
    >>> bert = tfmodels.create_model("bert_tiny", vocabulary_size=100)
    >>> knowledge = KnowledgeEncoder(bert, num_entities=7, entity_dim=8, num_heads=2)
    >>> sorted(knowledge.input), tuple(knowledge.entities.vectors.shape)
    (['entities', 'padding_mask', 'segment_ids', 'token_ids'], (7, 8))
    """

    def __init__(self, backbone, num_entities, entity_dim=100, num_aggregators=None, num_heads=4, name=None):
        blocks = _blocks_of(backbone)
        count = max(1, len(blocks) // 2) if num_aggregators is None else num_aggregators
        check_whole(1, num_entities=num_entities, entity_dim=entity_dim, num_heads=num_heads, num_aggregators=count)
        if count > len(blocks):
            raise UserError(f"num_aggregators={count}, but the encoder has {len(blocks)} layers: choose fewer.")
        if entity_dim % num_heads:
            raise UserError(f"num_heads={num_heads} does not divide entity_dim={entity_dim}: choose a divisor.")
        settings = {"dtype": backbone.dtype_policy}
        entities = EntityEmbedding(num_entities, entity_dim, name="entity_embedding", **settings)
        lower, upper = blocks[: len(blocks) - count], blocks[len(blocks) - count :]
        rate = backbone.config.attention_dropout
        aggregators = [
            Aggregator(block, entity_dim, num_heads, rate, name=f"aggregator_{index}", **settings)
            for index, block in enumerate(upper)
        ]
        inputs = {**token_inputs(), "entities": keras.Input((None,), dtype="int32", name="entities")}
        state = _State(entities(inputs["entities"]), _IsEntity(name="is_entity")(inputs))
        parts = {**backbone.parts, "blocks": [*lower, *(_Reading(aggregator, state) for aggregator in aggregators)]}
        outputs = backbone.wire(parts, inputs)
        outputs["entity_output"] = _AtEntities(name="entity_output", **settings)(state.entities, state.is_entity)
        super().__init__(inputs=inputs, outputs=outputs, name=name)
        self.backbone = backbone
        self.entities = entities
        self.aggregators = aggregators
        self.sizes = {
            "num_entities": num_entities,
            "entity_dim": entity_dim,
            "num_aggregators": count,
            "num_heads": num_heads,
        }

    def set_entities(self, vectors) -> None:
        """Takes the entities' vectors from a knowledge graph's embedding.

        Args:
            vectors: float[num_entities, E], the vector of entity k in row k - 1.

        Raises:
            UserError: They have another shape, or are not all finite.
        """
        vectors, shape = np.asarray(vectors), tuple(self.entities.vectors.shape)
        if vectors.shape != shape:
            raise UserError(f"the entities' vectors are {vectors.shape}, not {shape}: give one for every entity.")
        if not np.isfinite(vectors).all():
            raise UserError("the entities' vectors are not all finite: train the graph's embedding anew.")
        self.entities.vectors.assign(vectors.astype("float32"))

    def layer_groups(self) -> list[list[keras.Layer]]:
        """The backbone's groups, see `Backbone.layer_groups`, each aggregator in that of its layer."""
        groups = [list(group) for group in self.backbone.layer_groups()]
        for group, aggregator in zip(reversed(groups[:-1]), reversed(self.aggregators)):
            group.append(aggregator)
        return groups

    def get_config(self):
        """The backbone and the sizes."""
        return {"name": self.name, "backbone": keras.saving.serialize_keras_object(self.backbone), **self.sizes}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        """An encoder from `get_config`'s dictionary."""
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects)
        return cls(**{**config, "backbone": backbone})


def _blocks_of(backbone):
    """The backbone's layers, if an aggregator can be made of each."""
    if isinstance(backbone, BertBackbone) and "nodes" not in backbone.parts and not backbone.config.is_causal:
        blocks = backbone.parts["blocks"]
        if all(
            isinstance(block, TransformerBlock) and type(block.feed_forward) is FeedForward and not block.norm_first
            for block in blocks
        ):
            return blocks
    raise UserError(
        f"{backbone.name} has no layers that could read entities: choose an encoder of BERT's kind, such as bert_tiny."
    )


class _State:
    """The entities on their way through the layers."""

    def __init__(self, entities, is_entity):
        self.entities = entities
        self.is_entity = is_entity


class _Reading:
    """An aggregator in a block's place: what it makes of the entities goes to the next one."""

    def __init__(self, aggregator, state):
        self.aggregator = aggregator
        self.state = state
        self.attention = aggregator.block.attention

    def __call__(self, inputs, attention_mask=None):
        output, self.state.entities = self.aggregator(
            inputs, self.state.entities, self.state.is_entity, attention_mask=attention_mask
        )
        return output


class _IsEntity(keras.layers.Layer):
    """bool[B, T]: which real tokens name an entity."""

    def call(self, inputs):
        return ops.logical_and(inputs["padding_mask"], inputs["entities"] > 0)


class _AtEntities(keras.layers.Layer):
    """Zeros where there is no entity."""

    def call(self, entities, is_entity):
        return entities * ops.cast(is_entity, entities.dtype)[..., None]
