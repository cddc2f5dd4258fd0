"""Makes the notebooks of the pages in docs/notebooks, and their pictures.

A page is a guide in Markdown, and its notebook holds the same text: each Python block is a cell of code, and what
stands between two blocks is a cell of Markdown. The link to the notebook is left out, and so is the picture, because
the notebook's last cell draws it.

    python scripts/make_notebooks.py                     # writes all notebooks
    python scripts/make_notebooks.py --run own_shop      # writes one, runs it, and keeps the picture that it draws
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

import jupytext
import nbformat
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "notebooks"
_ONLY_ON_THE_PAGE = re.compile(r"^(?:!\[[^\]]*\]\(pictures/[^)]*\)|\[[^\]]*\]\([^)]*\.ipynb\))\n\n?", re.MULTILINE)
_SAVE = """
import matplotlib.pyplot
matplotlib.pyplot.savefig("picture.png", dpi=144, facecolor="white", bbox_inches="tight", pad_inches=0.2)
"""
_KERNEL = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def main() -> None:
    """Parses the command line and writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="pages without `.md`; all if none is given")
    parser.add_argument("--run", action="store_true", help="also run them, and keep the pictures that they draw")
    arguments = parser.parse_args()
    pages = [FOLDER / f"{name}.md" for name in arguments.names] or find_pages()
    for page in pages:
        page.with_suffix(".ipynb").write_text(format_notebook(page), encoding="utf-8")
    if arguments.run:
        draw_pictures(pages)


def find_pages() -> list[Path]:
    """Returns the pages that have a notebook."""
    return sorted(FOLDER.glob("*.md"))


def format_notebook(page: Path) -> str:
    """Returns the notebook of a page as the text of its file, the same for the same page."""
    notebook = jupytext.reads(_ONLY_ON_THE_PAGE.sub("", page.read_text(encoding="utf-8")), fmt="md")
    notebook.metadata = nbformat.from_dict(_KERNEL)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"{page.stem}-{number}"
    return nbformat.writes(notebook, version=4) + "\n"


def draw_pictures(pages: Iterable[Path]) -> None:
    """Runs each page as it stands, in a process and a folder of its own, and keeps the picture that it has drawn."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"}
    for page in pages:
        cells = nbformat.reads(format_notebook(page), as_version=4).cells
        script = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "script.py")
            path.write_text(script + _SAVE, encoding="utf-8")
            print(page.name, flush=True)
            subprocess.run([sys.executable, path], cwd=folder, env=environment, check=True)
            with Image.open(path.with_name("picture.png")) as drawn:
                # A palette takes a third of the space.
                drawn.convert("RGB").quantize(64).save(FOLDER / "pictures" / f"{page.stem}.png", optimize=True)


if __name__ == "__main__":
    main()
