"""Hugging Face's `tokenizers`, set up to be compared with."""

from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# Letters that got a lower case after the Unicode of TensorFlow's ICU: `tokenizers` lowers those that its Rust knows.
LOWERED_LATER = frozenset([0x1C89, 0x2C2F, 0xA7C0]).union(
    range(0xA7CB, 0xA7DD), range(0x10570, 0x10596), range(0x10D50, 0x10D66), range(0x16EA0, 0x16EB9)
)
# Letters that got a canonical decomposition after the Unicode of `tokenizers`: TensorFlow 2.21 decomposes them.
DECOMPOSED_LATER = frozenset(
    [0x105C9, 0x105E4, 0x11383, 0x11385, 0x1138E, 0x11391, 0x113C5, 0x113C7, 0x113C8, 0x11938]
).union(range(0x16121, 0x16129), range(0x16D68, 0x16D6B))

# One character of every kind that BERT treats in its own way, and the awkward ones of each kind.
HARD_CHARACTERS = (
    "aZ9 .#[]_'"
    "\0\x01\t\n\x0b\x0c\r\x1f\x7f\x85\xa0\xad\u1680\u180e\u2028\u2029\u202f\u3000"  # controls and white space
    "\u200b\u200c\u200d\u200e\u202e\u2060\ufeff\ufffd\ue000\U000f0000\U000e0041\ufdd0\U0010ffff"  # removed, or nearly
    "\u0301\u0308\u0327\u0345\u05b0\u064b\u0e31\u302e\ufe0f\U0001d165\U0001e8d0"  # combining marks, spacing ones too
    "éÅ\u212bǖñçøłđ\u1e9b\u1ea5\u0344"  # precomposed, and letters whose stroke is no mark
    "ΑΣσςίΐ\u1fef\u037e\u0387"  # sigmas, and signs that decompose into punctuation
    "İIıiÌÍĨĮ\u01c5ßẞﬁŉǰſµ"  # case in its corners
    "אب\u0661अक\u094dก한\u1112\u1161\u11ab\uac01"  # other scripts, Hangul whole and in pieces
    "中\u3400\u9fff\uf900\ufa0e\U00020000\U0002b81f\U0002b820\U0002b920\U0002f800かカｶ々〆〇"  # ideographs and others
    "–’…¿«»、。！（＃～‿⁂\u2e43\U0001e95f\u166d\U000111c9"  # punctuation, of Unicode 8 and later
    "€©™²½→♥☺\u2764😀👍🏽🇮🇹𝒳𐐀"  # symbols, emoji, letters beyond the first plane
)


def normalizer(lowercase: bool, strip_accents: bool | None) -> BertNormalizer:
    return BertNormalizer(clean_text=True, handle_chinese_chars=True, lowercase=lowercase, strip_accents=strip_accents)


def words(text: str, lowercase: bool, strip_accents: bool | None) -> list[str]:
    normalised = normalizer(lowercase, strip_accents).normalize_str(text)
    return [word for word, _ in BertPreTokenizer().pre_tokenize_str(normalised)]


def tokenizer(vocabulary: Path | Sequence[str], lowercase: bool = True, strip_accents: bool | None = None) -> Tokenizer:
    """Returns BERT's tokeniser, for which a text's own "[SEP]" is plain text."""
    if isinstance(vocabulary, Path):
        vocabulary = vocabulary.read_text(encoding="utf-8").split("\n")[:-1]
    ids = {piece: id for id, piece in enumerate(vocabulary)}
    reference = Tokenizer(WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    reference.normalizer = normalizer(lowercase, strip_accents)
    reference.pre_tokenizer = BertPreTokenizer()
    reference.post_processor = BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    return reference
