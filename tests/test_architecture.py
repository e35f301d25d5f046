"""The rooms' import directions, read from the imports themselves."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# From the top: a room imports only from rooms below it.
ORDER = (
    "hook",
    "cli",
    "compare",
    "notebook",
    "testing",
    "daemon",
    "call",
    "validate",
    "pictures",
    "simulate",
    "chain",
    "regularizer",
    "reconstruction",
    "relion",
    "atoms",
    "fourier",
    "maps",
    "settings",
    "options",
    "record",
    "system",
    "errors",
)
PUBLIC_TO_REGULARIZERS = {"regularizer", "settings", "atoms", "maps", "fourier", "errors"}
STANDARD_LIBRARY_ONLY = (
    "hook",
    "daemon.client",
    "call.supervisor",
    "call.fallback",
    "options",
    "options.command_line",
    "record",
    "system.relion_log",
    "system.processes",
    "system.devices",
    "system.files",
    "system.limits",
    "system.memory",
    "call.limits",
    "call.request",
    "errors",
)


PLUGINS = "regularizers/extrecon_regularizers"


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(ROOT / "extrecon").parts[0].removesuffix(".py")


def imported(path: Path) -> list[str]:
    """Return the dotted names a file imports, at any depth."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            names += [f"{base}.{alias.name}" for alias in node.names]
    return names


def rooms_imported(path: Path) -> set[str]:
    parts = [name.split(".") for name in imported(path)]
    rooms = {p[1] for p in parts if p[0] == "extrecon" and len(p) > 1}
    return rooms - {"__version__"}


def test_every_room_is_in_the_order() -> None:
    rooms = {room_of(path) for path in modules("extrecon")} - {"__init__"}
    assert rooms == set(ORDER)


@pytest.mark.parametrize("path", modules("extrecon"), ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_import_downwards(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        assert rooms_imported(path) == {"notebook"}  # lazily: see what the hook imports
        return
    allowed = set(ORDER[ORDER.index(room) :])
    assert rooms_imported(path) <= allowed


@pytest.mark.parametrize("path", modules("extrecon"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_core_never_imports_a_regularizer(path: Path) -> None:
    assert not [name for name in imported(path) if name.split(".")[0] == "extrecon_regularizers"]


@pytest.mark.parametrize("path", modules(PLUGINS), ids=lambda p: str(p.relative_to(ROOT)))
def test_regularizers_use_the_public_interface_alone(path: Path) -> None:
    assert rooms_imported(path) <= PUBLIC_TO_REGULARIZERS


def test_the_hook_imports_nothing_heavy() -> None:
    program = (
        "import sys; before = set(sys.modules); "
        + "; ".join(f"import extrecon.{name}" for name in STANDARD_LIBRARY_ONLY)
        + "; print(*sorted({m.split('.')[0] for m in set(sys.modules) - before}))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    outside = set(ran.stdout.split()) - set(sys.stdlib_module_names)
    assert outside == {"extrecon"}


@pytest.mark.parametrize(
    "path",
    [path for path in modules("extrecon") + modules(PLUGINS) if path.name == "__init__.py"],
    ids=lambda p: str(p.relative_to(ROOT)),
)
def test_init_files_only_re_export(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    if path == ROOT / "extrecon" / "__init__.py":
        lazy = [node for node in body if isinstance(node, (ast.If, ast.FunctionDef))]
        assert [getattr(node, "name", "TYPE_CHECKING") for node in lazy] == ["TYPE_CHECKING", "__getattr__"]
        body = [node for node in body if node not in lazy]
    for node in body:
        assert isinstance(node, (ast.Expr, ast.ImportFrom, ast.Assign))


LONGEST_FILE, LONGEST_BODY = 400, 40


def body_lines(function: ast.FunctionDef) -> int:
    """Return the lines of a function's work: its options and docstring are for reading, not for following."""
    body = function.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", modules("extrecon") + modules(PLUGINS), ids=lambda p: str(p.relative_to(ROOT)))
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    assert [f.name for f in functions if body_lines(f) > LONGEST_BODY] == []
