"""Data that not every machine can have."""

import pytest

from tfmodels import datasets
from tfmodels.errors import UserError


def english_prose() -> list[str]:
    """The English essays; skips the test where the Debian package with them cannot be had."""
    try:
        return datasets.english_prose()
    except UserError as error:
        pytest.skip(str(error))
