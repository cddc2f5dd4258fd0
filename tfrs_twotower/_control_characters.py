r"""Control characters in text from data: they are shown as escapes such as \x1b or \u202e, or refused.

They would be obeyed where a text is shown or read: a terminal moves its cursor or changes its title, a line ends in the
middle of a name, the letters after a mark of direction are shown backwards. Letters of all scripts are no control
characters, and neither are the joiners that Persian, Hindi and emoji are written with.
"""

from __future__ import annotations

import re

# In this order: C0 and C1 controls; marks, embeddings, overrides and isolates of direction; separators of lines and
# paragraphs (U+2028 and U+2029, just before the embeddings); deprecated format characters; halves of surrogate pairs,
# by which Python stands for bytes of a file name that are not UTF-8; marks of byte order and of annotations; and what
# Unicode says is no character, which XML cannot contain.
_CONTROL_CHARACTER = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb\ufffe\uffff]"
)


def show_control_characters(text: str) -> str:
    r"""Writes control characters as Python's escapes, so that they are seen instead of obeyed.

    Args:
        text: Any text.

    Example:
        >>> print(show_control_characters("Amélie \x1b[31m"))
        Amélie \x1b[31m
    """
    return _CONTROL_CHARACTER.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def require_no_control_characters(text: str, name: str) -> None:
    r"""Checks that a text can be written into files for other programs.

    Args:
        text: What the caller gave.
        name: How errors call it, such as "`image`".

    Raises:
        ValueError: If it contains a control character; names the first.

    Example:
        >>> require_no_control_characters("shop\x1b", "`name`")
        Traceback (most recent call last):
        ValueError: `name` must not contain control characters. Received: 'shop\x1b', with U+001B as character 5.
    """
    match = _CONTROL_CHARACTER.search(text)
    if match:
        raise ValueError(
            f"{name} must not contain control characters. Received: '{show_control_characters(text)}', "
            f"with U+{ord(match[0]):04X} as character {match.start() + 1}."
        )
