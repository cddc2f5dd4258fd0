"""Each page of docs/notebooks runs, its claims are true, its notebook has the same text, and it ends with a picture.

The Python blocks of a page are one script, which runs in a folder of its own. One process runs all of them, because
much of the time is spent on what TensorFlow prepares once.
"""

import os
import re
from pathlib import Path

import pytest

from scripts import make_notebooks
from tests import forks
from tests.docs.test_code_blocks import REPOSITORY, UNCHECKED, blocks

FOLDER = REPOSITORY / "docs" / "notebooks"
NAMES = [page.stem for page in make_notebooks.find_pages()]
each_page = pytest.mark.parametrize("name", NAMES)

_RECIPE = "fit_recipe(recipe, split"
_CHOSEN = "fit_recipe(tt.choose_recipe(split.train), split"

#: Page -> what the tests replace in its Python blocks, so that training takes a moment.
SUBSTITUTIONS = {
    "canary": {_CHOSEN: "fit_recipe(tt.choose_recipe(split.train).with_settings(epochs=8), split"},
    "from_tfrs": {"epochs=10,": "epochs=2,", "LazyAdam(2e-2)": "LazyAdam(3e-2)"},
    "implicit_feedback": {_RECIPE: "fit_recipe(recipe.with_settings(epochs=8), split"},
    "movielens": {_RECIPE: "fit_recipe(recipe.with_settings(epochs=1), split"},
    "own_shop": {_RECIPE: "fit_recipe(recipe.with_settings(epochs=6), split"},
    "sessions": {
        "epochs=30,": "epochs=10,",
        _RECIPE: "fit_recipe(recipe.with_settings(epochs=10), split",
    },
}

#: Page -> statements that the tests add at the end of its Python blocks: what the page claims is true.
CHECKS = {
    "canary": """
assert len(common) == 150 and all(len(found) == 10 for found in answers["stable"] + answers["canary"])
assert autumn[0] < 0.05 and autumn[1] > 0.8 and autumn[2] > 0.8
# Everybody gets articles of the own taste from the canary.
own = [int(article) % 2 == customer % 2 for customer, found in enumerate(answers["canary"]) for article in found]
assert np.mean(own) > 0.9
versions = {version.number: version for version in tt.publishing.list_versions("saved_models/shop")}
assert versions[1].is_served and versions[2].is_withdrawn
""",
    "from_tfrs": """
without, corrected = curves.values()
assert corrected[-1] > corrected[0] and without[-1] < without[0] and corrected[-1] > 1.2 * without[-1]
assert report.metrics["ndcg@10"] > report.cases["popularity"]["ndcg@10"]
""",
    "implicit_feedback": """
for one in (next_play, discovery):
    popular, recent, model = (one.cases[case]["ndcg@10"] for case in cases[1:])
    assert popular < recent < model
heard = {f"song {song}" for song in songs[listeners == 7]}
assert heard >= {*first[0]} and not {*first[0]} & {*others[0]}
""",
    "movielens": """
assert report.metrics["ndcg@10"] > 1.2 * report.cases["popularity"]["ndcg@10"] and report.metrics["auc"] > 0.65
assert (groups[1:, 1] > groups[:-1, 1]).all()
""",
    "new_items": """
assert values["id alone"] < 0.01 < values["random order"] < 0.5 * min(values["text"], values["picture"])
assert values["text and picture"] > max(values["text"], values["picture"])
assert (style[best] == liked_style[7]).sum() >= 4
""",
    "own_shop": """
assert report.metrics["ndcg@10"] > 2 * report.cases["popularity"]["ndcg@10"] and report.metrics["auc"] > 0.9
assert (np.diag(rated) < 0.85).all() and (np.diag(shares) > 0.9).all()
books = bundle.recommend({"client": "client 7"}, k=5, only={"department": ["books"]})
for found, place in ((books, 0), (bundle.similar("A003", k=5), 3), (bundle.recommend(newcomer, k=5), 2)):
    assert sum(int(article[1:]) % 4 == place for article in found.candidate_ids[0]) >= 4
""",
    "sessions": """
assert hit_rates["pooled"] < 0.2 and hit_rates["in order"] > 0.8
assert report.metrics["ndcg@10"] > 2 * report.cases["popularity"]["ndcg@10"]
share = np.array(share)
assert (share[6:11] < 0.1).all() and (share[18:23] > 0.9).all()
assert ((share[~known] > 0.2) & (share[~known] < 0.8)).all()
""",
}

#: Runs the script in each of the folders that it is given, and leaves a file in those in which an error ended it.
#: No window opens, and exports have no portable twin, which has tests of its own.
RUN = (
    """
import os, runpy, sys, traceback
import matplotlib
import tfrs_twotower as tt
matplotlib.use("agg")
tt.ExportConfig.__init__.__kwdefaults__["with_portable"] = False
"""
    + UNCHECKED
    + """
for folder in sys.argv[1:]:
    os.chdir(folder)
    try:
        runpy.run_path("script.py", run_name="__main__")
    except BaseException:
        with open("error.txt", "w") as file:
            traceback.print_exc(file=file)
    matplotlib.pyplot.close("all")
"""
)

#: What the tests add at the end of each script: the page has drawn one picture.
DRAWN = """
(drawn,) = map(plt.figure, plt.get_fignums())
assert any(axes.has_data() for axes in drawn.axes)
"""


def text_of(name: str) -> str:
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folders(request, movielens_dir, tmp_path_factory) -> dict[str, Path]:
    """Page -> the folder in which its script has run, for the pages that the selected tests ask for."""
    prefix = f"{test_the_page_runs_and_its_claims_are_true.__name__}["
    names = [item.callspec.params["name"] for item in request.session.items if item.name.startswith(prefix)]
    found = {name: tmp_path_factory.mktemp(name) for name in names}
    for name, folder in found.items():
        (folder / "script.py").write_text(script_of(name), encoding="utf-8")
    environment = {**os.environ, "TFDS_DATA_DIR": str(movielens_dir)}
    forks.start(["-c", RUN, *found.values()], environment=environment, as_for_users=False).finish()
    return found


def script_of(name: str) -> str:
    script = "\n".join(blocks(f"docs/notebooks/{name}.md", "python"))
    for text, replacement in SUBSTITUTIONS.get(name, {}).items():
        assert text in script, f"{name} no longer has {text!r}: remove it from SUBSTITUTIONS."
        script = script.replace(text, replacement)
    return script + DRAWN + CHECKS[name]


@pytest.mark.movielens
@pytest.mark.scann
@each_page
def test_the_page_runs_and_its_claims_are_true(name, folders):
    error = folders[name] / "error.txt"
    assert not error.exists(), error.read_text(encoding="utf-8")


@each_page
def test_the_notebook_is_made_of_the_page(name):
    page = FOLDER / f"{name}.md"
    notebook = page.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert notebook == make_notebooks.format_notebook(page), "Run: .venv/bin/python scripts/make_notebooks.py"


@each_page
def test_the_page_ends_with_the_picture_that_it_draws_and_words_on_it(name):
    code, words = text_of(name).rsplit("```\n", 1)
    assert code.endswith("plt.show()\n")
    description, path, explanation = re.fullmatch(r"\s*!\[([^\]]*)\]\((.*?)\)\s*(.*)", words, re.DOTALL).groups()
    assert path == f"pictures/{name}.png"
    assert (FOLDER / path).stat().st_size < 60_000
    assert len(description.split()) > 10
    assert len(explanation.split()) > 10


@each_page
def test_the_library_is_imported_first_and_the_page_says_why(name):
    assert blocks(f"docs/notebooks/{name}.md", "python")[0] == "import tfrs_twotower as tt\n"
    assert "TensorFlow chooses its version of Keras when it is first imported" in " ".join(text_of(name).split())


@each_page
def test_the_page_is_short(name):
    assert 60 <= len(text_of(name).splitlines()) <= 150


def test_no_notebook_and_no_picture_is_left_over():
    for pattern in ("*.ipynb", "pictures/*"):
        assert {path.stem for path in FOLDER.glob(pattern)} == {*NAMES}
