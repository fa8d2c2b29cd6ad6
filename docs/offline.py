"""What lets the site be built and read without a network, as a Sphinx extension.

- Formulas become MathML, which browsers draw themselves, by docutils' own translator.
- Diagrams that a code host draws (``mermaid``) are shown as the text that they are.
- Objects of the package that no page describes, since they are not public, are named without a link; they must exist.
- Pages of the repository that lie outside ``docs/`` are pages here, with the links that fit here.
"""

from __future__ import annotations

import pkgutil
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

REPOSITORY = Path(__file__).resolve().parents[1]
OUTSIDE = {"CONTRIBUTING.md": "contributing", "CHANGELOG.md": "changelog"}
"""Page at the root of the repository -> the page here that shows it."""


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="formula">{tex2mathml(node.astext(), as_block=True)}</div>')
    raise nodes.SkipNode


def _read(app: Sphinx, page: str, source: list[str]) -> None:
    """Links to pages outside lead to the pages that show them, whose text is that of the original."""
    for outside, inside in OUTSIDE.items():
        if page == inside:
            source[0] = (REPOSITORY / outside).read_text(encoding="utf-8").replace("](docs/", "](")
            source[0] = _redirected(source[0], "")
    source[0] = _redirected(source[0], "../" * (1 + page.count("/")))


def _redirected(text: str, up: str) -> str:
    for outside, inside in OUTSIDE.items():
        text = text.replace(f"]({up}{outside}", f"]({up.removesuffix('../')}{inside}.md")
    return text


def _not_public(app: Sphinx, env: Any, node: Any, content: nodes.Node) -> nodes.Node | None:
    """The text of a reference to what is there and is not public; None where there is nothing of that name."""
    target = str(node.get("reftarget", ""))
    described = ".".join(filter(None, (node.get("py:module"), node.get("py:class"))))
    for name in (target, f"{described}.{target}"):
        if node.get("refdomain") == "py" and name.startswith("crosstask.") and _is_there(name):
            return content
    return None


def _is_there(name: str) -> bool:
    try:
        return pkgutil.resolve_name(name) is not None
    except (ImportError, AttributeError, ValueError):
        return False


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.config.html_math_renderer = "mathml"
    for language in ("mermaid", "csv"):
        app.add_lexer(language, TextLexer)
    app.connect("source-read", _read)
    app.connect("missing-reference", _not_public)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
