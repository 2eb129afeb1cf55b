"""The examples in the docstrings run."""

import doctest

import pytest

from tfmodels.text import buckets, normalize, preprocessor, wordpiece


@pytest.mark.parametrize("module", [buckets, normalize, preprocessor, wordpiece])
def test_examples_in_docstrings_run(module):
    results = doctest.testmod(module)
    assert results.attempted and not results.failed
