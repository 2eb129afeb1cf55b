"""A table of long documents: the posts of one newsgroup joined, to be told apart by group.

    python -m pipelines.text_classification.long_documents --output long.jsonl
    tfmodels run text_classification --data long.jsonl --split-column split --label-column group \
        --config pipelines/text_classification/long_documents.json --output output/long_documents

The configuration beside this file reads 4,096 tokens of each with attention that is linear in the length.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import click

from tfmodels import datasets
from tfmodels.files import atomic_file

# One document in so many of those to learn from is kept for validation.
_VALIDATION = 8


class LongDocument(NamedTuple):
    """Posts of one newsgroup, one after the other.

    Attributes:
        text: The posts, between empty lines.
        group: The newsgroup, as in "sci.space".
        split: train, validation or test; those of the test are made of later posts.
    """

    text: str
    group: str
    split: str


def long_documents(words: int = 3000, groups: int = 6) -> Iterator[LongDocument]:
    """Documents of at least so many words, but for what is left over at the end, which is dropped.

    Args:
        words: The least length of a document; 3,000 words are some 4,000 pieces.
        groups: How many of the newsgroups at most, evenly chosen from their sorted names.
    """
    posts = datasets.newsgroups()
    names = sorted({post.group for post in posts})
    for group in names[:: max(1, len(names) // groups)][:groups]:
        for split in ("train", "test"):
            texts, length, made = [], 0, 0
            for post in posts:
                if (post.group, post.split) != (group, split):
                    continue
                texts.append(post.text)
                length += len(post.text.split())
                if length >= words:
                    made += 1
                    kept = split == "train" and made % _VALIDATION == 0
                    yield LongDocument("\n\n".join(texts), group, "validation" if kept else split)
                    texts, length = [], 0


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--output", required=True, metavar="FILE", help="The table to write, JSON Lines.")
@click.option("--words", default=3000, show_default=True, type=click.IntRange(1), help="Words of a document.")
@click.option("--groups", default=6, show_default=True, type=click.IntRange(2, 20), help="Newsgroups, of 20.")
def main(output, words, groups):
    """Write a table of long documents, posts of the 20 Newsgroups joined, with `text`, `group` and `split`."""
    documents = list(long_documents(words, groups))
    with atomic_file(Path(output)) as partial, open(partial, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(document._asdict()) + "\n" for document in documents)
    click.echo(f"wrote {len(documents)} documents of {groups} groups to {output}")


if __name__ == "__main__":
    main()
