"""From raw text to the tensors that a model takes, as TensorFlow operations.

Everything here runs eagerly, in `tf.data`, in Transform and inside an exported SavedModel, with core TensorFlow and
TensorFlow Text operations only, so that TensorFlow Serving runs it as it stands.
"""

from tfmodels.text.buckets import bucket_lengths
from tfmodels.text.normalize import separate_words
from tfmodels.text.preprocessor import TextPreprocessor
from tfmodels.text.wordpiece import WordPieceTokenizer

__all__ = ["TextPreprocessor", "WordPieceTokenizer", "bucket_lengths", "separate_words"]
