"""Site build: links to files outside ``docs/`` (sources, model cards) lead to the repository; formulas become MathML."""

from __future__ import annotations

import html
import posixpath
import re
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError

_LINK = re.compile(r"\]\((\.\.?/[^)#\s]+)(#[^)\s]*)?\)")
_FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001 - mkdocs' signature
    """Rewrite relative links that leave the documentation; the changelog is that of the repository."""
    if page.file.src_uri == "changelog.md":
        return Path("CHANGELOG.md").read_text(encoding="utf-8").replace("](docs/", "](")

    def target(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page.file.src_uri), found[1]))
        if path.startswith("docs/"):
            return found[0]
        return f"]({config.repo_url}/blob/main/{path}{found[2] or ''})"

    return _LINK.sub(target, markdown)


def on_page_content(content: str, page: Any, config: Any, files: Any) -> str:  # noqa: ARG001 - mkdocs' signature
    """Formulas in TeX as MathML, which browsers draw by themselves: no script, no network."""

    def mathml(found: re.Match[str]) -> str:
        display = "inline" if found[1] == "span" else "block"
        return convert(html.unescape(found[2]).strip(), display=display)

    drawn = _FORMULA.sub(mathml, content)
    if 'class="arithmatex"' in drawn:
        raise PluginError(f"{page.file.src_uri}: a formula was not understood")
    return drawn
