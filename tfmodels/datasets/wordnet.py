"""WordNet's nouns as a knowledge graph: what there is, how it belongs together, and what texts call it."""

from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from tfmodels.datasets.packages import fetch_any
from tfmodels.datasets.pins import WORDNET

# WordNet's signs of the relations that are kept; each of the others is one of these the other way round, or of words.
RELATIONS = {"@": "is a", "@i": "is an instance of", "%m": "has member", "%s": "is made of", "%p": "has part"}
_NOUN = "1"
# Of letters: "at" is a noun too, a coin of Laos.
_SHORTEST = 3


class Graph(NamedTuple):
    """A knowledge graph.

    Attributes:
        names: What each entity is called, the first of its synonyms.
        facts: Triples of a head, a relation and a tail: numbers of `names`, of `RELATIONS`, and of `names`.
        mentions: The entity that a word, or several with blanks between, is taken for.
    """

    names: list[str]
    facts: list[tuple[int, int, int]]
    mentions: dict[str, int]


def wordnet() -> Graph:
    """Returns the nouns of WordNet 3.0 (Fellbaum, 1998).

    A mention is a word of three letters or more that stood for a noun more often than for anything else in WordNet's
    own texts, at least once, and is taken for the sense that was most frequent there; plurals are not among them.

    Returns:
        82,115 entities, their facts of five relations, and the mentions.

    Raises:
        UserError: The package cannot be had.
    """
    return read_wordnet(fetch_any(WORDNET))


def read_wordnet(folder: Path) -> Graph:
    """The nouns of a folder with WordNet's `data.noun`, `index.noun` and `cntlist.rev`, as `wordnet` gives them."""
    lines = _lines(folder / "data.noun")
    numbers = {line[:8]: number for number, line in enumerate(lines)}
    signs = {sign: number for number, sign in enumerate(RELATIONS)}
    names, facts = [], []
    for head, line in enumerate(lines):
        fields = line.partition(" | ")[0].split()
        names.append(fields[4].replace("_", " "))
        pointers = fields[4 + 2 * int(fields[3], 16) :]
        for place in range(1, 1 + 4 * int(pointers[0]), 4):
            sign, offset = pointers[place : place + 2]
            if sign in signs:  # between nouns, all of them
                facts.append((head, signs[sign], numbers[offset]))
    counts = defaultdict(lambda: defaultdict(int))
    for line in _lines(folder / "cntlist.rev"):
        key, _, count = line.split()
        lemma, _, sense = key.partition("%")
        counts[lemma][sense[0]] += int(count)
    mentions = {}
    for line in _lines(folder / "index.noun"):
        fields = line.split()
        by_part = counts.get(fields[0], {})
        if len(fields[0]) >= _SHORTEST and 2 * by_part.get(_NOUN, 0) > sum(by_part.values()):
            # The senses come last, the most frequent one first.
            mentions[fields[0].replace("_", " ")] = numbers[fields[-int(fields[2])]]
    return Graph(names, facts, mentions)


def _lines(path: Path) -> list[str]:
    """The lines of one of WordNet's files, without the licence, which is set in by two blanks."""
    return [line for line in path.read_text(encoding="latin-1").splitlines() if not line.startswith("  ")]
