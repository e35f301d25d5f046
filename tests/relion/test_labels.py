from __future__ import annotations

import ast
from pathlib import Path

import pytest

from extrecon.relion import labels

PACKAGE = Path(labels.__file__).parents[1]


def literals(path: Path) -> list[str]:
    """Return the text constants of a file, those in f-strings as well, without its docstrings."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    told = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = [node for node in nodes if isinstance(node, ast.Constant) and id(node) not in told]
    return [str(node.value) for node in texts]


@pytest.mark.parametrize(
    "path",
    [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "labels.py"],
    ids=lambda path: str(path.relative_to(PACKAGE)),
)
def test_no_other_file_spells_a_label(path: Path) -> None:
    assert not [text for text in literals(path) if "rln" in text]


def test_each_label_has_one_name() -> None:
    found = [text for text in literals(Path(labels.__file__)) if "rln" in text]
    assert len(found) > 30
    assert len(found) == len(set(found))
