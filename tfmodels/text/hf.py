"""Tokenisers and formats out of directories in Hugging Face's layout.

Which files there are tells the kind of tokeniser, and the pieces in the vocabulary tell the family: its special tokens
and how a row is arranged.
"""

import json
import os
from pathlib import Path

from tfmodels.errors import UserError
from tfmodels.text.bpe import ByteLevelBPETokenizer
from tfmodels.text.formats import BERT_FORMAT, ROBERTA_FORMAT, T5_FORMAT, XLNET_FORMAT, SequenceFormat
from tfmodels.text.sentencepiece import SentencePieceTokenizer
from tfmodels.text.vocabulary import (
    ALBERT_TOKENS,
    GPT2_TOKENS,
    ROBERTA_TOKENS,
    T5_TOKENS,
    XLNET_TOKENS,
    SpecialTokens,
    Tokenizer,
)
from tfmodels.text.wordpiece import WordPieceTokenizer

_CONFIG_FILE = "tokenizer_config.json"
_FAST_FILE = "tokenizer.json"
# Names under which families keep their SentencePiece models.
_MODELS = ("spiece.model", "sentencepiece.model", "tokenizer.model")

# The families of a kind of tokeniser, told apart by the special tokens that the vocabulary has. Of SentencePiece's, the
# last column says whether the family takes text to lower case where no configuration says so, and LaTeX's quotes.
_BYTE_LEVEL = ((ROBERTA_TOKENS, ROBERTA_FORMAT), (GPT2_TOKENS, T5_FORMAT))
_SENTENCEPIECE = (
    (ALBERT_TOKENS, BERT_FORMAT, {"lowercase": True, "plain_quotes": True}),
    (XLNET_TOKENS, XLNET_FORMAT, {"lowercase": False, "strip_accents": True, "plain_quotes": True}),
    (T5_TOKENS, T5_FORMAT, {}),
)


def load_hf_tokenizer(directory: str | os.PathLike) -> tuple[Tokenizer, SequenceFormat]:
    """Makes the tokeniser of a model in Hugging Face's layout, and says how its family arranges a row.

    Read are `vocab.txt` (BERT), `vocab.json` and `merges.txt` (RoBERTa, GPT-2), `spiece.model` (ALBERT, XLNet, T5), or
    a `tokenizer.json` that holds one of the first two kinds; and `tokenizer_config.json`.

    Raises:
        UserError: The files are missing, damaged or of a family that is not known.
    """
    directory = Path(directory)
    config = _read_json(directory / _CONFIG_FILE) if (directory / _CONFIG_FILE).exists() else {}
    model = next((directory / name for name in _MODELS if (directory / name).exists()), None)
    if model is not None:
        return _sentencepiece(model, config)
    if (directory / "vocab.json").exists() and (directory / "merges.txt").exists():
        return _byte_level(directory / "vocab.json", directory / "merges.txt", config)
    if (directory / "vocab.txt").exists():
        return _wordpiece(directory / "vocab.txt", config)
    if (directory / _FAST_FILE).exists():
        return _fast(directory / _FAST_FILE, config)
    raise UserError(
        f"{directory} holds no tokeniser: give a folder with vocab.txt, vocab.json and merges.txt, {_MODELS[0]} or "
        f"{_FAST_FILE}."
    )


def _wordpiece(vocabulary, config: dict) -> tuple[Tokenizer, SequenceFormat]:
    lowercase = config.get("do_lower_case", True)
    return WordPieceTokenizer(vocabulary, lowercase, config.get("strip_accents")), BERT_FORMAT


def _byte_level(vocabulary, merges, config: dict) -> tuple[Tokenizer, SequenceFormat]:
    prefix = config.get("add_prefix_space", False)
    for special_tokens, format in _BYTE_LEVEL:
        tokenizer = ByteLevelBPETokenizer(vocabulary, merges, special_tokens, prefix)
        if _has(tokenizer, special_tokens):
            return tokenizer, format
    raise _unknown("byte-level BPE vocabulary", [tokens for tokens, _ in _BYTE_LEVEL])


def _sentencepiece(model: Path, config: dict) -> tuple[Tokenizer, SequenceFormat]:
    for special_tokens, format, options in _SENTENCEPIECE:
        tokenizer = SentencePieceTokenizer(model, special_tokens)
        if not _has(tokenizer, special_tokens):
            continue
        if options:
            lowercase = config.get("do_lower_case", options["lowercase"])
            options = {**options, "lowercase": lowercase, "strip_accents": not config.get("keep_accents", False)}
        return SentencePieceTokenizer(model, special_tokens, **options), format
    raise _unknown("SentencePiece model", [tokens for tokens, _, _ in _SENTENCEPIECE])


def _fast(file: Path, config: dict) -> tuple[Tokenizer, SequenceFormat]:
    saved = _read_json(file)
    model = saved.get("model") or {}
    kind = model.get("type")
    try:
        if kind == "WordPiece":
            normalizer = saved.get("normalizer") or {}
            settings = {"do_lower_case": normalizer.get("lowercase", True), **config}
            return _wordpiece(_in_order(file, model, saved), settings)
        if kind == "BPE" and not model.get("unk_token") and "ByteLevel" in json.dumps(saved.get("pre_tokenizer")):
            merges = [tuple(pair.split(" ")) if isinstance(pair, str) else tuple(pair) for pair in model["merges"]]
            return _byte_level(_in_order(file, model, saved), merges, config)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{file} lacks a setting ({error}): save the tokeniser again.") from error
    raise UserError(
        f"{file} holds a {kind} tokeniser, which cannot be read from there: put the vocabulary that it was made of "
        f"({_MODELS[0]} for ALBERT, XLNet and T5) into the folder."
    )


def _in_order(file: Path, model: dict, saved: dict) -> list[str]:
    ids = {**model["vocab"], **{token["content"]: token["id"] for token in saved.get("added_tokens") or []}}
    if sorted(ids.values()) != list(range(len(ids))):
        raise UserError(f"{file} does not number its pieces from 0 on: save the tokeniser again.")
    return sorted(ids, key=ids.get)


def _has(tokenizer: Tokenizer, special_tokens: SpecialTokens) -> bool:
    return len(tokenizer.special_token_ids()) == len(special_tokens.names())


def _unknown(what: str, families: list[SpecialTokens]) -> UserError:
    known = "; ".join(" ".join(tokens.names()) for tokens in families)
    return UserError(f"The {what} has the special tokens of no known family: give one with {known}.")


def _read_json(file: Path) -> dict:
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file} is not JSON that can be read: save the tokeniser again.") from error
    if not isinstance(value, dict):
        raise UserError(f"{file} holds no JSON object: save the tokeniser again.")
    return value
