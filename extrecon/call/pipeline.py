"""One call of RELION: read, reconstruct, decide, regularize, safeguard, write.

The plain map is written before the regularizer starts. Whatever happens to this process afterwards, RELION can
go on with it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.call.choice import check_choice, load_choice
from extrecon.call.decision import Decision, decide
from extrecon.call.halves import HalfExchange, exchange_folder
from extrecon.call.masks import MASK_MADE, find_mask
from extrecon.call.safeguards import check_values, guard
from extrecon.errors import DeviceMissingError, ExtreconError, OutputError, RegularizerError
from extrecon.fourier.compute import Compute, available_cores, compute_for, cpu
from extrecon.maps import HalfMap, read_map
from extrecon.maps.mrc import write_volume
from extrecon.options import RELIONS_GPU, Options
from extrecon.reconstruct import Geometry, reconstruct
from extrecon.record import Record, log_lines, maps_of_last_attempt, record_path
from extrecon.regularizer import Context, Progress, Regularized, Regularizer, no_progress
from extrecon.relion.accumulators import AccumulatorFiles
from extrecon.relion.job import Job, read_job
from extrecon.relion.names import output_stem
from extrecon.relion.search import MODEL, OPTIMISER, SAMPLING, SearchState, read_search_state
from extrecon.system.devices import threads_of_a_call
from extrecon.system.files import replacing, temporary_prefix

Say = Callable[[str], None]
"""Takes one line for RELION's log."""

Aside = Callable[[], AbstractContextManager[None]]
"""Entered while a call only waits, so that others may use the device."""


@dataclass
class _Call:
    """What the stages of one call share."""

    job: Job
    state: SearchState
    options: Options
    compute: Compute
    record: Record
    working_directory: Path
    progress: Progress
    aside: Aside

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, and tell that it has begun."""
        self.progress(name, 0.0)
        with self.record.stage(name):
            yield

    @property
    def pixel_size_angstrom(self) -> float | None:
        return self.job.pixel_size_angstrom or self.state.pixel_size_angstrom

    def write(self, path: Path, values: npt.NDArray[np.float32]) -> None:
        with self.stage("write"):
            write_volume(path, values, self.pixel_size_angstrom or 0.0)

    def beside(self, ending: str) -> Path:
        """Return the path of a further map of this job."""
        return self.job.stem.with_name(f"{self.job.stem.name}_{ending}.mrc")

    def write_record(self) -> None:
        self.record.write(record_path(self.job.stem))


def run_job(
    star: Path,
    options: Options,
    working_directory: Path,
    say: Say,
    progress: Progress = no_progress,
    *,
    served_by: str = "",
    aside: Aside = nullcontext,
) -> Record:
    """Do what RELION asks for in ``star`` and return the record, which is also written beside the result.

    Parameters
    ----------
    star : the STAR file that RELION wrote
    options : effective options
    working_directory : RELION's; the paths in the STAR file are relative to it
    say : gets one line about the call, and one more for each warning
    progress : gets stages and fractions
    served_by : for the record: who does this work
    aside : entered while the call only waits for the other half

    Raises
    ------
    ExtreconError : there is no map to return, or the regularizer failed under ``--on-error fail``.
    """
    record = Record(
        input=str(star),
        options={**options.values, "set": dict(options.settings)},
        origins=dict(options.origins),
        warnings=list(options.warnings),
        daemon=served_by,
    )
    try:
        _remove_stale(star, None)
        _run(star, options, working_directory, record, progress, aside)
    except Exception as error:
        record.outcome, record.reason = "failed", str(error)
        record.error = {"text": str(error), "traceback": traceback.format_exc()}
        _write_failure_record(star, record)
        raise
    finally:
        for line in log_lines(record, star):
            say(line)
    return record


def _write_failure_record(star: Path, record: Record) -> None:
    try:
        record.write(record_path(output_stem(star)))
    except ExtreconError as error:
        record.warnings.append(f"the record could not be written: {error}")


def _run(
    star: Path, options: Options, working_directory: Path, record: Record, progress: Progress, aside: Aside
) -> None:
    progress("read", 0.0)
    with record.stage("read"):
        job = read_job(star, working_directory)
        state = _search_state(job, options)
    _remove_stale(star, job)
    compute = _compute(options, record)
    call = _Call(job, state, options, compute, record, working_directory, progress, aside)
    decision = decide(job, state, options.text("apply"))  # type: ignore[arg-type]
    _describe(call, decision)
    plain = _reconstruct(call)
    if decision.regularize:
        _regularize_and_write(call, plain, decision)
    else:
        _check_regularizer_early(call)
        call.write(job.result, plain)
        record.outcome = "plain"
        call.write_record()


def _threads(options: Options) -> int:
    return threads_of_a_call(int(options.number("threads")), available_cores())


def _compute(options: Options, record: Record) -> Compute:
    """Return where to work: the CPU, with a warning, where the device is not there and RELION should live on."""
    device, threads = options.text("device"), _threads(options)
    try:
        return compute_for(device, threads)
    except DeviceMissingError as error:
        # A device that nobody asked for may be missing: RELION's GPU says nothing of the torch installed here.
        if options.text("on_error") == "fail" and options.origins.get("device") != RELIONS_GPU:
            raise
        record.warnings.append(f"working on the CPU: {error}")
        return cpu(threads)


def _search_state(job: Job, options: Options) -> SearchState:
    if job.name is None:
        return SearchState()
    # What is not going to decide anything is not waited for: a first iteration has no sampling file before it,
    # and a 2D classification never writes a HEALPix order.
    awaited = {"never": (), "always": (OPTIMISER, MODEL), "local-search": (SAMPLING, OPTIMISER, MODEL)}
    wanted = awaited[options.text("apply")] if job.dimensions == 3 else ()
    return read_search_state(job.name, options.number("gate_wait"), wanted)


def _remove_stale(star: Path, job: Job | None) -> None:
    """Remove what an earlier attempt left: RELION would accept it without a look."""
    stem = output_stem(star)
    stale = [stem.with_name(stem.name + end) for end in (".mrc", "_out.star", "_plain.mrc", "_regularized.mrc")]
    stale += [stem.with_name(name) for name in maps_of_last_attempt(stem)]
    stale.append(record_path(stem))
    stale += stem.parent.glob(f"{temporary_prefix(stem)}*.tmp")
    if job is not None:
        stale += [path for path in (job.result, job.result_star) if path is not None]
    for path in stale:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: an earlier result cannot be removed: {error.strerror}.") from error


def _describe(call: _Call, decision: Decision) -> None:
    job, record = call.job, call.record
    record.reason, record.joined = decision.reason, decision.joined
    if job.name is not None:
        record.iteration, record.half = job.name.iteration, job.name.half
        record.kind, record.number = job.name.kind, job.name.number
    record.healpix_order = call.state.healpix_order
    record.local_healpix_order = call.state.local_healpix_order
    record.box, record.current_size = job.original_size, job.current_size
    record.padding_factor, record.pixel_size_angstrom = job.padding_factor, call.pixel_size_angstrom
    record.device = call.compute.name
    record.map_term = job.tau2 is not None
    if job.tau2 is None:
        record.warnings.append("the STAR file has no tau2 table: reconstructed without the MAP term")


def _reconstruct(call: _Call) -> npt.NDArray[np.float32]:
    job = call.job
    geometry = Geometry(job.original_size, job.current_size, job.padding_factor, job.dimensions)
    accumulators = AccumulatorFiles(job, geometry.accumulator_shape)

    def on(compute: Compute) -> npt.NDArray[np.float32]:
        return reconstruct(accumulators, geometry, tau2=job.tau2, tau2_fudge=job.tau2_fudge, compute=compute)

    with call.stage("reconstruct"):
        try:
            return on(call.compute)
        except RuntimeError as error:  # what torch raises when the device's memory is full
            if call.compute.on_host:
                raise
            call.record.warnings.append(f"reconstructed on the CPU, because {call.compute.name} failed: {error}")
            return on(cpu(_threads(call.options)))


def _check_regularizer_early(call: _Call) -> None:
    """Say from the first iteration on that a regularizer could not be used, rather than days later."""
    if call.options.text("apply") == "never":
        return
    try:
        _load_regularizer(call)
        check_choice(call.options, call.working_directory)
    except ExtreconError as error:
        if call.options.text("on_error") == "fail":
            raise
        call.record.warnings.append(f"the regularizer cannot be used when its time comes: {error}")


def _load_regularizer(call: _Call) -> tuple[Regularizer, Context]:
    regularizer, settings = load_choice(call.options)
    call.record.regularizer = {"name": _name(call), "version": regularizer.version, "settings": settings}
    context = Context(
        settings=settings,
        half_map_fsc=call.job.half_map_fsc,
        particle_diameter_angstrom=call.job.particle_diameter_angstrom or call.state.particle_diameter_angstrom,
        inside_refinement=True,
        compute=call.compute,
        progress=call.progress,
    )
    return regularizer, context


def _regularize_and_write(call: _Call, plain: npt.NDArray[np.float32], decision: Decision) -> None:
    record, result, kept = call.record, call.job.result, call.beside("plain")
    fail_loudly = call.options.text("on_error") == "fail"
    call.write(kept, plain)
    if not fail_loudly:
        _publish_copy(kept, result)
    reason, record.outcome = record.reason, "unfinished"
    call.write_record()
    try:
        density = _regularize(call, plain)
        call.write(call.beside("regularized") if decision.joined else result, density)
    except Exception as error:
        if fail_loudly:
            raise
        record.outcome, record.reason = "fallback", f"{reason}; but {_name(call)} failed: {error}"
        record.error = {"text": str(error), "traceback": traceback.format_exc()}
        kept.unlink(missing_ok=True)
    else:
        record.outcome = "plain" if decision.joined else "regularized"
        if decision.joined:
            # RELION's result is the plain map itself: a second name for it would say nothing.
            _publish_copy(kept, result)
            kept.unlink()
            record.reason = f"{reason}; regularized beside it as {call.beside('regularized').name}"
    call.write_record()


def _publish_copy(source: Path, target: Path) -> None:
    """Give a file a second name; it is never written in place, so both stay what they are."""
    with replacing(target) as temporary:
        try:
            temporary.hardlink_to(source)
        except OSError:
            temporary.write_bytes(source.read_bytes())  # not every file system has links


def _name(call: _Call) -> str:
    return call.options.text("regularizer")


def _regularize(call: _Call, plain: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    record = call.record
    with call.stage("load regularizer"):
        regularizer, context = _load_regularizer(call)
    if call.pixel_size_angstrom is None:
        raise RegularizerError("the pixel size is unknown: neither the STAR file nor the model file tells it.")
    half_map = HalfMap(plain, call.pixel_size_angstrom)
    if regularizer.uses_mask:
        with call.stage("mask"):
            mask, record.mask = find_mask(call.options.text("mask"), half_map, call.state, call.working_directory)
            context = replace(context, mask=mask, mask_is_made=record.mask == MASK_MADE)
    elif call.options.text("mask"):
        record.warnings.append(f"{_name(call)} uses no mask: {call.options.text('mask')} was not read")
    if regularizer.needs_both_halves:
        with _other_half(call, half_map) as other:
            return _with_safeguards(call, half_map, regularizer, replace(context, other_half=other))
    return _with_safeguards(call, half_map, regularizer, context)


@contextmanager
def _other_half(call: _Call, half_map: HalfMap) -> Iterator[HalfMap]:
    """Yield the other half's plain map, having offered this one's.

    Raises
    ------
    RegularizerError : there is no other half, it did not come in time, or it is of another size.
    """
    folder, half, record = exchange_folder(call.job), 1 if call.record.half == 1 else 2, call.record
    with HalfExchange(folder, half) as exchange:
        exchange.offer(call.beside("plain"))
        with call.stage("wait for the other half"), call.aside():
            path = exchange.await_other(call.options.number("half_wait"))
        other = read_map(path, half_map.pixel_size_angstrom)
        if other.box != half_map.box:
            raise RegularizerError(f"half{half} is {half_map.box}³ voxels, but the other half is {other.box}³.")
        record.other_half = {"waited_seconds": record.seconds["wait for the other half"]}
        yield other


def _with_safeguards(
    call: _Call, half_map: HalfMap, regularizer: Regularizer, context: Context
) -> npt.NDArray[np.float32]:
    call.progress(f"regularize with {_name(call)}", 0.0)
    outcome = regularize_safely(
        half_map,
        regularizer,
        context,
        shell_scale=call.options.flag("shell_scale"),
        fsc_cutoff=call.options.flag("fsc_cutoff"),
        record=call.record,
    )
    for name, values in outcome.maps.items():
        call.record.maps.append(call.beside(name).name)
        call.write(call.beside(name), np.asarray(values, dtype=np.float32))
    return np.asarray(outcome.density, dtype=np.float32)


def regularize_safely(
    half_map: HalfMap,
    regularizer: Regularizer,
    context: Context,
    *,
    shell_scale: bool,
    fsc_cutoff: bool,
    record: Record,
) -> Regularized:
    """Run a regularizer and the safeguards; tell the record what both did.

    Raises
    ------
    SafeguardError : the map was not safe.
    Exception : whatever the regularizer raised.
    """
    with record.stage("regularize"):
        regularized = regularizer.regularize(half_map, context)
    record.facts = dict(regularized.facts)
    record.warnings += regularized.warnings
    with record.stage("safeguards"):
        check_values(regularized.density, half_map.density)
        if np.array_equal(regularized.density, half_map.density):
            record.safeguards = {"unchanged": True}
            return regularized
        guarded = guard(
            regularized.density,
            half_map.density,
            half_map_fsc=context.half_map_fsc,
            shell_scale=shell_scale,
            fsc_cutoff=fsc_cutoff,
            bound_gain=context.inside_refinement,
            compute=context.compute,
        )
    record.safeguards = guarded.facts
    record.warnings += guarded.warnings
    return replace(regularized, density=guarded.density)
