"""ELECTRA: a BERT that tells replaced tokens from real ones (Clark et al., arXiv:2003.10555).

It differs from BERT in three things. The embeddings have a size of their own, `embedding_dim`, and a linear map from it
to D, so that a small generator can share them: hand one `TextEmbedding` to both (`shared_embeddings`). There is no
pooler: `pooled_output` is the first token's vector, and a text classifier puts a dense layer on it. The heads of
pre-training are `MaskedLM` on the generator and `ReplacedTokenDetector` on the discriminator. The generator's head has
gelu, as in transformers; in the released code it has the layers' activation, which in all released models is gelu.

Cost: BERT's.
"""

from __future__ import annotations

import dataclasses

from tfmodels.layers import DenseFirstToken, Projection
from tfmodels.models.bert import BertBackbone, BertConfig
from tfmodels.models.config import Preset


@dataclasses.dataclass(frozen=True)
class ElectraConfig(BertConfig):
    """The sizes and rates of an ELECTRA encoder; see `BertConfig`."""


class ElectraBackbone(BertBackbone):
    """The ELECTRA encoder, discriminator or generator; see `Backbone` for inputs and outputs.

    Example:
    >>> import tfmodels
    >>> sizes = {"num_layers": 1, "vocabulary_size": 100}
    >>> discriminator = tfmodels.create_model("electra_small", **sizes)
    >>> _, preset = tfmodels.describe_model("electra_small_generator")
    >>> generator = ElectraBackbone(preset.config.replace(**sizes), shared=discriminator.shared_embeddings())
    >>> generator.parts["embeddings"] is discriminator.parts["embeddings"]
    True
    """

    config_class = ElectraConfig
    prediction_activation = "gelu"

    @classmethod
    def make_parts(cls, config, dtype):
        size = config.embedding_dim or config.hidden_dim
        # The map to D stands outside of the embeddings, whose one instance may serve encoders of several D.
        narrow = config.replace(hidden_dim=size, embedding_dim=None)
        parts = {
            "embeddings": cls.make_embeddings(narrow, dtype),
            **cls.make_nodes(config, dtype),
            "blocks": cls.make_blocks(config, dtype),
        }
        if size != config.hidden_dim:
            parts["embeddings_project"] = Projection(config.hidden_dim, dtype=dtype, name="embeddings_project")
        return parts

    @classmethod
    def wire(cls, parts, inputs, intermediates=False):
        def embed(*arguments):
            x = parts["embeddings"](*arguments)
            return parts["embeddings_project"](x) if "embeddings_project" in parts else x

        return super().wire({**parts, "embeddings": embed, "pooler": lambda first: first}, inputs, intermediates)

    def shared_embeddings(self) -> dict:
        """The embeddings, for the `shared` argument of another backbone (arXiv:2003.10555, section 3.2)."""
        return {"embeddings": self.parts["embeddings"]}

    def make_classifier_pooling(self, dropout):
        return DenseFirstToken(self.config.hidden_dim, "gelu", dropout, dtype=self.dtype_policy, name="pooling")


def _electra(layers, heads, hidden, embedding):
    return ElectraConfig(
        num_layers=layers, num_heads=heads, hidden_dim=hidden, intermediate_dim=4 * hidden, embedding_dim=embedding
    )


_SOURCE = "arXiv:2003.10555, table 6"

BACKBONE = ElectraBackbone
# A generator is 1/4 (small, large) or 1/3 (base) as wide as its discriminator, in heads and F too.
PRESETS = {
    "electra_small": Preset(_electra(12, 4, 256, 128), 13_483_008, _SOURCE),
    "electra_base": Preset(_electra(12, 12, 768, 768), 108_891_648, _SOURCE),
    "electra_large": Preset(_electra(24, 16, 1024, 1024), 334_092_288, _SOURCE),
    "electra_small_generator": Preset(_electra(12, 1, 64, 128), 4_580_928, _SOURCE),
    "electra_base_generator": Preset(_electra(12, 4, 256, 768), 33_511_168, _SOURCE),
    "electra_large_generator": Preset(_electra(24, 4, 256, 1024), 50_999_552, _SOURCE),
}
