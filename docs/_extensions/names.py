"""Names in code font lead to the reference, in guides and in docstrings, and so do the types of signatures."""

from __future__ import annotations

import functools
import re
import sys

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform

import tfrs_twotower as tt
from tests.conformance import public_names

#: What looks like a public name, perhaps with arguments. Other words, such as `evaluate`, may also mean Keras's.
_NAME = re.compile(r"(tt\.[\w.]+|[A-Z]\w+(?:\.\w+)?|[a-z]+_\w+)(?:\(.*\))?")


@functools.cache
def find_targets() -> dict[str, str]:
    """Returns each way to write a public name, or a member of one, -> its place in the reference."""
    modules = public_names.namespaces()
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for path, value in public_names.public_objects().items():
        namespace, _, name = path.rpartition(".")
        target = first.setdefault(id(value), f"{modules[namespace].__name__}.{name}")
        for written in (path, name, *([f"tt.{name}"] if hasattr(tt, name) else [])):
            found.setdefault(written, target)
    for line in public_names.listing():
        owner, _, member = re.split(r"[^\w.]", line, maxsplit=1)[0].rpartition(".")
        if owner in found and f"{owner}.{member}" not in found:
            target = f"{found[owner]}.{member}"
            found |= {f"{owner}.{member}": target, f"{owner.rpartition('.')[2]}.{member}": target}
    return found


class _LinkNames(SphinxPostTransform):
    """Makes links of the names in code font, except in headings and in the texts of other links."""

    default_priority = 5

    def run(self, **_: object) -> None:
        taken = (nodes.reference, nodes.title, addnodes.pending_xref)
        outer = list(self.document.findall(lambda node: isinstance(node, taken)))
        inner = {id(literal) for node in outer for literal in node.findall(nodes.literal)}
        for literal in list(self.document.findall(nodes.literal)):
            match = _NAME.fullmatch(literal.astext())
            if match and id(literal) not in inner:
                link = _link(self.app, self.env.docname, find_targets().get(match[1], ""), literal)
                if link is not None:
                    literal.replace_self(link)


def _find_type(
    app: Sphinx, _: BuildEnvironment, node: addnodes.pending_xref, content: nodes.Element
) -> nodes.Element | None:
    """Resolves a type as the source writes it, such as `Interactions`. A type that is not public leads nowhere."""
    name = node["reftarget"]
    if target := find_targets().get(name):
        return _link(app, node["refdoc"], target, content)
    return content if name in _find_private_types() else None


@functools.cache
def _find_private_types() -> frozenset[str]:
    """Returns the names that modules of this package define and that are not public."""
    modules = [module for name, module in sys.modules.items() if name.startswith("tfrs_twotower.")]
    return frozenset(name for module in modules for name in vars(module)) - find_targets().keys()


def _link(app: Sphinx, page: str, target: str, content: nodes.Element) -> nodes.Element | None:
    domain = app.env.domains["py"]
    return domain.resolve_xref(app.env, page, app.builder, "obj", target, addnodes.pending_xref(), content.deepcopy())


def setup(app: Sphinx) -> dict[str, bool]:
    """Registers with Sphinx."""
    app.add_post_transform(_LinkNames)
    app.connect("missing-reference", _find_type)
    return {"parallel_read_safe": True}
