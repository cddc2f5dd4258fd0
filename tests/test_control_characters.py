"""Control characters are shown as escapes or refused; all letters stay."""

import re
import unicodedata

import pytest

from tests.control_characters import CONTROLLED, PLAIN
from tfrs_twotower._control_characters import require_no_control_characters, show_control_characters


@pytest.mark.parametrize(("text", "shown"), CONTROLLED.values(), ids=CONTROLLED)
def test_control_characters_are_shown_as_escapes_and_refused(text, shown):
    assert show_control_characters(text) == shown
    with pytest.raises(ValueError, match=re.escape(f"`name` must not contain control characters. Received: '{shown}'")):
        require_no_control_characters(text, "`name`")


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_stays_as_it_is(text):
    assert show_control_characters(text) == text
    require_no_control_characters(text, "`name`")


def test_no_character_is_shown_that_moves_what_stands_beside_it():
    """By Unicode's own properties of every character, of which the pattern knows nothing."""
    directions = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    for character in map(chr, range(0x110000)):
        category = unicodedata.category(character)
        if category in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(character) in directions:
            assert show_control_characters(character).isascii(), hex(ord(character))
        elif category[0] in "LMNPS":
            assert show_control_characters(character) == character, hex(ord(character))


def test_the_first_control_character_is_named():
    with pytest.raises(ValueError, match=r"with U\+202E as character 3\.$"):
        require_no_control_characters("ab\u202e\x1b", "`name`")
