"""Where the teacher's weights and the vocabulary come from."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from pipelines.text_classification.configs import TeacherConfig, TextConfig
from tfmodels import datasets
from tfmodels.errors import UserError
from tfmodels.files import atomic_directory
from tfmodels.interop import hf_config
from tfmodels.models import Config
from tfmodels.registry import describe_model, list_models
from tfmodels.text import (
    BERT_FORMAT,
    SequenceFormat,
    TextPreprocessor,
    Tokenizer,
    WordPieceTokenizer,
    load_hf_tokenizer,
)


def hf_folder(source: str) -> Path | None:
    """The folder of a teacher's pretrained weights, or None where the source is a preset with random ones.

    Raises:
        UserError: The source is none of those.
    """
    if source == "minilm":
        return datasets.minilm()
    folder = Path(source)
    if (folder / "config.json").exists():
        return folder
    if folder.is_dir():
        raise UserError(
            f"{folder} has no config.json: give a folder with config.json, model.safetensors and vocab.txt."
        )
    if source not in list_models():
        raise UserError(
            f"there is no teacher {source!r}: give minilm, a folder in Hugging Face's layout, or one of "
            f"{', '.join(list_models())}."
        )
    return None


def check_teacher(teacher: TeacherConfig, sequence_length: int) -> Config:
    """The teacher's configuration.

    Raises:
        UserError: It does not take texts of that length.
    """
    folder = hf_folder(teacher.source)
    if folder is None:
        config = describe_model(teacher.source)[1].config.replace(**teacher.overrides)
    else:
        config = hf_config(folder)
    # Relative positions know no longest text.
    longest = getattr(config, "max_sequence_length", sequence_length)
    # Some kinds of attention have weights for every position.
    longest = min(longest, getattr(getattr(config, "kind", None), "max_length", None) or longest)
    if sequence_length > longest:
        raise UserError(f"the teacher takes at most {longest} tokens: give --sequence-length {longest} or less.")
    return config


def starts_like_teacher(asked: bool | None, student: Config, teacher: Config) -> bool:
    """Whether a student's token vectors are made from its teacher's states: as asked, or where they are no wider.

    Raises:
        UserError: They shall be, and are wider than those.
    """
    width = getattr(student, "embedding_dim", None) or student.hidden_dim
    can = width <= teacher.hidden_dim
    if asked and not can:
        raise UserError(
            f"the student's token vectors of {width} numbers cannot be made from the teacher's {teacher.hidden_dim}: "
            "lower the student's embedding_dim, or leave its embed_like_teacher out."
        )
    return can if asked is None else asked


def make_preprocessor(text: TextConfig, teacher: TeacherConfig, pairs: bool) -> TextPreprocessor:
    """The preprocessor with the vocabulary that the teacher was pretrained with, in its family's format."""
    folder = hf_folder(teacher.source) or datasets.minilm()
    if teacher.vocabulary is not None:
        tokenizer, form = WordPieceTokenizer(teacher.vocabulary), BERT_FORMAT
    else:
        tokenizer, form = tokenizer_of(folder)
    if text.lowercase is not None and isinstance(tokenizer, WordPieceTokenizer):
        tokenizer = WordPieceTokenizer(tokenizer.get_vocabulary(), lowercase=text.lowercase)
    return TextPreprocessor(tokenizer, text.sequence_length, pair=pairs, format=form)


def tokenizer_of(folder: Path) -> tuple[Tokenizer, SequenceFormat]:
    """The tokeniser that lies beside a model, and its family's format: as we save it, or as transformers does."""
    if (folder / "preprocessor.json").exists():
        saved = TextPreprocessor.load(folder)
        return saved.tokenizer, saved.format
    return load_hf_tokenizer(folder)


def save_preprocessor(preprocessor: TextPreprocessor, root: Path) -> Path:
    """Saves a preprocessor into a folder of `root` that is named by its content, once, and returns the folder."""
    with tempfile.TemporaryDirectory() as staging:
        preprocessor.save(staging)
        files = {path.name: path.read_bytes() for path in sorted(Path(staging).iterdir())}
    digest = hashlib.sha256(b"\0".join(name.encode() + b"\0" + content for name, content in files.items()))
    folder = root / digest.hexdigest()[:16]
    if not folder.exists():
        with atomic_directory(folder) as partial:
            for name, content in files.items():
                (partial / name).write_bytes(content)
    return folder
