"""The terminal: everything that a command prints goes through here, and text from data stays text.

A title, an id or the name of a file can contain what a terminal obeys, such as escape sequences, or what Rich replaces,
such as `[bold]` and `:100:`. A string that reaches a `Screen`, alone or in a table, is printed letter by letter, and
its control characters as escapes.
"""

from __future__ import annotations

import os
import re
import traceback
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from tfrs_twotower._control_characters import show_control_characters

# Wider than any table: a table takes no more than it needs.
_UNLIMITED = 100_000


class Screen(Console):
    """A console on which strings have no markup, no emoji codes and no control characters.

    What the program itself says in colour is a `Text`, which is printed as it is. In a file or a pipe, a table is as
    wide as its content, unless the environment variable COLUMNS gives a width.

    Args:
        options: Rich's options of a console.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)
        if "width" not in options and "COLUMNS" not in os.environ and not self.file.isatty():
            self.width = _UNLIMITED

    def render_str(self, text: str, **options: Any) -> Text:
        """Turns a string into what is printed; Rich calls it for every string, also in tables and their titles."""
        return super().render_str(show_control_characters(text), **options)


out = Screen()
err = Screen(stderr=True)


def print_line(text: str) -> None:
    """Prints a text in one line, which only the terminal wraps."""
    out.print(text, soft_wrap=True)


def print_note(text: str) -> None:
    """Prints a note in one line, apart from what a command gives."""
    err.print(f"Note: {text}", soft_wrap=True)


def print_error(message: str) -> None:
    """Prints an error in one line."""
    err.print(Text("Error:", style="bold red"), re.sub(r"[ \n]+", " ", message).strip(" "), soft_wrap=True)


def print_traceback(error: BaseException) -> None:
    """Prints an error as Python does."""
    for line in "".join(traceback.format_exception(error)).rstrip("\n").split("\n"):
        err.print(line, soft_wrap=True)


def print_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Prints a warning in one line; it takes the arguments of `warnings.showwarning`, and the place is left out."""
    del filename, lineno, file, line
    name = "Note" if category is UserWarning else category.__name__
    err.print(f"{name}: {message}", soft_wrap=True)
