"""The report, the explorer and the site share one style sheet, whose colours can be read in light and in dark."""

import re

import pytest

from tests.docs.test_code_blocks import REPOSITORY
from tfrs_twotower._look import ICON, STYLE

_COLOUR = re.compile(r"#[0-9a-fA-F]{3,8}\b|\brgba?\(|\bhsla?\(")
#: Name -> (light, dark).
COLOURS = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"--([a-z0-9-]+): light-dark\((#\w+), (#\w+)\);", STYLE.read_text(encoding="utf-8")
    )
}


@pytest.mark.parametrize(
    ("name", "behind", "ratio"),
    [
        *((name, "page", 4.5) for name in ("ink", "muted", "accent", "good", "bad")),
        *((name, "surface", 4.5) for name in ("ink", "muted", "accent", "bad")),
        *((name, f"{name}-soft", 4.5) for name in ("accent", "good")),
        ("ink", "accent-soft", 4.5),
        ("ink", "warn-soft", 4.5),
        ("on-accent", "accent", 4.5),
        # Parts of charts and of controls.
        *((f"chart-{number}", "page", 3) for number in range(1, 8)),
        *((name, "page", 3) for name in ("border", "good-bar", "bad-bar")),
    ],
)
def test_a_colour_stands_out_from_what_is_behind_it(name, behind, ratio):
    """WCAG 2.2, success criteria 1.4.3 and 1.4.11."""
    for colour, ground in zip(COLOURS[name], COLOURS[behind], strict=True):
        light, dark = sorted((luminance(colour), luminance(ground)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= ratio, (colour, ground)


def luminance(colour: str) -> float:
    """The relative luminance of WCAG 2.2, of a colour as #rgb or #rrggbb."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(
    "path",
    [
        "tfrs_twotower/evaluation/html/page.html",
        "tfrs_twotower/server/page/page.html",
        "tfrs_twotower/server/page/style.css",
        "docs/_static/site.css",
        "docs/conf.py",
    ],
)
def test_no_other_file_has_a_colour(path):
    text = (REPOSITORY / path).read_text(encoding="utf-8")
    allowed = "rgb(0 0 0 / .45)"  # what dims the page behind a dialogue
    assert _COLOUR.findall(text.replace(allowed, "")) == []


def test_the_icon_has_the_accent():
    """A style sheet does not reach it."""
    assert f'fill="{COLOURS["accent"][0]}"' in ICON.read_text(encoding="utf-8")
