"""What a word of a text is: one rule, for learning the vocabulary and in the graph."""

from __future__ import annotations

import tensorflow as tf


def split_words(text: tf.Tensor, max_words: int | None = None) -> tf.RaggedTensor:
    r"""The words of each text: runs of letters, marks and digits of any script, in lower case.

    Args:
        text: string [batch], UTF-8.
        max_words: Words that count, the first ones; None for all.

    Returns:
        string [batch, any].

    Example:
        >>> split_words(tf.constant(["Toy Story (1995)", "L'Été", ""])).to_list()
        [[b'toy', b'story', b'1995'], [b'l', b'\xc3\xa9t\xc3\xa9'], []]
    """
    lower = tf.strings.lower(text, encoding="utf-8")
    words = tf.strings.split(tf.strings.regex_replace(lower, r"[^\p{L}\p{M}\p{N}]+", " "))
    return words if max_words is None else words[:, :max_words]
