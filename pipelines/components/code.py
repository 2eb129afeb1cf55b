"""Fingerprints of the project's own code, for TFX's cache.

TFX sees a change of a module that it packages itself, but not of one that is installed. Components whose result
depends on installed code carry its fingerprint among their parameters, so that the cache does not outlive a change.
"""

from __future__ import annotations

import functools
import hashlib
from importlib.util import find_spec
from pathlib import Path


@functools.cache
def code_fingerprint(*modules: str) -> str:
    """A fingerprint of the Python files of modules and whole packages, such as "tfmodels.text"."""
    digest = hashlib.sha256()
    for module in modules:
        origin = Path(find_spec(module).origin)
        files = sorted(origin.parent.rglob("*.py")) if origin.name == "__init__.py" else [origin]
        for file in files:
            digest.update(f"{module}/{file.relative_to(origin.parent)}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
