"""Settings of Sphinx for the documentation site, which `scripts/docs` builds.

The source folder is the root of the repository, so that every page is where its Markdown file is, and a relative link
means the same here and on GitHub. Nothing is fetched while it builds, and nothing when it is read.
"""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]

from tfrs_twotower import __version__  # noqa: E402
from tfrs_twotower._look import ICON, STYLE  # noqa: E402

project = "tfrs_twotower"
copyright = "the authors of tfrs_twotower"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "_extensions.navigation",
    "_extensions.reference",
    "_extensions.names",
]
root_doc = "README"
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
_PAGES = {"README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs"}
exclude_patterns = ["docs/_*", *(path.name for path in ROOT.iterdir() if path.name not in _PAGES)]

# Every reference must lead somewhere.
nitpicky = True
#: Types of other packages, whose documentation is not read while this site is built.
nitpick_ignore_regex = [
    ("py:.*", r"(collections|concurrent|datetime|grpc|np|npt|optuna|os|pa|tf|tfrs|types)\..*"),
]

# The headings of Markdown pages have the anchors that GitHub gives them.
myst_heading_anchors = 6
# A name in single backticks is code in a docstring, as it is in Markdown.
default_role = "code"
highlight_language = "text"
# `""` and `--option` stay what they are.
smartquotes = False

autodoc_member_order = "bysource"
add_module_names = False
python_maximum_signature_line_length = 100
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False

html_theme = "furo"
pygments_dark_style = "github-dark"
html_title = f"tfrs_twotower {__version__}"
# The site looks like the report and the explorer: the theme's colours and type are those of their style sheet, which
# says itself what they are in the dark.
_LOOK = {
    "color-foreground-primary": "var(--ink)",
    "color-foreground-secondary": "var(--muted)",
    "color-foreground-muted": "var(--muted)",
    "color-foreground-border": "var(--border)",
    "color-background-primary": "var(--page)",
    "color-background-secondary": "var(--surface)",
    "color-background-hover": "var(--accent-soft)",
    "color-background-hover--transparent": "transparent",
    "color-background-border": "var(--line)",
    "color-brand-primary": "var(--accent)",
    "color-brand-content": "var(--accent)",
    "color-link--visited": "var(--accent)",
    "color-link--visited--hover": "var(--accent)",
    "color-link-underline": "var(--accent)",
    "color-problematic": "var(--bad)",
    "color-highlight-on-target": "var(--accent-soft)",
    "color-highlighted-background": "var(--accent-soft)",
    "font-stack": "var(--font)",
    "font-stack--monospace": "var(--mono)",
    "font-size--small": "var(--small)",
    "font-size--small--3": "var(--small)",
    "font-size--small--4": "var(--small)",
    "sidebar-caption-font-size": "var(--small)",
}
html_theme_options = {"light_css_variables": _LOOK, "dark_css_variables": _LOOK}
html_favicon = str(ICON)
html_static_path = ["_static", str(STYLE)]
html_css_files = ["look.css", "site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_copy_source = False
html_show_sphinx = False
