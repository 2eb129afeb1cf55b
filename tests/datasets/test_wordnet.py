"""WordNet's files as a graph: a database of five nouns in its format, and the real one."""

import pytest

from tfmodels import datasets
from tfmodels.datasets.wordnet import RELATIONS, read_wordnet

# Offsets are what other lines name an entity by; the words, glosses and counts are made up.
FILES = {
    "data.noun": """  1 A licence, which is set in.
00000010 03 n 01 thing 0 001 ~ 00000020 n 0000 | what there is
00000020 05 n 02 dog 0 house_dog 0 003 @ 00000010 n 0000 %p 00000030 n 0000 + 00000099 v 0101 | it barks | and bites
00000030 08 n 01 tail 0 001 #p 00000020 n 0000 | the end of a dog
00000040 18 n 01 Rex 0 002 @i 00000020 n 0000 ;c 00000010 n 0000 | a dog
00000050 14 n 0a pack 0 a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 001 %m 00000020 n 0000 | dogs
""",
    "index.noun": """  1 A licence, which is set in.
dog n 2 3 @ %p ~ 2 1 00000020 00000010
house_dog n 1 1 @ 1 0 00000020
pack n 1 1 %m 1 1 00000050
rex n 1 1 @i 1 1 00000040
run n 1 1 @ 1 1 00000010
ox n 1 1 @ 1 1 00000010
""",
    "cntlist.rev": """dog%1:05:00:: 1 7
dog%2:38:00:: 1 3
house_dog%1:05:00:: 1 1
pack%1:14:00:: 1 2
pack%2:35:00:: 1 2
rex%1:18:00:: 1 1
run%2:38:00:: 1 9
run%1:04:00:: 1 2
ox%1:05:00:: 1 4
""",
}


def test_nouns_their_facts_and_what_texts_call_them(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, encoding="latin-1")
    graph = read_wordnet(tmp_path)
    assert graph.names == ["thing", "dog", "tail", "Rex", "pack"]
    signs = list(RELATIONS)
    facts = {(graph.names[head], signs[relation], graph.names[tail]) for head, relation, tail in graph.facts}
    # Of a relation and its inverse one is kept, and none to a verb or a subject.
    assert facts == {("dog", "@", "thing"), ("dog", "%p", "tail"), ("Rex", "@i", "dog"), ("pack", "%m", "dog")}
    assert len(graph.facts) == len(facts)
    # "run" is a verb more often, "pack" as often, "ox" is short; of two senses of a dog the first is the more frequent.
    assert graph.mentions == {"dog": 1, "house dog": 1, "rex": 3}


@pytest.mark.data
def test_wordnet_has_the_counts_of_its_files():
    graph = datasets.wordnet()
    assert len(graph.names) == 82_115 and len(graph.facts) == 106_614
    entity = graph.mentions["house"]
    kinds = {tail for head, relation, tail in graph.facts if head == entity and relation == 0}
    assert {graph.names[kind] for kind in kinds} & {"building", "dwelling"}
    assert "the" not in graph.mentions and "was" not in graph.mentions
