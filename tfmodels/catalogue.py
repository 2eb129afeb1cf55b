"""The survey's systems, row by row, with the code that implements each and the evidence that holds it.

A row is `done` when all of the system is there and its evidence passes, `partly` when a named part of it is, and
`planned` otherwise. `tests/test_catalogue.py` checks that every path named here exists.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """One system of the survey.

    Attributes:
        id: The row's number in the survey's catalogue.
        system: The system's name.
        paper: Where it was published.
        code: Module paths of the implementation.
        evidence: The kinds of evidence: parity, oracle, invariants, learning.
        tests: The test files that hold it.
        status: done, partly or planned.
        note: What is there, where it is only a part.
    """

    id: str
    system: str
    paper: str
    code: tuple[str, ...] = ()
    evidence: tuple[str, ...] = ()
    tests: tuple[str, ...] = ()
    status: str = "planned"
    note: str = ""


def _there(row, note, code, evidence, tests):
    """A row with code; the note says what of it is there, and is empty where all is."""
    return Row(*row, tuple(code), tuple(evidence), tuple(tests), "partly" if note else "done", note)


ROWS = (
    Row("W1", "LSA", "Deerwester et al. 1990"),
    Row("W2", "word2vec", "arXiv:1301.3781, arXiv:1310.4546"),
    Row("W3", "GloVe", "Pennington et al. 2014"),
    Row("W4", "fastText", "arXiv:1607.04606, arXiv:1607.01759"),
    Row("W5", "TextRank", "Mihalcea and Tarau 2004"),
    Row("W6", "ELMo", "arXiv:1802.05365"),
    _there(
        ("W7", "BPE, byte-level BPE, WordPiece", "arXiv:1508.07909, arXiv:1810.04805"),
        "",
        [
            "tfmodels/text/wordpiece.py",
            "tfmodels/text/bpe.py",
            "tfmodels/text/sentencepiece.py",
            "tfmodels/text/training.py",
        ],
        ["parity"],
        [
            "tests/text/test_wordpiece.py",
            "tests/text/test_bpe.py",
            "tests/text/test_plain_bpe.py",
            "tests/parity/test_bpe.py",
            "tests/text/test_sentencepiece.py",
            "tests/text/test_offsets.py",
            "tests/text/test_training.py",
        ],
    ),
    Row("W8", "BPEmb", "arXiv:1710.02187"),
    Row("W9", "Moses preparation", "Koehn et al. 2007"),
    _there(
        ("W10", "Metrics", "-"),
        "accuracy, precision, recall, macro-F1, ROC and PR curves and their areas, calibration",
        ["tfmodels/metrics/classification.py"],
        ["parity"],
        ["tests/metrics/test_classification.py"],
    ),
    Row("A1", "Transformer", "arXiv:1706.03762"),
    _there(
        ("A2", "Relative positions (Shaw)", "arXiv:1803.02155"),
        "",
        ["tfmodels/layers/positions.py", "tfmodels/ops/relative.py"],
        ["parity", "oracle"],
        ["tests/parity/test_bert.py", "tests/layers/test_positions.py"],
    ),
    _there(
        ("A3", "DA-Transformer", "arXiv:2010.06925"),
        "",
        [
            "tfmodels/layers/distance.py",
            "tfmodels/models/da_transformer.py",
        ],
        [
            "oracle",
            "invariants",
        ],
        [
            "tests/layers/test_distance.py",
            "tests/models/test_position_schemes.py",
        ],
    ),
    _there(
        ("A4", "Reformer", "arXiv:2001.04451"),
        "",
        [
            "tfmodels/models/reformer.py",
            "tfmodels/layers/lsh.py",
            "tfmodels/layers/reversible.py",
            "tfmodels/layers/axial.py",
            "tfmodels/ops/lsh.py",
            "tfmodels/ops/chunks.py",
            "tfmodels/training/reversible.py",
            "tfmodels/interop/reformer.py",
        ],
        [
            "parity",
            "oracle",
            "invariants",
        ],
        [
            "tests/parity/test_reformer.py",
            "tests/models/test_reformer.py",
            "tests/layers/test_lsh.py",
            "tests/ops/test_lsh.py",
            "tests/training/test_reversible.py",
        ],
    ),
    _there(
        ("A5", "Star-Transformer", "arXiv:1902.09113"),
        "",
        [
            "tfmodels/layers/star.py",
            "tfmodels/models/star_transformer.py",
        ],
        [
            "oracle",
            "invariants",
        ],
        [
            "tests/layers/test_star.py",
            "tests/models/test_sparse_graphs.py",
        ],
    ),
    _there(
        ("A6", "Transformer-XL", "arXiv:1901.02860"),
        "",
        [
            "tfmodels/models/transformer_xl.py",
            "tfmodels/layers/xl.py",
            "tfmodels/layers/adaptive_softmax.py",
            "tfmodels/objectives/streams.py",
            "tfmodels/objectives/memory.py",
        ],
        ["parity", "oracle", "invariants", "learning"],
        [
            "tests/parity/test_transformer_xl.py",
            "tests/parity/test_losses.py",
            "tests/models/test_transformer_xl.py",
            "tests/objectives/test_memory.py",
            "tests/layers/test_xl.py",
            "tests/layers/test_adaptive_softmax.py",
        ],
    ),
    _there(
        ("A7", "BP-Transformer", "arXiv:1911.04070"),
        "",
        [
            "tfmodels/layers/binary_partition.py",
            "tfmodels/ops/partition.py",
            "tfmodels/models/bp_transformer.py",
        ],
        [
            "oracle",
            "invariants",
        ],
        [
            "tests/layers/test_binary_partition.py",
            "tests/ops/test_partition.py",
            "tests/models/test_sparse_graphs.py",
        ],
    ),
    _there(
        ("A8", "Multi-Scale self-attention", "arXiv:1912.00544"),
        "",
        [
            "tfmodels/layers/multi_scale.py",
            "tfmodels/models/multi_scale.py",
            "tfmodels/ops/local.py",
        ],
        [
            "oracle",
            "invariants",
        ],
        [
            "tests/layers/test_multi_scale.py",
            "tests/ops/test_local.py",
            "tests/models/test_sparse_graphs.py",
        ],
    ),
    _there(
        ("A9", "Low-rank and locality constrained attention", "Guo et al. 2019"),
        "from the abstract and what others tell of the paper, whose text is not open",
        [
            "tfmodels/layers/low_rank.py",
            "tfmodels/models/low_rank.py",
            "tfmodels/ops/local.py",
        ],
        [
            "oracle",
            "invariants",
        ],
        [
            "tests/layers/test_low_rank.py",
            "tests/ops/test_local.py",
            "tests/models/test_attention_kinds.py",
        ],
    ),
    _there(
        ("A10", "External attention", "arXiv:2105.02358"),
        "",
        [
            "tfmodels/layers/external.py",
            "tfmodels/models/external.py",
            "tfmodels/ops/external.py",
        ],
        [
            "oracle",
            "invariants",
        ],
        [
            "tests/layers/test_external.py",
            "tests/models/test_attention_kinds.py",
        ],
    ),
    _there(
        ("A11", "FF-only", "arXiv:2105.02723"),
        "",
        [
            "tfmodels/layers/length_feedforward.py",
            "tfmodels/models/feed_forward_only.py",
        ],
        [
            "oracle",
            "invariants",
        ],
        [
            "tests/layers/test_length_feedforward.py",
            "tests/models/test_attention_kinds.py",
        ],
    ),
    _there(
        ("A12", "Set Transformer", "arXiv:1810.00825"),
        "",
        [
            "tfmodels/layers/sets.py",
            "tfmodels/models/set_transformer.py",
        ],
        [
            "parity",
            "oracle",
            "invariants",
        ],
        [
            "tests/parity/test_set_transformer.py",
            "tests/layers/test_sets.py",
            "tests/models/test_set_transformer.py",
        ],
    ),
    _there(
        ("A13", "Routing Transformer", "arXiv:2003.05997"),
        "",
        [
            "tfmodels/layers/routing.py",
            "tfmodels/models/routing.py",
            "tfmodels/ops/routing.py",
            "tfmodels/ops/local.py",
        ],
        [
            "oracle",
            "invariants",
        ],
        [
            "tests/layers/test_routing.py",
            "tests/ops/test_local.py",
        ],
    ),
    _there(
        ("A14", "ETC", "arXiv:2004.08483"),
        "",
        [
            "tfmodels/layers/etc.py",
            "tfmodels/models/etc.py",
        ],
        [
            "oracle",
            "invariants",
        ],
        [
            "tests/layers/test_etc.py",
        ],
    ),
    _there(
        ("A15", "Linformer", "arXiv:2006.04768"),
        "",
        [
            "tfmodels/layers/linformer.py",
            "tfmodels/models/linformer.py",
        ],
        [
            "oracle",
            "invariants",
        ],
        [
            "tests/layers/test_linformer.py",
        ],
    ),
    _there(
        ("A16", "BigBird", "arXiv:2007.14062"),
        "",
        [
            "tfmodels/layers/bigbird.py",
            "tfmodels/models/bigbird.py",
            "tfmodels/ops/block_sparse.py",
            "tfmodels/interop/bigbird.py",
        ],
        [
            "parity",
            "oracle",
            "invariants",
        ],
        [
            "tests/parity/test_bigbird.py",
            "tests/layers/test_bigbird.py",
        ],
    ),
    _there(
        (
            "A17",
            "Position schemes",
            "arXiv:1706.03762, arXiv:1810.04805, arXiv:1907.11692, arXiv:1909.00204, arXiv:1910.10683",
        ),
        "",
        [
            "tfmodels/layers/positions.py",
            "tfmodels/layers/distance.py",
            "tfmodels/layers/xl.py",
            "tfmodels/layers/axial.py",
            "tfmodels/layers/binary_partition.py",
        ],
        [
            "parity",
            "oracle",
        ],
        [
            "tests/layers/test_embeddings.py",
            "tests/layers/test_positions.py",
            "tests/layers/test_distance.py",
            "tests/layers/test_xl.py",
            "tests/models/test_position_schemes.py",
            "tests/parity/test_distance.py",
            "tests/layers/test_binary_partition.py",
        ],
    ),
    Row("A18", "Style Transformer", "arXiv:1905.05621"),
    Row("P1", "GPT, GPT-2", "Radford et al. 2018, 2019"),
    _there(
        ("P2", "BERT", "arXiv:1810.04805"),
        "",
        [
            "tfmodels/models/bert.py",
            "tfmodels/models/tasks.py",
            "tfmodels/interop/bert.py",
            "tfmodels/objectives/objectives.py",
            "pipelines/pretraining/recipes.py",
        ],
        ["parity", "invariants", "learning"],
        [
            "tests/parity/test_bert.py",
            "tests/parity/test_losses.py",
            "tests/models/test_bert.py",
            "tests/objectives/test_pretrainer.py",
            "tests/pipelines/test_pretraining.py",
        ],
    ),
    _there(
        ("P3", "RoBERTa", "arXiv:1907.11692"),
        "",
        ["tfmodels/models/roberta.py", "tfmodels/objectives/documents.py", "pipelines/pretraining/recipes.py"],
        ["parity", "learning"],
        [
            "tests/parity/test_roberta.py",
            "tests/parity/test_losses.py",
            "tests/objectives/test_documents.py",
            "tests/pipelines/test_pretraining.py",
        ],
    ),
    _there(
        ("P4", "ALBERT", "arXiv:1909.11942"),
        "",
        ["tfmodels/models/albert.py", "tfmodels/objectives/objectives.py", "pipelines/pretraining/recipes.py"],
        ["parity", "learning"],
        [
            "tests/parity/test_albert.py",
            "tests/parity/test_losses.py",
            "tests/models/test_bert_families.py",
            "tests/pipelines/test_pretraining.py",
        ],
    ),
    _there(
        ("P5", "ELECTRA", "arXiv:2003.10555"),
        "",
        ["tfmodels/models/electra.py", "tfmodels/objectives/electra.py", "pipelines/pretraining/recipes.py"],
        ["parity", "oracle", "learning"],
        [
            "tests/parity/test_electra.py",
            "tests/parity/test_losses.py",
            "tests/objectives/test_electra.py",
            "tests/pipelines/test_pretraining.py",
        ],
    ),
    _there(
        ("P6", "XLNet", "arXiv:1906.08237"),
        "",
        ["tfmodels/models/xlnet.py", "tfmodels/layers/xl.py", "tfmodels/objectives/pretrainer.py"],
        ["parity", "invariants", "learning"],
        [
            "tests/parity/test_xlnet.py",
            "tests/parity/test_losses.py",
            "tests/models/test_xlnet.py",
            "tests/objectives/test_pretrainer.py",
            "tests/objectives/test_memory.py",
            "tests/pipelines/test_pretraining.py",
        ],
    ),
    _there(
        ("P7", "SpanBERT", "arXiv:1907.10529"),
        "",
        [
            "tfmodels/models/bert.py",
            "tfmodels/objectives/choosing.py",
            "tfmodels/objectives/objectives.py",
            "pipelines/pretraining/recipes.py",
        ],
        ["oracle", "learning"],
        [
            "tests/objectives/test_choosing.py",
            "tests/objectives/test_pretrainer.py",
            "tests/pipelines/test_pretraining.py",
        ],
    ),
    _there(
        ("P8", "ERNIE 1.0 / 2.0 (Baidu)", "arXiv:1904.09223, arXiv:1907.12412"),
        "the encoders, their masks and four tasks in stages; left out are tasks that want more than text, and which "
        "tokens stand elsewhere in their document",
        [
            "tfmodels/models/ernie.py",
            "tfmodels/objectives/choosing.py",
            "tfmodels/objectives/multitask.py",
            "tfmodels/text/phrases.py",
            "pipelines/pretraining/recipes.py",
        ],
        ["parity", "oracle", "learning"],
        [
            "tests/parity/test_ernie.py",
            "tests/parity/test_losses.py",
            "tests/objectives/test_choosing.py",
            "tests/pipelines/test_pretraining.py",
        ],
    ),
    _there(
        ("P9", "ERNIE (Tsinghua)", "arXiv:1905.07129"),
        "mentions are looked up in a list, not linked in their context; fine-tuning is without entities",
        [
            "tfmodels/layers/entities.py",
            "tfmodels/models/knowledge.py",
            "tfmodels/objectives/objectives.py",
            "tfmodels/objectives/corruption.py",
            "tfmodels/objectives/translations.py",
            "pipelines/pretraining/entities.py",
            "pipelines/pretraining/recipes.py",
        ],
        ["oracle", "invariants", "learning"],
        [
            "tests/models/test_knowledge.py",
            "tests/objectives/test_entities.py",
            "tests/pipelines/test_pretraining.py",
        ],
    ),
    _there(
        ("P10", "UniLM", "arXiv:1905.03197"),
        "the four language models in pre-training; sequence-to-sequence fine-tuning and decoding are planned",
        [
            "tfmodels/objectives/attention.py",
            "tfmodels/objectives/corruption.py",
            "tfmodels/models/bert.py",
            "pipelines/pretraining/recipes.py",
        ],
        ["parity", "oracle", "invariants", "learning"],
        [
            "tests/parity/test_attention_mask.py",
            "tests/objectives/test_attention.py",
            "tests/objectives/test_masked_training.py",
            "tests/models/test_attention_mask.py",
            "tests/pipelines/test_pretraining.py",
        ],
    ),
    Row("P11", "MASS", "arXiv:1905.02450"),
    Row("P12", "BART", "arXiv:1910.13461"),
    Row("P13", "T5", "arXiv:1910.10683"),
    _there(
        ("P14", "NEZHA", "arXiv:1909.00204"),
        "",
        [
            "tfmodels/models/nezha.py",
            "tfmodels/layers/positions.py",
            "tfmodels/objectives/choosing.py",
            "tfmodels/training/lamb.py",
            "pipelines/pretraining/recipes.py",
        ],
        ["parity", "oracle", "learning"],
        [
            "tests/parity/test_nezha.py",
            "tests/parity/test_losses.py",
            "tests/layers/test_positions.py",
            "tests/pipelines/test_pretraining.py",
        ],
    ),
    Row("P15", "PanGu-alpha", "arXiv:2104.12369"),
    _there(
        ("P16", "MT-DNN", "arXiv:1901.11504"),
        "",
        ["tfmodels/objectives/multitask.py", "tfmodels/objectives/answers.py", "benchmarks/multitask.py"],
        ["oracle", "learning"],
        [
            "tests/objectives/test_multitask.py",
            "tests/objectives/test_answers.py",
            "tests/benchmarks/test_multitask.py",
        ],
    ),
    _there(
        ("P17", "InfoWord", "arXiv:1910.08350"),
        "",
        [
            "tfmodels/objectives/objectives.py",
            "tfmodels/objectives/corruption.py",
            "pipelines/pretraining/recipes.py",
        ],
        ["oracle", "learning"],
        [
            "tests/objectives/test_losses.py",
            "tests/objectives/test_pretrainer.py",
            "tests/pipelines/test_pretraining.py",
        ],
    ),
    _there(
        ("P18", "TNF", "arXiv:2008.01466"),
        "",
        ["tfmodels/objectives/notes.py", "tfmodels/objectives/pretrainer.py", "pipelines/pretraining/recipes.py"],
        ["oracle", "learning"],
        [
            "tests/objectives/test_notes.py",
            "tests/objectives/test_notes_training.py",
            "tests/pipelines/test_pretraining.py",
        ],
    ),
    _there(
        ("P19", "ULMFiT", "arXiv:1801.06146, arXiv:1708.02182"),
        "AWD-LSTM, rates by depth, slanted triangles, gradual unfreezing; transfer gained nothing at small size",
        [
            "tfmodels/models/awd_lstm.py",
            "tfmodels/layers/recurrent.py",
            "tfmodels/training/rates.py",
            "tfmodels/training/unfreezing.py",
        ],
        ["parity", "oracle"],
        [
            "tests/parity/test_awd_lstm.py",
            "tests/models/test_awd_lstm.py",
            "tests/layers/test_recurrent.py",
            "tests/training/test_rates.py",
            "tests/training/test_schedules.py",
            "tests/training/test_ulmfit.py",
        ],
    ),
    _there(
        ("P20", "SiATL", "arXiv:1902.10547"),
        "the auxiliary loss and sequential unfreezing; what they gain is not shown at small size",
        ["tfmodels/objectives/auxiliary.py", "tfmodels/training/unfreezing.py"],
        ["oracle"],
        ["tests/objectives/test_auxiliary.py", "tests/training/test_rates.py"],
    ),
    _there(
        ("D1", "Knowledge distillation", "arXiv:1503.02531"),
        "",
        ["tfmodels/distillation/losses.py", "tfmodels/distillation/distiller.py"],
        ["oracle", "learning"],
        ["tests/distillation/test_losses.py", "tests/distillation/test_distiller.py"],
    ),
    _there(
        ("D2", "Asynchronous and synchronous teachers", "arXiv:1907.05171, arXiv:1804.03235"),
        "",
        ["tfmodels/distillation/synchronous.py", "tfmodels/distillation/distiller.py", "pipelines/distillation/job.py"],
        ["oracle", "learning"],
        [
            "tests/distillation/test_synchronous.py",
            "tests/distillation/test_distiller.py",
            "tests/pipelines/test_distillation.py",
        ],
    ),
    _there(
        ("D3", "Privileged-feature distillation", "arXiv:1907.05171"),
        "",
        ["tfmodels/distillation/distiller.py", "tfmodels/layers/columns.py", "benchmarks/privileged.py"],
        ["oracle", "learning"],
        ["tests/distillation/test_privileged.py", "tests/layers/test_columns.py"],
    ),
    _there(
        ("D4", "BERT -> BiLSTM", "arXiv:1903.12136"),
        "words are exchanged by frequency where the paper goes by part of speech",
        [
            "tfmodels/models/bilstm.py",
            "tfmodels/distillation/losses.py",
            "tfmodels/distillation/augmentation.py",
            "benchmarks/students.py",
        ],
        ["parity", "oracle"],
        [
            "tests/parity/test_bilstm.py",
            "tests/models/test_bilstm.py",
            "tests/distillation/test_losses.py",
            "tests/distillation/test_augmentation.py",
        ],
    ),
    _there(
        ("D5", "TinyBERT", "arXiv:1909.10351"),
        "losses, layer map, both stages and augmentation; in a few passes it gained nothing over hard labels",
        [
            "tfmodels/distillation/tinybert.py",
            "tfmodels/distillation/losses.py",
            "tfmodels/distillation/augmentation.py",
            "benchmarks/students.py",
        ],
        ["oracle", "learning"],
        [
            "tests/distillation/test_tinybert.py",
            "tests/distillation/test_losses.py",
            "tests/distillation/test_augmentation.py",
        ],
    ),
    _there(
        ("D6", "BERT layer-subset students", "arXiv:1910.01108"),
        "",
        ["tfmodels/distillation/initialisation.py", "tfmodels/distillation/losses.py", "benchmarks/students.py"],
        ["oracle"],
        [
            "tests/distillation/test_initialisation.py",
            "tests/distillation/test_losses.py",
            "tests/distillation/test_tinybert.py",
        ],
    ),
    _there(
        ("D7", "LAMB", "arXiv:1904.00962"),
        "",
        ["tfmodels/training/lamb.py", "tfmodels/training/micro_batches.py"],
        ["parity", "oracle"],
        ["tests/parity/test_lamb.py", "tests/training/test_lamb.py", "tests/training/test_micro_batches.py"],
    ),
    _there(
        ("D8", "Mixed precision", "arXiv:1710.03740"),
        "",
        ["tfmodels/training/precision.py", "tfmodels/training/fit.py"],
        ["invariants"],
        ["tests/models/test_bert.py", "tests/training/test_fit.py", "tests/training/test_precision.py"],
    ),
    _there(
        ("D9", "Clipping", "arXiv:1211.5063"),
        "",
        ["tfmodels/training/optimizers.py"],
        ["parity", "oracle"],
        ["tests/parity/test_optimizers.py", "tests/training/test_optimizers.py"],
    ),
    _there(
        ("D10", "Optimisers, schedules and losses of the survey", "-"),
        "",
        ["tfmodels/training/optimizers.py", "tfmodels/training/schedules.py", "tfmodels/training/losses.py"],
        ["parity", "oracle"],
        [
            "tests/parity/test_optimizers.py",
            "tests/parity/test_margins_and_distances.py",
            "tests/training/test_schedules.py",
            "tests/training/test_losses.py",
        ],
    ),
    _there(
        ("D11", "Normalisations", "-"),
        "",
        ["tfmodels/layers/normalization.py"],
        ["parity"],
        ["tests/parity/test_normalizations.py"],
    ),
    _there(
        ("D12", "Targeted dropout", "arXiv:1905.13678"),
        "",
        ["tfmodels/layers/targeted_dropout.py"],
        ["oracle", "learning"],
        ["tests/layers/test_targeted_dropout.py"],
    ),
    _there(
        ("D13", "Large batches, several workers", "arXiv:1706.02677"),
        "",
        [
            "tfmodels/training/micro_batches.py",
            "tfmodels/training/strategies.py",
            "tfmodels/training/recomputation.py",
            "pipelines/workers.py",
        ],
        ["invariants"],
        [
            "tests/training/test_micro_batches.py",
            "tests/training/test_strategies.py",
            "tests/pipelines/test_workers.py",
            "tests/training/test_recomputation.py",
        ],
    ),
    Row("V1", "CNN blocks", "-"),
    Row("V2", "MLP-Mixer", "arXiv:2105.01601"),
    Row("V3", "RepMLP", "arXiv:2105.01883"),
    Row("G1", "PixelRNN, PixelCNN, PixelCNN++, SNAIL", "arXiv:1601.06759, arXiv:1701.05517, arXiv:1712.09763"),
    Row("G2", "Flows: NICE, RealNVP, Glow, MAF, IAF, Flow++", "arXiv:1410.8516, arXiv:1605.08803, arXiv:1807.03039"),
    Row("G3", "VAE, IWAE, IAF-VAE, PixelVAE, VQ-VAE, wake-sleep", "arXiv:1312.6114, arXiv:1711.00937"),
    Row("G4", "GAN, AAE, BiGAN/ALI", "arXiv:1406.2661, arXiv:1511.05644, arXiv:1605.09782"),
    Row("G5", "MADE", "arXiv:1502.03509"),
    Row("G6", "Denoising and split-brain auto-encoders", "Vincent et al. 2008, arXiv:1611.09842"),
    Row("S1", "Relative patches, rotation, jigsaw", "arXiv:1505.05192, arXiv:1803.07728, arXiv:1603.09246"),
    Row("S2", "CPC", "arXiv:1807.03748"),
    Row("S3", "Deep InfoMax, AMDIM", "arXiv:1808.06670, arXiv:1906.00910"),
    Row("S4", "DeepCluster, Local Aggregation, ClusterFit", "arXiv:1807.05520, arXiv:1903.12355, arXiv:1912.03330"),
    Row("S5", "InstDisc, CMC, MoCo, PIRL, SimCLR", "arXiv:1805.01978, arXiv:1911.05722, arXiv:2002.05709"),
    Row("S6", "DGI, GCC, VGAE, GraphRNN, ANE, GraphGAN", "arXiv:1809.10341, arXiv:2006.09963, arXiv:1611.07308"),
    Row("M1", "Show, Attend and Tell", "arXiv:1502.03044"),
    Row("M2", "MLBL-B, MLBL-F", "Kiros et al. 2014"),
    Row("M3", "Visual-semantic alignment", "arXiv:1412.2306"),
    Row("M4", "UniT", "arXiv:2102.10772"),
    Row("M5", "Moment matching for multi-source adaptation", "arXiv:1812.01754"),
    Row("M6", "Multi-task learning", "Caruana 1997"),
)


def as_dicts() -> list[dict]:
    """The rows as JSON-able objects."""
    return [
        {
            "id": row.id,
            "system": row.system,
            "paper": row.paper,
            "code": list(row.code),
            "evidence_kind": list(row.evidence),
            "evidence_tests": list(row.tests),
            "status": row.status,
            "note": row.note,
        }
        for row in ROWS
    ]
