"""Each page of docs/notebooks has a notebook of the same text and shows the picture that its last block draws.

tests/docs/test_code_blocks.py runs the blocks, and checks what the pages claim.
"""

import re

import pytest

from scripts import make_notebooks
from tests.docs.test_code_blocks import CHECKS, NOTEBOOKS, REPOSITORY, blocks

NAMES = [page.stem for page in make_notebooks.find_pages()]
each_page = pytest.mark.parametrize("name", NAMES)


def text_of(name: str) -> str:
    return (REPOSITORY / NOTEBOOKS / f"{name}.md").read_text(encoding="utf-8")


@each_page
def test_the_notebook_is_made_of_the_page(name):
    page = REPOSITORY / NOTEBOOKS / f"{name}.md"
    notebook = page.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert notebook == make_notebooks.format_notebook(page), "Run: .venv/bin/python scripts/make_notebooks.py"


@each_page
def test_the_page_ends_with_the_picture_that_it_draws_and_words_on_it(name):
    code, words = text_of(name).rsplit("```\n", 1)
    assert code.endswith("plt.show()\n")
    description, path, explanation = re.fullmatch(r"\s*!\[([^\]]*)\]\((.*?)\)\s*(.*)", words, re.DOTALL).groups()
    assert path == f"pictures/{name}.png"
    assert (REPOSITORY / NOTEBOOKS / path).stat().st_size < 60_000
    assert len(description.split()) > 10
    assert len(explanation.split()) > 10


@each_page
def test_the_library_is_imported_first_and_the_page_says_why(name):
    page = f"{NOTEBOOKS}{name}.md"
    assert blocks(page, "python")[0] == "import tfrs_twotower as tt\n"
    assert "TensorFlow chooses its version of Keras when it is first imported" in " ".join(text_of(name).split())


@each_page
def test_the_page_is_short_and_checked(name):
    assert 60 <= len(text_of(name).splitlines()) <= 150
    assert "assert" in CHECKS[f"{NOTEBOOKS}{name}.md"]


def test_no_notebook_and_no_picture_is_left_over():
    for pattern in ("*.ipynb", "pictures/*"):
        assert {path.stem for path in (REPOSITORY / NOTEBOOKS).glob(pattern)} == {*NAMES}
