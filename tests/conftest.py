"""What every test run shares."""

import gc
import os
import random

import pytest

# A keras.json in the user's home may name another backend.
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


@pytest.fixture(autouse=True)
def seeded():
    """The same random weights and dropout in every run: Keras draws its seeds from Python's generator."""
    random.seed(0)


def pytest_collection_finish(session):
    """Takes what the imports have made out of garbage collection: looking through it again and again took minutes."""
    gc.collect()
    gc.freeze()
