"""What the pages and the README say, held against the program: commands, options, parameters, links, tables."""

from __future__ import annotations

import itertools
import re
import runpy
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import pytest
import site_reference
import typer.main
from typer.testing import CliRunner

from extrecon.call.choice import choose, choose_for_phase
from extrecon.cli.main import app, real_command
from extrecon.cli.run import RawCommand
from extrecon.errors import ExtreconError
from extrecon.maps import read_map
from extrecon.options import OPTIONS, Options, parse_settings
from extrecon.options.command_line import parse, parse_options
from extrecon.options.phases import read_phases
from extrecon.record import Record
from extrecon.regularizer import LOCAL_RESOLUTION_GROUP, load
from extrecon.relion.program import VARIABLE
from extrecon.settings import read_settings

ROOT = Path(__file__).resolve().parents[1]
OWN = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
STUDIES = [path for folder in ("regularizers", "weights") for path in sorted((ROOT / folder).glob("*.md"))]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
MOST_LINES, REPEATED_WORDS = 250, 25
SEPARATORS = frozenset({"&&", ";", "|"})


@dataclass(frozen=True)
class Example:
    """A command as a page shows it; ``made`` are the regularizers that the page has the reader make."""

    page: str
    line: str
    made: frozenset[str] = frozenset()

    @property
    def words(self) -> list[str]:
        return list(itertools.takewhile(lambda word: word not in SEPARATORS, shlex.split(self.line, comments=True)))


def examples(page: Path) -> Iterator[Example]:
    """Yield the lines of a page's blocks that call a program of ours, by whatever path."""
    text = page.read_text("utf-8")
    made = frozenset(re.findall(r"^\s*extrecon new-regularizer ([\w-]+)", text, re.MULTILINE))
    for language, block in FENCE.findall(text):
        if language:
            continue
        for line in block.replace("\\\n", "").splitlines():
            if in_the_variable := re.search(VARIABLE + r"=\"\S*(extrecon-hook[^\"]*)\"", line):
                yield Example(str(page.relative_to(ROOT)), f"{in_the_variable[1]} FILE.star", made)
            if re.match(r"\s*(?:\S*/)?(?:extrecon|extrecon-hook)\s|\s*(?:\S* )?scripts/", line):
                yield Example(str(page.relative_to(ROOT)), line.strip(), made)


EXAMPLES = [example for page in OWN for example in examples(page)]
GROUP: Any = typer.main.get_command(app)
MISUSE = typer.BadParameter.__mro__[1]  # of the click that typer uses, its own or the package


def understood(example: Example) -> None:
    """Take a command's words as the program would, without doing anything.

    Raises
    ------
    Exception : an unknown command, option, regularizer or parameter.
    """
    words, made = example.words, example.made
    program = Path(words[0]).name
    if "scripts/" in words[0] or (len(words) > 1 and words[1].startswith("scripts/")):
        script = next(word for word in words if word.startswith("scripts/"))
        assert (ROOT / script).is_file(), script
        return
    if program == "extrecon-hook":
        check_choice(parse(words[1:], {}, ROOT)[1], made)
        return
    assert program == "extrecon", program
    if words[1:2] == ["--version"]:
        return
    assert words[1] in GROUP.commands, words[1]
    command, rest = real_command(words[1]), words[2:]
    if hasattr(command, "commands"):
        command, rest = command.commands[rest[0]], rest[1:]
    if isinstance(command, RawCommand):
        own, separator, relion = split(rest)
        assert separator, "extrecon run needs --"
        assert "--external_reconstruct" in relion or any("$(" in word for word in relion)
        check_choice(parse_options(own, {}, ROOT), made)
        return
    given = command.make_context(words[1], list(rest)).params
    check_given(words[1], given, made)


def split(words: list[str]) -> tuple[list[str], bool, list[str]]:
    if "--" not in words:
        return words, False, []
    place = words.index("--")
    return words[:place], True, words[place + 1 :]


def check_choice(options: Options, made: frozenset[str]) -> None:
    for chain in read_phases(options.text("regularizer")).chains():
        if chain not in made:
            choose_for_phase(options, chain)


def check_given(name: str, given: dict[str, Any], made: frozenset[str]) -> None:
    if name == "regularize" and given["regularizer"] not in made:
        choose(given["regularizer"], parse_settings(given["set_"] or [], "--set"))
    elif name == "local-resolution":
        plugin = load(given["method"], LOCAL_RESOLUTION_GROUP)
        read_settings(plugin.settings_type, parse_settings(given["set_"] or [], "--set"), plugin.name)
    elif name == "regularizers" and given["name"] not in {None, *made}:
        load(given["name"])
    elif name == "compare":
        for arm in given["arm"]:
            hook_options = arm.partition("=")[2] if "=" in arm else arm
            if hook_options.startswith("--"):
                check_choice(parse_options(shlex.split(hook_options), {}, ROOT), made)
            elif hook_options not in {"plain", *made}:
                choose(hook_options, {})


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda e: f"{e.page}: {e.line[:60]}")
def test_the_program_understands_each_command_shown(example: Example) -> None:
    understood(example)


@pytest.mark.parametrize(
    "line",
    [
        "extrecon regularise map.mrc -o out",
        "extrecon regularize map.mrc --regularizer cnn -o out --no-such-option",
        "extrecon regularize map.mrc --regularizer cnn -o out --set K=0.1",
        "extrecon run --regularizer nobody -- relion_refine --external_reconstruct",
        "extrecon run --set K=0.1 --regularizer cnn -- relion_refine --external_reconstruct",
        "extrecon run --regularizer cnn -- relion_refine",
        "extrecon-hook --no-such-option run.star",
        'extrecon compare data --arm "mild=--regularizer localdeblur --set k=1"',
        "extrecon compare data --arm nobody",
        "scripts/no_such_script",
        "extrecon new-commands",
    ],
)
def test_a_wrong_command_would_be_found(line: str) -> None:
    with pytest.raises((ExtreconError, AssertionError, MISUSE)):
        understood(Example("", line))


def test_pages_show_commands_at_all() -> None:
    assert len(EXAMPLES) > 30
    shown = {example.words[1] for example in EXAMPLES if Path(example.words[0]).name == "extrecon"}
    assert shown >= {"run", "mask", "validate", "regularize", "simulate", "compare", "daemon", "doctor"}


def rendered(page: Path) -> str:
    """Return a page as the site shows it, its tables filled in."""
    return site_reference.filled(page.read_text("utf-8"))


def prose(markdown: str) -> str:
    return FENCE.sub("", markdown)


def anchors(markdown: str) -> set[str]:
    """Return the anchors of a page's headings, as Python-Markdown makes them."""
    found = set()
    for heading in re.findall(r"^#{1,6} (.+)$", prose(markdown), re.MULTILINE):
        plain = re.sub(r"[`*_]|\]\([^)]*\)|\[", lambda m: "_" if m[0] == "_" else "", heading)
        ascii_only = plain.encode("ascii", "ignore").decode()
        found.add(re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", ascii_only).strip().lower()))
    return found | set(re.findall(r"^::: (\S+)", markdown, re.MULTILINE)) | members(markdown)


def members(markdown: str) -> set[str]:
    """Return the anchors that the plugin interface's entries get."""
    return {
        f"{module}.{name.strip()}"
        for module, names in re.findall(r"^::: (\S+)\n +options:\n +members: \[(.*)\]", markdown, re.MULTILINE)
        for name in names.split(",")
    }


@pytest.mark.parametrize("page", [*OWN, *STUDIES], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_pictures_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page.read_text("utf-8"))):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.is_file(), f"{page}: {link}"
        assert not anchor or anchor in anchors(rendered(path)), f"{page}: {link}"


def test_the_site_leads_to_the_studies_where_it_has_them() -> None:
    """In the repository they lie beside `docs`, on the site in its folder `studies`."""
    with_studies = runpy.run_path(str(ROOT / "scripts" / "site_hooks.py"))["with_studies"]
    own = "[a](../../weights/a.md#top), [b](mask.md) and [c](../studies/index.md)"
    assert with_studies(own, "how-to/page.md") == own.replace("../../weights", "../studies/weights")
    assert with_studies("[a](../weights/a.md)", "start.md") == "[a](studies/weights/a.md)"
    of_study = "[a](../weights/a.md)"
    assert with_studies(of_study, "studies/regularizers/paper.md") == of_study


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("hook", [f"--{option.name}" for option in OPTIONS]),
        ("hook", ["--set", "--config"]),
        ("record", [f"`{field.name}`" for field in fields(Record)] + ["`format`", "`extrecon`"]),
        ("files", [f"| {code} |" for code in range(1, 11)]),
        ("commands", [name for name, _ in site_reference.every_command(GROUP)]),
        ("regularizers", ["## cnn", "## localdeblur", "`max-resolution`", "`target-B`", "`blend`"]),
    ],
)
def test_the_reference_names_everything(page: str, words: list[str]) -> None:
    text = rendered(ROOT / "docs" / "reference" / f"{page}.md")
    assert [word for word in words if word not in text] == []


def test_the_records_docstring_describes_each_field_once() -> None:
    told = [name for names, _ in site_reference.described(Record) for name in names]
    assert sorted(told) == sorted(field.name for field in fields(Record))


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text("utf-8").partition("\nnav:")[2]
    listed = {line.split()[-1] for line in navigation.splitlines() if line.strip().startswith("- ")}
    pages = {str(page.relative_to(ROOT / "docs")) for page in OWN[1:]}
    assert pages <= listed
    assert {f"studies/{page.relative_to(ROOT)}" for page in STUDIES} <= listed


def test_pages_are_short() -> None:
    lines = {str(page): len(page.read_text("utf-8").splitlines()) for page in OWN}
    assert {page: count for page, count in lines.items() if count > MOST_LINES} == {}


def paragraphs(page: Path) -> Iterator[list[str]]:
    for paragraph in re.split(r"\n\s*\n", prose(page.read_text("utf-8"))):
        yield re.findall(r"[\w.°]+", re.sub(r"\]\([^)]*\)", "", paragraph).lower())


def test_no_two_pages_say_the_same() -> None:
    seen: dict[tuple[str, ...], Path] = {}
    for page in [*OWN, *STUDIES]:
        for words in paragraphs(page):
            for start in range(len(words) - REPEATED_WORDS + 1):
                phrase = tuple(words[start : start + REPEATED_WORDS])
                first = seen.setdefault(phrase, page)
                assert first == page or {first, page} <= set(STUDIES), f"{page} repeats {first}: {' '.join(phrase)}"


def test_the_commands_for_half_maps_work_as_they_stand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs" / "how-to" / "half-maps.md"
    shown = [e.words for e in examples(page) if "scripts/demo_data/half1.mrc" in e.words]
    assert [words[1] for words in shown] == ["mask", "validate", "local-resolution", "regularize", "validate"]
    for words in shown:
        done = CliRunner().invoke(app, words[1:], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    assert 0.0 < read_map(tmp_path / "mask.mrc").density.mean() < 1.0
    for name in (
        "scores/validation.html",
        "resolution/local_resolution.mrc",
        "resolution/refined_mask.mrc",
        "sharp/half1_localdeblur.mrc",
        "sharp/half2_localdeblur.mrc",
        "sharp/half1_localdeblur_local_resolution.mrc",
    ):
        assert (tmp_path / name).is_file(), name
