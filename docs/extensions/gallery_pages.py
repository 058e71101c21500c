"""Write links and figures of the gallery's pages as Markdown, so that they work without a server.

mkdocs-gallery writes them as HTML for sites whose pages are folders. Search without a server needs
pages that are files, and for links in Markdown MkDocs finds the way by itself and checks it.
"""

import re
from typing import Any

_NOTE = re.compile(r"!!! note\n\n    Click \[here\]\(#download_links\)\n.*?\n(?=\S)", re.DOTALL)
_FIGURE = re.compile(r"!\[([^\]]*)\]\((\S+?)\.png\)\{: \.mkd-glr-single-img [^}]*\}")
_CARD = re.compile(
    r'<div class="mkd-glr-thumbcontainer" tooltip="(?P<intro>.*?)">.*?src="(?P<picture>.*?)"'
    r'.*?href="(?P<page>.*?)">\s*<span[^>]*>(?P<title>.*?)</span>.*?</div>',
    re.DOTALL,
)


def _card(found: re.Match[str]) -> str:
    page, title = f"{found['page']}.md", found["title"]
    intro = " ".join(found["intro"].split())
    if intro.endswith("..."):  # cut off within a word
        intro = intro.removesuffix("...").rpartition(" ")[0] + " …"
    return (
        '<div class="example-card" markdown>\n\n'
        f"[![]({found['picture']})]({page})\n\n**[{title}]({page})**\n\n{intro}\n\n</div>"
    )


def on_page_markdown(markdown: str, *, page: Any, **kwargs: Any) -> str:
    """Rewrite the pages that mkdocs-gallery made; called by MkDocs for every page."""
    if not page.file.src_uri.startswith("gallery/"):
        return markdown
    markdown = _NOTE.sub("", markdown)
    # The finer of the two pictures; at the width of a page the other one is blurred.
    markdown = _FIGURE.sub(r"![\1](\2_2_0x.png)", markdown)
    return _CARD.sub(_card, markdown)
