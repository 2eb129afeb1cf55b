"""How a model family arranges texts and special tokens in a row, as data.

| family | one text | two texts | segments |
|---|---|---|---|
| BERT, ALBERT, ELECTRA | `[CLS] a [SEP]` | `[CLS] a [SEP] b [SEP]` | 0, from b on 1 |
| RoBERTa | `<s> a </s>` | `<s> a </s></s> b </s>` | 0 |
| XLNet | `a <sep> <cls>` | `a <sep> b <sep> <cls>` | 0, from b on 1, `<cls>` 2 |
| T5 | `a </s>` | `a </s> b </s>` | 0 |
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise

from tfmodels.errors import UserError

TEXT_PARTS = ("first", "second")
SPECIAL_PARTS = ("cls", "sep")


@dataclass(frozen=True)
class SequenceFormat:
    """The parts of a row, in order, each with the segment id of its tokens.

    Between two texts there is a special token at least, so that a row of ids tells its segments.

    Args:
        single: The parts of a row with one text: pairs of "first", "cls" or "sep" and a segment id.
        pair: The parts of a row with two texts: of "first", "second", "cls" or "sep".

    Raises:
        UserError: A part is unknown, a text is missing, stands twice or follows another one directly.

    Example:
    >>> SequenceFormat.of(single="cls:0 first:0 sep:0", pair="cls:0 first:0 sep:0 second:1 sep:1") == BERT_FORMAT
    True
    """

    single: tuple[tuple[str, int], ...]
    pair: tuple[tuple[str, int], ...]

    def __post_init__(self):
        for parts, texts in ((self.single, TEXT_PARTS[:1]), (self.pair, TEXT_PARTS)):
            names = [name for name, _ in parts]
            unknown = [name for name in names if name not in (*texts, *SPECIAL_PARTS)]
            if unknown:
                raise UserError(f"A format has no part {unknown[0]!r}: give {', '.join((*texts, *SPECIAL_PARTS))}.")
            if sorted(name for name in names if name in TEXT_PARTS) != sorted(texts):
                raise UserError(f"The format {' '.join(names)} must hold {' and '.join(texts)} once.")
            if any({one, two} <= set(TEXT_PARTS) for one, two in pairwise(names)):
                raise UserError(f"The format {' '.join(names)} needs a special token between its texts.")
            if any(not isinstance(segment, int) or segment < 0 for _, segment in parts):
                raise UserError("The segments of a format are whole numbers from 0 on.")

    @classmethod
    def of(cls, single: str, pair: str) -> "SequenceFormat":
        """Reads a format as people write it: "cls:0 first:0 sep:0"."""
        return cls(
            *(
                tuple((name, int(segment)) for name, _, segment in (part.partition(":") for part in parts.split()))
                for parts in (single, pair)
            )
        )

    def to_config(self) -> dict[str, str]:
        """Returns the format as people write it, from which `of` makes it again."""
        return {name: " ".join(f"{part}:{segment}" for part, segment in parts) for name, parts in asdict(self).items()}

    def parts(self, pair: bool) -> Sequence[tuple[str, int]]:
        """Returns the parts of a row of one text or of two."""
        return self.pair if pair else self.single


BERT_FORMAT = SequenceFormat.of("cls:0 first:0 sep:0", "cls:0 first:0 sep:0 second:1 sep:1")
ROBERTA_FORMAT = SequenceFormat.of("cls:0 first:0 sep:0", "cls:0 first:0 sep:0 sep:0 second:0 sep:0")
XLNET_FORMAT = SequenceFormat.of("first:0 sep:0 cls:2", "first:0 sep:0 second:1 sep:1 cls:2")
T5_FORMAT = SequenceFormat.of("first:0 sep:0", "first:0 sep:0 second:0 sep:0")
