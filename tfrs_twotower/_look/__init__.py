"""The look that the evaluation's report, the explorer and the documentation site share."""

from pathlib import Path

#: Style sheet with the colours, the type and the spacing of all three, in light and dark.
STYLE = Path(__file__).with_name("look.css")
#: Icon that a browser shows for all three.
ICON = Path(__file__).with_name("icon.svg")
