"""The README and docs/ agree with the repository: quoted scripts, links, figures, and the list of pages."""

import re
from pathlib import Path

import pytest

from tests.docs.test_code_blocks import REPOSITORY, blocks, find_pages, quoted

EXAMPLES = sorted(path.name for path in (REPOSITORY / "examples").glob("*.py"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_page_quotes_the_example(name):
    assert any(quoted(name) in blocks(page, "python") for page in find_pages())


@pytest.mark.parametrize("page", find_pages())
def test_links_lead_to_files_and_headings(page):
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (REPOSITORY / page).parent / path if path else REPOSITORY / page
        assert target.exists(), link
        if anchor:
            assert anchor in heading_anchors(target), link


def heading_anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_list_of_pages_is_complete():
    listed = re.findall(r"\]\(([^)#]+\.md)", (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8"))
    linked = {(REPOSITORY / "docs" / link).resolve() for link in listed}
    assert {(REPOSITORY / page).resolve() for page in find_pages()} - {REPOSITORY / "docs" / "README.md"} <= linked


@pytest.mark.parametrize(
    ("page", "heading", "columns"),
    [
        ("README.md", "## Figures", ("auc", "log_loss", "ndcg@10", "recall@10")),
        ("docs/guides/concepts.md", "## Why a rating loss does not rank", ("auc", "ndcg@10")),
    ],
)
def test_figures_of_a_page_are_those_of_the_table(page, heading, columns):
    names, measured = quality_table()
    section = (REPOSITORY / page).read_text(encoding="utf-8").split(heading)[1].split("\n## ")[0]
    rows = [cells(line) for line in section.splitlines() if line.startswith("| `")]
    assert len(rows) == 6
    for name, *values in rows:
        case = re.match("`(.*?)`", name)[1]
        for column, value in zip(columns, values, strict=True):
            assert measured[case][names.index(column)].split(" ± ")[0] == value, (case, column)


def test_figures_of_the_concepts_are_in_the_table():
    _, measured = quality_table()
    text = (REPOSITORY / "docs" / "guides" / "concepts.md").read_text(encoding="utf-8")
    known = {value.split(" ± ")[0] for values in measured.values() for value in values}
    assert set(re.findall(r"0\.\d{4}", text)) <= known


def quality_table() -> tuple[list[str], dict[str, list[str]]]:
    """The columns of the table that scripts/benchmark_quality.py writes, and case -> cells."""
    page = (REPOSITORY / "docs" / "guides" / "figures.md").read_text(encoding="utf-8")
    table = page.split("<!-- quality: written by scripts/benchmark_quality.py -->")[1].split("<!-- /quality -->")[0]
    header, _, *lines = table.strip().splitlines()
    rows = [cells(line) for line in lines]
    return cells(header)[1:], {name.strip("`"): values for name, *values in rows}


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
