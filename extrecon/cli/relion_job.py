"""``extrecon relion-job``: a command of extrecon as a job of type *External* in RELION's window."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand
from typer.main import get_command

from extrecon.cli.console import console, prepare_folder
from extrecon.errors import OutputError, UsageError
from extrecon.options import FALSE_WORDS, TRUE_WORDS
from extrecon.options.suggestion import did_you_mean
from extrecon.record import RECORD_SUFFIX
from extrecon.relion import external_job as relion
from extrecon.system.files import replacing
from extrecon.system.processes import signals_handled

# NumPy and torch are imported when the work begins: what is broken there must still end as RELION expects.

WORKS = ("regularize", "local-resolution", "validate")
LOG_FILE = "logfile.pdf"
ABORT_LOOK_SECONDS = 1.0
_NOT_TAKEN = ("in_movies", "in_mics", "in_parts", "in_coords")
_OURS = ("o", "in_3dref", "in_mask", "j", "pipeline_control", "other_half")
_SIGNAL_EXIT_BASE = 128


class RawCommand(TyperCommand):
    """Takes its words as they are: which of them are RELION's is told by the command itself."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep the words, after looking for --help first; a shell that completes them wants nothing said."""
        if ctx.resilient_parsing:
            ctx.params, ctx.args = {}, list(args)
            return []
        if not args or args[0] == "--help":
            typer.echo(ctx.get_help())
            ctx.exit(0 if args else UsageError.exit_code)
        ctx.params, ctx.args = {}, list(args)
        return []


@dataclass(frozen=True)
class _Job:
    """What RELION handed over.

    Attributes
    ----------
    prefix : the job's folder as RELION gave it, with its slash
    given : RELION's own words by name, and ``other_half``
    words : the rest: the user's parameters
    """

    prefix: str
    given: Mapping[str, str]
    words: Sequence[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The job's folder."""
        return Path(self.prefix)


def command(context: typer.Context) -> None:
    """Be a job of type External in RELION's window: relion-job regularize|local-resolution|validate ….

    As External executable give: extrecon relion-job regularize. "Input 3D reference" is the map, and a half-map
    brings its other half; "Input 3D mask" is the mask; each parameter's label is an option of that command
    (regularizer, set, fsc_cutoff, pixel_size …), its value the option's. A switch takes yes, no, or nothing. The
    parameter other_half names the other half-map where RELION's names do not, or says none.
    """
    job = _read(context.args[1:])
    prepare_folder(job.folder)
    relion.forget_earlier_attempt(job.folder)
    with _ends_as_relion_expects(job.folder):
        work = context.args[0]
        if work not in WORKS:
            raise UsageError(f"relion-job does {', '.join(WORKS)}, not '{work}'.{did_you_mean(work, WORKS)}")
        before = _stamps(job.folder)
        _work(work, job)
        made = [path for path, stamp in _stamps(job.folder).items() if before.get(path) != stamp]
        _tell_relion(job, sorted(made))


def _read(words: Sequence[str]) -> _Job:
    """Part RELION's words from the user's."""
    given: dict[str, str] = {}
    rest: list[str] = []
    for group in _groups(words):
        name = group[0].removeprefix("--").replace("-", "_")
        if group[0].startswith("--") and name in (*_OURS, *_NOT_TAKEN):
            given[name] = " ".join(group[1:])
        else:
            rest += group
    if not given.get("o"):
        raise UsageError("--o is missing: RELION gives it to a job of type External, which this command is for.")
    return _Job(given["o"].rstrip("/") + "/", given, rest)


def _groups(words: Sequence[str]) -> list[list[str]]:
    """Return each option with the words that follow it."""
    groups: list[list[str]] = []
    for word in words:
        if word.startswith("--") or not groups:
            groups.append([word])
        else:
            groups[-1].append(word)
    return groups


@contextmanager
def _ends_as_relion_expects(folder: Path) -> Iterator[None]:
    """Leave the file that tells RELION how the job ended, whatever happens; RELION would wait for it for ever."""
    ending = _Ending(folder)
    with signals_handled(_stop):
        try:
            with ending.watches_for_abort():
                yield
        except BaseException:
            ending.say(relion.FAILURE)
            raise
        ending.say(relion.SUCCESS)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(_SIGNAL_EXIT_BASE + number)


class _Ending:
    """How a job ends: once, and as the first to say so has it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._said = False

    def say(self, name: str) -> bool:
        """Write the file of that name, if none was written; tell whether it was."""
        with self._lock:
            if self._said:
                return False
            self._said = True
            try:
                (self._folder / name).touch()
            except OSError as error:
                raise OutputError(f"{self._folder / name}: cannot be written: {error.strerror}.") from error
            return True

    @contextmanager
    def watches_for_abort(self) -> Iterator[None]:
        """End this process soon after RELION's window asks for it."""
        over = threading.Event()
        threading.Thread(target=self._watch, args=(over,), daemon=True).start()
        try:
            yield
        finally:
            over.set()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(ABORT_LOOK_SECONDS):
            if (self._folder / relion.ABORT_NOW).exists() and self.say(relion.ABORTED):
                # Results are replaced in one step, so that nothing half-written stays behind.
                os._exit(_SIGNAL_EXIT_BASE + signal.SIGTERM)


def _work(work: str, job: _Job) -> None:
    """Run the command with the words that RELION's became.

    Raises
    ------
    ExtreconError : whatever the command raises, or it was given what it does not know.
    """
    module = import_module(f"extrecon.cli.{work.replace('-', '_')}")
    wrapped = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    wrapped.command(work)(module.command)
    parsed = get_command(wrapped)
    words = _words(job, parsed.params)
    console.print(f"extrecon {work} {' '.join(words)}", highlight=False, soft_wrap=True, markup=False)
    try:
        parsed.main(args=words, prog_name=f"extrecon {work}")
    except SystemExit as ended:
        if ended.code:
            raise


def _words(job: _Job, parameters: Sequence[Any]) -> list[str]:
    """Return the command's words."""
    known = {name: p for p in parameters for name in (*p.opts, *p.secondary_opts)}
    taken = [name for name in _NOT_TAKEN if name in job.given]
    if taken:
        raise UsageError(f"--{taken[0]} is not for extrecon: give a map as Input 3D reference, none else.")
    if not job.given.get("in_3dref"):
        raise UsageError("there is no map: give one as Input 3D reference (--in_3dref).")
    words = [*map(str, _maps(job)), "-o", job.prefix.rstrip("/"), "--overwrite"]
    if job.given.get("in_mask"):
        words += ["--mask", job.given["in_mask"]]
    if job.given.get("j") and "--threads" in known:
        words += ["--threads", job.given["j"]]
    for group in _groups(job.words):
        words += _option(group, known)
    return words


def _option(group: list[str], known: Mapping[str, Any]) -> list[str]:
    """Return one of the user's parameters as the command knows it: dashes, and a switch without its value."""
    name, values = group[0], group[1:]
    dashed = name.replace("_", "-")
    name = dashed if dashed in known else name
    parameter = known.get(name)
    if parameter is None or not parameter.is_flag or not values:
        return [name, *values]
    word = values[0].lower()
    if len(values) > 1 or word not in TRUE_WORDS | FALSE_WORDS:
        raise UsageError(f"{name} is a switch: give it yes, no, or nothing, not '{' '.join(values)}'.")
    if word in TRUE_WORDS:
        return [name]
    return list(parameter.secondary_opts[:1])


def _maps(job: _Job) -> list[Path]:
    """Return the map, or both half-maps, the given one first."""
    first, wanted = Path(job.given["in_3dref"]), job.given.get("other_half", "")
    if wanted.lower() == "none":
        return [first]
    if wanted:
        return [first, Path(wanted)]
    second = relion.other_half_of(first)
    if second is None:
        return [first]
    if second.is_file():
        return [first, second]
    console.print(
        f"{second} is not there: working on {first.name} alone, without an FSC.", highlight=False, soft_wrap=True
    )
    return [first]


def _stamps(folder: Path) -> dict[Path, tuple[int, int]]:
    """Return what tells a new file from an old one, for each file that RELION or a user could open."""
    found = [path for path in folder.iterdir() if path.suffix in (".mrc", ".png")]
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in found}


def _tell_relion(job: _Job, made: Sequence[Path]) -> None:
    """Bind the pictures into the job's log file, and tell RELION what other jobs may take."""
    records = [path.name for path in job.folder.glob(f"*{RECORD_SUFFIX}")]
    results = {name.removesuffix(RECORD_SUFFIX) + ".mrc" for name in records}  # a record stands beside each
    kinds = {path.name: relion.node_kind(path, results) for path in made}
    nodes = {name: kind for name, kind in kinds.items() if kind is not None}
    pictures = [path for path in made if path.suffix == ".png"]
    if pictures:
        _bind(pictures, job.folder / LOG_FILE)
        nodes[LOG_FILE] = relion.LOG
    relion.write_output_nodes(job.folder, job.prefix, nodes)


def _bind(pictures: Sequence[Path], pdf: Path) -> None:
    """Write pictures as the pages of a PDF, the only kind of log that RELION's window shows."""
    from PIL import Image

    pages = []
    for picture in pictures:
        with Image.open(picture) as image:
            pages.append(image.convert("RGB"))
    with replacing(pdf) as temporary:
        pages[0].save(temporary, format="PDF", save_all=True, append_images=pages[1:])
