"""The examples in the docstrings run."""

import doctest

import pytest

from tfmodels.text import (
    bpe,
    buckets,
    documents,
    formats,
    normalize,
    preprocessor,
    segmenter,
    training,
    wordpiece,
)

MODULES = [bpe, buckets, documents, formats, normalize, preprocessor, segmenter, training, wordpiece]


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_run(module):
    results = doctest.testmod(module)
    assert results.attempted and not results.failed
