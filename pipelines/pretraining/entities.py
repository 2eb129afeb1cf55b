"""The entities of a knowledge graph as a folder that `ernie_thu` reads, and WordNet's nouns as such a folder.

    python -m pipelines.pretraining.entities --output wordnet
    echo '{"rows": {"entities": "wordnet"}}' > wordnet.json
    tfmodels run pretraining --objective ernie_thu --config wordnet.json ...

mentions.tsv    a mention and the number of its entity, from 1, on each line, with a tab between
vectors.npy     float32[entities, E], the vector of entity k in row k - 1: TransE's, or any other embedding's
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import click
import numpy as np
from tfx.dsl.io import fileio

from tfmodels import datasets
from tfmodels.errors import UserError
from tfmodels.files import atomic_directory

MENTIONS, VECTORS = "mentions.tsv", "vectors.npy"
# The encoder that reads entities, beside the one that does not.
KNOWLEDGE_FILE = "knowledge.keras"


def write_entities(folder, mentions: dict[str, int], vectors: np.ndarray) -> None:
    """Writes a folder of entities; `mentions` tells their numbers from 1."""
    with atomic_directory(Path(folder)) as partial:
        lines = (f"{mention}\t{number}\n" for mention, number in mentions.items())
        (partial / MENTIONS).write_text("".join(lines), encoding="utf-8")
        np.save(partial / VECTORS, np.asarray(vectors, "float32"), allow_pickle=False)


def read_mentions(folder: str) -> dict[str, int]:
    """The number of the entity that each mention of a folder names.

    Raises:
        UserError: The file is missing or not UTF-8, or a line is no mention and number.
    """
    mentions = {}
    try:
        lines = _open(folder, MENTIONS).read().decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{folder}/{MENTIONS} is not UTF-8 ({error}): save it so.") from error
    for place, line in enumerate(lines, 1):
        mention, tab, number = line.rpartition("\t")
        if not (mention.strip() and tab and number.isdecimal() and int(number)):
            raise UserError(f"{folder}/{MENTIONS}, line {place}: write a mention, a tab and a number from 1.")
        mentions[mention] = int(number)
    return mentions


def read_vectors(folder: str) -> np.ndarray:
    """The entities' vectors of a folder, float32[entities, E].

    Raises:
        UserError: The file is no such array.
    """
    try:
        vectors = np.load(_open(folder, VECTORS), allow_pickle=False)
    except ValueError as error:
        raise UserError(
            f"{folder}/{VECTORS} is no array that NumPy saved ({error}): write one by numpy.save."
        ) from error
    if vectors.ndim != 2 or vectors.dtype.kind != "f" or not np.isfinite(vectors).all():
        raise UserError(f"{folder}/{VECTORS} must hold one vector of finite numbers for each entity.")
    return vectors.astype("float32")


def check_entities(folder: str) -> None:
    """Looks at a folder before anything runs.

    Raises:
        UserError: A file is missing or wrong, or a mention names an entity without a vector.
    """
    mentions, vectors = read_mentions(folder), read_vectors(folder)
    if len(vectors) < 2 or not mentions:
        raise UserError(f"{folder} holds no graph: give mentions of at least two entities, and a vector for each.")
    most = max(mentions.values())
    if most > len(vectors):
        raise UserError(
            f"{folder}/{MENTIONS} names entity {most}, but there are {len(vectors)} vectors: add the others."
        )


def digest_of(folder: str) -> str:
    """A folder's content, for TFX's cache, which sees its place alone."""
    return hashlib.sha256(b"".join(_open(folder, name).read() for name in (MENTIONS, VECTORS))).hexdigest()


def _open(folder: str, name: str):
    path = f"{folder}/{name}"
    if not fileio.exists(path):
        raise UserError(
            f"there is no {path}: give a folder with {MENTIONS} and {VECTORS}, such as "
            "`python -m pipelines.pretraining.entities --output DIR` makes."
        )
    return fileio.open(path, "rb")


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--output", required=True, metavar="DIR", help="The folder to write.")
@click.option("--dim", default=100, show_default=True, type=click.IntRange(1), help="Numbers of a vector.")
@click.option(
    "--epochs", default=20, show_default=True, type=click.IntRange(1), help="Passes of TransE over the facts."
)
@click.option("--seed", default=0, show_default=True, help="Decides what is drawn.")
def main(output, dim, epochs, seed):
    """Write WordNet's nouns as entities: what texts call them, and TransE's vector of each."""
    from tfmodels.objectives import TransE

    if Path(output).exists():
        raise click.UsageError(f"{output} already exists: remove it or choose another folder.")
    try:
        graph = datasets.wordnet()
    except UserError as error:
        raise click.UsageError(str(error)) from error
    transe = TransE(graph.facts, len(graph.names), 1 + max(fact[1] for fact in graph.facts), dim, seed=seed)
    with click.progressbar(transe.epochs(epochs), length=epochs, label="learning the graph") as losses:
        loss = [*losses][-1]
    write_entities(output, {mention: 1 + number for mention, number in graph.mentions.items()}, transe.entities)
    named = len(set(graph.mentions.values()))
    click.echo(
        f"wrote {len(graph.names):,} entities to {output}, and {len(graph.mentions):,} mentions of {named:,} of them"
    )
    click.echo(f"TransE's loss is {loss:.3f} a fact")


if __name__ == "__main__":
    main()
