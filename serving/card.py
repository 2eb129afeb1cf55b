"""Model cards: what a model is, what it was measured to do and what it is not for, as JSON and as Markdown.

The JSON is the source: versioned by `schema_version`, read by the gate (its checksums) and by people's tools. The
Markdown is rendered from it and holds nothing else.
"""

import difflib
import hashlib
import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tfmodels.errors import UserError

CARD_JSON = "model_card.json"
CARD_MARKDOWN = "MODEL_CARD.md"
SCHEMA_VERSION = 1

# What the caller may say -> the heading that it gets in Markdown.
_SAID = {
    "name": "Name",
    "description": "Description",
    "intended_use": "Intended use",
    "limits": "Limits",
    "training_data": "Training data",
    "metrics": "Metrics",
    "how_made": "How it was made",
    "license": "License",
}
_PACKAGES = ("tfmodels", "tensorflow", "keras", "tensorflow-text", "keras-nlp", "numpy")


def checked(card: Mapping[str, object] | None) -> dict[str, object]:
    """The caller's part of a model card.

    Args:
        card: Any of `name`, `description`, `intended_use`, `limits`, `training_data` (texts or lists of texts),
            `metrics`, `how_made` (mappings) and `license`. All values must have a JSON form.

    Returns:
        A copy.

    Raises:
        UserError: An unknown key, or a value without a JSON form.
    """
    card = dict(card or {})
    for key in card:
        if key not in _SAID:
            near = difflib.get_close_matches(key, _SAID, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"use {', '.join(_SAID)}."
            raise UserError(f"A model card has no field {key!r}: {hint}")
    try:
        json.dumps(card, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise UserError(f"The model card cannot be written as JSON ({error}): use numbers, texts and lists.") from error
    return card


def write_card(
    directory: str | os.PathLike,
    card: Mapping[str, object],
    *,
    parameters: int,
    labels: Sequence[str],
    signatures: Mapping[str, Mapping[str, Mapping[str, str]]],
    weights_sha256: str,
) -> dict[str, object]:
    """Writes `model_card.json` and `MODEL_CARD.md` for the files that stand in `directory`.

    Args:
        directory: The export, whole but for the card.
        card: The caller's part, checked.
        parameters: The number of the model's parameters.
        labels: The names of the classes in the order of the outputs.
        signatures: Signature -> {"inputs": {name: type}, "outputs": {name: type}}.
        weights_sha256: The checksum of the weights alone.

    Returns:
        The card's content.
    """
    directory = Path(directory)
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    content = {
        "schema_version": SCHEMA_VERSION,
        "name": "",
        **card,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "parameters": parameters,
        "size_bytes": sum(path.stat().st_size for path in files),
        "labels": list(labels),
        "signatures": signatures,
        "made_with": {"python": platform.python_version(), **_versions()},
        "weights_sha256": weights_sha256,
        "sha256": {path.relative_to(directory).as_posix(): _sha256(path) for path in files},
    }
    text = json.dumps(content, indent=2, ensure_ascii=False)
    (directory / CARD_JSON).write_text(text + "\n", encoding="utf-8")
    (directory / CARD_MARKDOWN).write_text(render_markdown(content), encoding="utf-8")
    return content


def read_card(directory: str | os.PathLike) -> dict[str, object] | None:
    """The card of an export, or None if it has none."""
    path = Path(directory) / CARD_JSON
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def render_markdown(card: Mapping[str, object]) -> str:
    """A card as Markdown."""
    parts = [f"# {card.get('name') or 'Model'}"]
    if card.get("description"):
        parts.append(_block(card["description"]))
    facts = {
        "Parameters": f"{card['parameters']:,}",
        "Size on disk": f"{card['size_bytes'] / 1e6:,.1f} MB",
        "Labels": ", ".join(card["labels"]) or "none",
        "License": card.get("license", "not stated"),
        "Created": card["created"],
        "Weights (SHA-256)": f"`{card['weights_sha256']}`",
    }
    parts.append(_table(("Fact", "Value"), facts.items()))
    for key in ("intended_use", "limits", "training_data", "metrics", "how_made"):
        # What nobody stated is said to be missing: silence about limits would read as none.
        parts += [f"## {_SAID[key]}", _block(card[key]) if card.get(key) else "Not stated."]
    parts.append("## Signatures")
    rows = [
        (name, direction, key, f"`{kind}`")
        for name, signature in card["signatures"].items()
        for direction in ("inputs", "outputs")
        for key, kind in signature[direction].items()
    ]
    parts.append(_table(("Signature", "Direction", "Name", "Type"), rows))
    parts += ["## Made with", _table(("Package", "Version"), card["made_with"].items())]
    return "\n\n".join(parts) + "\n"


def _block(value: object) -> str:
    if isinstance(value, Mapping):
        return _table(("Name", "Value"), _flat(value))
    if isinstance(value, (list, tuple)):
        return "\n".join(f"- {item}" for item in value)
    return str(value)


def _flat(mapping: Mapping, prefix: str = ""):
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key} / ")
        else:
            yield f"{prefix}{key}", f"{value:.4g}" if isinstance(value, float) else value


def _table(head, rows) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(_cell(value) for value in line) + " |" for line in lines)


def _cell(value: object) -> str:
    return " ".join(str(value).replace("|", "\\|").split())


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            # A package that the model was not made with.
            continue
    return found


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
