"""What mkdocs does beside reading `docs`: the reference's tables, and the studies where they lie."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

HERE = Path(__file__).resolve().parent
STUDIES = ("regularizers", "weights")  # folders whose pages and pictures appear as they are, under studies/


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the regularizers and the cards of the weights, with their pictures."""
    for folder in STUDIES:
        for path in sorted((HERE.parent / folder).glob("*.*")):
            if path.suffix in {".md", ".png"}:
                files.append(File.generated(config, f"studies/{folder}/{path.name}", abs_src_path=str(path)))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Mark short words of code: a line must not break behind the ``--`` of an option."""
    return re.sub(r"<code>(?=[^<\s]{1,26}</code>)", '<code class="word">', html)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead links to the studies to where the site has them, and put the tables into pages that ask for them."""
    markdown = with_studies(markdown, page.file.src_uri)
    if "<!-- " not in markdown:
        return markdown
    sys.path.insert(0, str(HERE))
    try:
        from site_reference import filled
    finally:
        sys.path.remove(str(HERE))
    return filled(markdown)


def with_studies(markdown: str, page: str) -> str:
    """Rewrite a page's links to the folders of studies, which lie beside `docs` in the repository."""
    up = "../" * page.count("/")
    return re.sub(rf"\]\({re.escape(up)}\.\./(?={'|'.join(STUDIES)})", f"]({up}studies/", markdown)
