"""The public names: few at the top, all listed once, documented with examples, and with signatures as written down.

`python -m tests.conformance.test_public_names` writes `public_api.txt` again, after a signature was changed on purpose.
"""

import difflib
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tfrs_twotower as tt
from tests.conformance.public_names import classes_and_functions, listing, namespaces, public_objects

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "public_api.txt"
_COMMAND = "python -m tests.conformance.test_public_names"

_DESCRIBED = classes_and_functions()


def read_pages() -> dict[str, str]:
    """Returns name -> text of the README and of every page in docs/."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in pages}


def test_the_top_level_has_at_most_30_names():
    assert len(tt.__all__) <= 30


def test_the_top_level_lists_no_name_twice_and_no_namespace():
    assert len(set(tt.__all__)) == len(tt.__all__)
    assert not set(tt.__all__) & set(tt.NAMESPACES)


def test_the_namespaces_have_every_name_of_the_top_level():
    in_namespaces = {id(value) for value in public_objects().values()}
    missing = [name for name in tt.__all__ if id(getattr(tt, name)) not in in_namespaces]
    assert missing == ["__version__"]


def test_the_stub_lists_the_names_and_the_namespaces_and_nothing_else():
    stub = (ROOT / "tfrs_twotower" / "__init__.pyi").read_text(encoding="utf-8")
    imported = re.findall(r"^from \S+ import \w+ as (\w+)$", stub, re.MULTILINE)
    assert sorted(imported) == sorted([*tt.__all__, *tt.NAMESPACES])


def test_dir_shows_the_names_and_the_namespaces():
    assert {*tt.__all__, *tt.NAMESPACES} <= set(dir(tt))


@pytest.mark.parametrize("path", sorted(namespaces()))
def test_dir_shows_every_name_of_a_namespace(path):
    module = namespaces()[path]
    names = [other.rpartition(".")[2] for other in public_objects() if other.rpartition(".")[0] == path]
    assert names
    assert set(names) <= set(dir(module))


@pytest.mark.parametrize(
    "code",
    [
        "import tfrs_twotower",
        "import tfrs_twotower as tt; tt.Schema, tt.load_ratings, dir(tt), tt.data, dir(tt.features)",
        "import tfrs_twotower as tt; tt.random_split, tt.temporal_split, tt.leave_last_out_split, tt.Interactions",
        "import tfrs_twotower as tt; tt.load_ratings({'u': ['a'], 'm': ['x']}, "
        "tt.Schema(query_id='u', candidate_id='m', rating=None))",
    ],
)
def test_a_name_that_needs_no_tensorflow_does_not_load_it(code):
    check = "; import sys; assert not {'tensorflow', 'tf_keras', 'scann'} & set(sys.modules)"
    result = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", sorted(_DESCRIBED))
def test_a_public_class_or_function_has_an_example(path):
    own = vars(_DESCRIBED[path]).get("__doc__") if inspect.isclass(_DESCRIBED[path]) else _DESCRIBED[path].__doc__
    assert own, "It has no docstring of its own."
    assert "Example:\n" in own
    assert ">>> " in own


@pytest.mark.parametrize("path", sorted(_DESCRIBED))
def test_a_public_name_is_defined_where_it_says(path):
    value = _DESCRIBED[path]
    module = importlib.import_module(value.__module__)
    assert module.__name__.startswith("tfrs_twotower.")
    assert getattr(module, value.__qualname__) is value


def test_every_namespace_says_what_it_is():
    for path, module in namespaces().items():
        assert module.__doc__, path


def test_the_pages_mention_existing_names_only():
    unknown = {
        f"{page}: {mention}"
        for page, text in read_pages().items()
        for mention in re.findall(r"\btt(?:\.[A-Za-z_]\w*)+", text)
        if not _exists(mention)
    }
    assert not unknown


def test_the_pages_mention_every_name_and_namespace_of_the_top_level():
    text = "\n".join(read_pages().values())
    words = set(re.findall(r"\w+", text))
    assert set(tt.__all__) - words <= {"__version__"}
    assert set(tt.NAMESPACES) <= set(re.findall(r"\btt\.(\w+)", text))


def test_modules_that_the_architecture_names_exist():
    """Every `room/module.py` and every folder in docs/architecture.md is there."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:[a-z_0-9]+/)+(?:[a-z_0-9]+\.(?:py|pyi))?)`", text)
    assert len(named) > 50
    missing = {path for path in named if not any((folder / path).exists() for folder in (ROOT, ROOT / "tfrs_twotower"))}
    assert not missing


def test_functions_that_the_architecture_names_exist():
    """In "`room/module.py`, `function`" the module defines the function or the class."""
    text = " ".join((ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").split())
    pairs = re.findall(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+)\.py`, `(\w+)`", text)
    assert len(pairs) > 15
    for path, name in pairs:
        module = importlib.import_module(f"tfrs_twotower.{path.replace('/', '.')}")
        assert hasattr(module, name), f"{path}.py does not define {name}"


def test_public_signatures_are_as_written_down():
    written = GOLDEN.read_text(encoding="utf-8").splitlines()
    difference = "\n".join(difflib.unified_diff(written, listing(), "public_api.txt", "the package", lineterm="", n=0))
    assert not difference, f"{difference}\nIf this is what you want, run: {_COMMAND}"


def _exists(mention: str) -> bool:
    """Tells whether a name such as `tt.training.LazyAdam` exists; of a class also its fields exist."""
    value = tt
    for name in mention.split(".")[1:]:
        if inspect.isclass(value) and any(name in vars(base).get("__annotations__", {}) for base in value.__mro__):
            return True
        if not hasattr(value, name):
            return False
        value = getattr(value, name)
    return True


if __name__ == "__main__":
    GOLDEN.write_text("\n".join(listing()) + "\n", encoding="utf-8")
