"""The guide to troubleshooting quotes messages that the package has, and all that a rule alone does not explain."""

import ast
import re

from tests.docs.test_code_blocks import REPOSITORY

PAGE = REPOSITORY / "docs" / "guides" / "troubleshooting.md"
#: What stands for the parts of a message that differ from case to case.
VARIES = "…"
#: Errors that state the rule of an argument, and those that a request gets. All others, and all warnings, are about the
#: surroundings: files, processes, packages, numbers that diverge.
BY_RULE = {"KeyError", "RequestError", "TypeError", "ValueError"}
SURROUNDINGS = re.compile(r"[A-Z]\w*Error$|warn$")
OTHERS = "## Messages of TensorFlow"


def template(node: ast.expr) -> str:
    """Returns the text of a message, with what varies as `…`, or "" if it is not written down in one place."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else VARIES for part in node.values)
    return ""


def messages() -> list[tuple[str, str]]:
    """Returns (what is raised, template) of every error and warning of the package."""
    found = []
    for path in sorted((REPOSITORY / "tfrs_twotower").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            call = node.exc if isinstance(node, ast.Raise) else node
            if isinstance(call, ast.Call) and call.args:
                name = ast.unparse(call.func).rpartition(".")[2]
                if isinstance(node, ast.Raise) or name == "warn":
                    found.append((name, template(call.args[0])))
    return [(name, text) for name, text in found if text.strip(VARIES + " ")]


def quotes() -> list[str]:
    """Returns the messages in the first columns of the page's tables, without those of other software."""
    text = PAGE.read_text(encoding="utf-8").partition(OTHERS)[0]
    cells = re.findall(r"^\| (`.*?) \| ", text, re.MULTILINE)
    return [
        quote
        for cell in cells
        for quote in re.findall(r"(?:^| or )(?:`` (.*?) ``|`([^`]+)`)", cell)
        for quote in quote
        if quote
    ]


MESSAGES = messages()
QUOTES = quotes()


def is_quoted_by(quote: str, text: str) -> bool:
    """Whether a quote is a part of a message; `…` in it stands for anything."""
    parts = [re.escape(part) for part in quote.split(VARIES)]
    return re.search(".*".join(parts), text) is not None


def test_messages_and_quotes_are_found():
    assert len(MESSAGES) > 500
    assert len(QUOTES) > 90


def test_quoted_messages_are_those_of_the_package():
    assert not [quote for quote in QUOTES if len(quote.replace(VARIES, "").strip()) < 9]
    assert not [quote for quote in QUOTES if not any(is_quoted_by(quote, text) for _, text in MESSAGES)]


def test_every_error_of_the_surroundings_and_every_warning_has_a_remedy():
    texts = [text for name, text in MESSAGES if name not in BY_RULE and SURROUNDINGS.match(name)]
    assert len(texts) > 60
    assert not [text for text in texts if not any(is_quoted_by(quote, text) for quote in QUOTES)]
