"""Texts with what a terminal, a parser or a reader would obey, and how each is shown instead."""

#: Name -> the text and how it is shown.
CONTROLLED = {
    "colour": ("a\x1b[31mb", r"a\x1b[31mb"),
    "title of the window": ("a\x1b]0;owned\x07b", r"a\x1b]0;owned\x07b"),
    "C1 sequence": ("a\x9b31mb", r"a\x9b31mb"),
    "NUL, backspace and delete": ("a\x00\x08\x7fb", r"a\x00\x08\x7fb"),
    "tab, line feed and return": ("a\tb\nc\rd", r"a\tb\nc\rd"),
    "next line": ("a\x85b", r"a\x85b"),
    "separators of lines and paragraphs": ("a\u2028b\u2029c", r"a\u2028b\u2029c"),
    "overrides of direction": ("a\u202eb\u202c\u202a\u202b\u202d", r"a\u202eb\u202c\u202a\u202b\u202d"),
    "isolates of direction": ("a\u2066b\u2067c\u2068d\u2069", r"a\u2066b\u2067c\u2068d\u2069"),
    "marks of direction": ("a\u200eb\u200fc\u061c", r"a\u200eb\u200fc\u061c"),
    "half a surrogate pair": ("a\udcffb", r"a\udcffb"),
    "mark of byte order": ("\ufeffab", r"\ufeffab"),
    "no character": ("a\ufffeb\uffff", r"a\ufffeb\uffff"),
}

#: Texts that are shown as they are, although some programs take them for something else.
PLAIN = (
    "Amélie [bold]x[/bold] [/x] [link=http://127.0.0.1]y[/link]",
    ":100: :warning: :smiley:",
    r"\x1b[31m is written out",
    "{task.description} %s $HOME `ls` 'q' \"q\" # & * !",
    "ألف ليلة وليلة",
    "שלום עולם",
    "می\u200cروم, क्\u200dष",  # joiners
    "七人の侍 🎬👩\u200d🚀",
)
