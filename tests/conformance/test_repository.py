"""Rules that hold for the whole repository, and that no linter checks."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from tfrs_twotower import __version__

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "tfrs_twotower"

#: Folders that git ignores, or that hold what a run leaves behind.
_IGNORED = {"build", "_build", "dist", "__pycache__", "reference", "saved_models", "node_modules"}
_KEPT = {".ci", ".github", ".gitignore", ".pre-commit-config.yaml"}
MODULES = sorted(PACKAGE.rglob("*.py"))

#: Fields of batches, under their old and new names, that nothing else has.
_BATCH_KEYS = {
    "candidate_key",
    "candidate_keys",
    "is_other_positive",
    "log_frequency",
    "log_sampling_probabilities",
    "query_place",
    "query_places",
    "target_candidate",
    "target_candidates",
    "target_place",
    "target_places",
}
#: Fields of batches that are also columns or inputs: they are no keys of anything that is called like a batch.
_SHARED_KEYS = {"candidate", "candidate_row", "history_rating", "query", "query_row", "rating", "ratings", "weight"}
_BATCH_NAMES = {"batch", "batches", "inputs"}


def repository_files() -> Iterator[Path]:
    """Yields every text file of the repository, whether git is there or not."""
    for path in sorted(ROOT.rglob("*")):
        parts = path.relative_to(ROOT).parts
        is_ignored = any(part in _IGNORED or part.endswith(".egg-info") for part in parts[:-1])
        is_hidden = parts[0].startswith(".") and parts[0] not in _KEPT
        if path.is_file() and not is_ignored and not is_hidden:
            yield path


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def name_of(node: ast.expr) -> str:
    """Returns the last name of an expression such as `self.batch`, or ""."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def test_no_file_names_a_folder_of_a_machine():
    """Absolute paths in the folders where people and build machines work."""
    folders = "|".join(["home", "root", "Users", "work", "tmp", "mnt", "scratch"])
    pattern = re.compile(rf"(?<![\w.$}}/-])/(?:{folders})/\w")
    found = []
    for path in repository_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in pattern.finditer(text)]
    assert not found


def test_the_readme_has_at_most_900_words():
    """The count includes code and tables."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").split()) <= 900


def test_the_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == __version__
    assert citation["license"] == "Apache-2.0"


def test_pre_commit_runs_the_checks_of_the_script():
    """All commands of scripts/test but pytest, in the same words and the same environment."""
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    hooks = [hook["entry"] for repository in config["repos"] for hook in repository["hooks"]]
    script = (ROOT / "scripts" / "test").read_text(encoding="utf-8")
    assert hooks == [line for line in script.splitlines() if line.startswith(".venv/bin/") and "pytest" not in line]


def test_the_package_does_not_import_tests():
    """This includes the examples in docstrings."""
    pattern = re.compile(r"^\W*(?:from|import) tests\b", re.MULTILINE)
    assert not [path for path in MODULES if pattern.search(path.read_text(encoding="utf-8"))]


def test_no_module_outside_model_asks_whether_a_model_is_joint():
    asked = [
        f"{path}: {ast.unparse(node)}"
        for path in MODULES
        if not path.is_relative_to(PACKAGE / "model")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call)
        and name_of(node.func) in ("isinstance", "issubclass")
        and "JointModel" in ast.unparse(node.args[1])
    ]
    assert not asked


def test_no_parameter_takes_a_manifest_as_a_dictionary():
    found = [
        f"{path}: {function.name}({ast.unparse(argument)})"
        for path in MODULES
        for function in ast.walk(parse(path))
        if isinstance(function, ast.FunctionDef)
        for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
        if argument.arg == "manifest" and re.search(r"\b(?:dict|Mapping|Any)\b", ast.unparse(argument))
    ]
    assert not found


def test_no_module_outside_batches_has_a_key_of_a_batch_as_a_string():
    found = {
        str(path): keys
        for path in MODULES
        if not path.is_relative_to(PACKAGE / "batches") and (keys := batch_keys(parse(path)))
    }
    assert not found


def test_the_search_for_keys_of_a_batch_finds_every_way_to_use_one():
    source = """
a = "target_place" in inputs
b = batch["rating"]
c = self.batch.get("weight")
d = "history_rating" in batch
e = events["rating"]
"""
    assert sorted(batch_keys(ast.parse(source))) == ["history_rating", "rating", "target_place", "weight"]


def batch_keys(module: ast.Module) -> list[str]:
    """Returns the keys of batches that a module uses as strings."""
    found = []
    for node in ast.walk(module):
        if isinstance(node, ast.Constant) and node.value in _BATCH_KEYS:
            found.append(node.value)
            continue
        key: ast.expr | None = None
        if isinstance(node, ast.Subscript) and name_of(node.value) in _BATCH_NAMES:
            key = node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            is_access = node.func.attr in ("get", "pop") and name_of(node.func.value) in _BATCH_NAMES
            key = node.args[0] if is_access else None
        elif isinstance(node, ast.Compare) and name_of(node.comparators[0]) in _BATCH_NAMES:
            key = node.left
        if isinstance(key, ast.Constant) and key.value in _SHARED_KEYS:
            found.append(key.value)
    return found
