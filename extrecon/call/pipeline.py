"""One call of RELION: read, reconstruct, decide, regularize, safeguard, write.

The plain map is written before the regularizer starts. Whatever happens to this process afterwards, RELION can
go on with it.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extrecon.call import publishing
from extrecon.call.choice import check_choice
from extrecon.call.current import Aside, Call
from extrecon.call.decision import Decision, decide
from extrecon.call.limits import RECONSTRUCTING
from extrecon.call.memory import warning_of_the_plain_map
from extrecon.call.plugin import foreign
from extrecon.call.regularizing import load_regularizer, regularize
from extrecon.call.request import Request
from extrecon.call.solvent_mask import draw_solvent_mask
from extrecon.errors import DeviceMissingError, ExtreconError, MapError
from extrecon.fourier.compute import Compute, available_cores, compute_for, cpu
from extrecon.maps.half_map import count_not_finite
from extrecon.options import RELIONS_GPU, Options
from extrecon.options.phases import read_phases
from extrecon.reconstruction import data_of_job, reconstruct_job
from extrecon.record import Record, log_lines, record_path, write_or_warn
from extrecon.regularizer import Progress, no_progress
from extrecon.relion.job import Job, read_job
from extrecon.relion.names import MODEL, OPTIMISER, SAMPLING, output_stem
from extrecon.relion.search import SearchState, read_search_state
from extrecon.system.devices import threads_of_a_call
from extrecon.system.json_text import text_of
from extrecon.system.memory import release_freed_memory

Say = Callable[[str], None]
"""Takes one line for RELION's log."""


def run_job(
    request: Request,
    say: Say,
    progress: Progress = no_progress,
    *,
    served_by: str = "",
    aside: Aside = nullcontext,
) -> Record:
    """Do what RELION asks for and return the record, which is also written beside the result.

    Parameters
    ----------
    request : what to do
    say : gets one line about the call, and one more for each warning
    progress : gets stages and fractions
    served_by : for the record: who does this work
    aside : entered while the call only waits for the other half

    Raises
    ------
    ExtreconError : there is no map to return, or the regularizer failed under ``--on-error fail``.
    """
    options = request.options
    record = Record(
        input=str(request.star),
        options={**options.values, "set": dict(options.settings)},
        origins=dict(options.origins),
        warnings=list(options.warnings),
        daemon=served_by,
    )
    request = request.absolute  # before a plugin does anything to the working directory
    star = request.star
    try:
        _run(request, record, progress, aside, say)
    except Exception as error:
        record.outcome, record.reason = "failed", text_of(error)
        record.error = {"text": text_of(error), "traceback": traceback.format_exc()}
        if star.suffix == ".star":  # else there is no telling where the record belongs
            write_or_warn(record, record_path(output_stem(star)))
        raise
    finally:
        for line in log_lines(record, star):
            say(line)
    return record


def _run(request: Request, record: Record, progress: Progress, aside: Aside, say: Say) -> None:
    options = request.options
    progress("read", 0.0)
    with record.stage("read"):
        job = _read_job(request)
        state = _search_state(job, options)
    record.result = str(job.result.absolute())
    compute = _compute(options, record)
    call = Call(job, state, options, compute, record, request.working_directory, progress, aside)
    phases = read_phases(options.text("regularizer"))
    decision = decide(job, state, options.text("apply"), phases)  # type: ignore[arg-type]
    _describe(call, decision)
    draw_solvent_mask(call, decision)
    _warn_of_memory(call, say)
    plain = _reconstruct(call)
    _check_plain(plain, request.star)
    if not plain.any():
        record.reason = f"no particles here: the accumulators are empty; {decision.reason}"
        _publish_plain(call, plain)
    elif decision.joined and decision.regularize and _needs_both_halves(call):
        record.reason += f"; no regularized form beside it, because {call.regularizer_name} needs two half-maps"
        _publish_plain(call, plain)
    elif decision.regularize:
        _regularize_and_publish(call, plain, decision)
    else:
        _check_regularizer_early(call)
        _publish_plain(call, plain)
    if options.flag("remove_accumulators") and record.outcome in ("plain", "regularized"):
        record.warnings += publishing.remove_accumulators(job)
    call.write_record()


def _read_job(request: Request) -> Job:
    """Read the job, and remove what an earlier attempt left of it; of a job that cannot be read as well."""
    try:
        job = read_job(request.star, request.working_directory)
    except ExtreconError:
        publishing.remove_stale(request.star, None)
        raise
    publishing.remove_stale(request.star, job)
    return job


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


def _describe(call: Call, decision: Decision) -> None:
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
    if call.state.by_gradient:
        record.warnings.append(
            "RELION refines by gradient (--grad): what it hands over are differences from the reference, and it "
            "takes the map that it gets for the reference itself. Start it without --external_reconstruct"
        )
    if job.tau2 is None:
        record.warnings.append("the STAR file has no tau2 table: reconstructed without the MAP term")


def _warn_of_memory(call: Call, say: Say) -> None:
    """Say at once what could not be said any more if it came true."""
    geometry, compute = data_of_job(call.job).geometry, call.compute
    told = warning_of_the_plain_map(geometry, compute.threads) if compute.on_host else ""
    if told:
        say(f"extrecon {call.job.label}: warning: {told}")
        call.record.warnings.append(told)


def _reconstruct(call: Call) -> npt.NDArray[np.float32]:
    iterate = call.record.gridding = call.iterates_gridding
    with call.stage(RECONSTRUCTING):
        try:
            return reconstruct_job(call.job, iterate_gridding=iterate, compute=call.compute)
        except RuntimeError as error:  # what torch raises when the device's memory is full
            if call.compute.on_host:
                raise
            call.record.warnings.append(f"reconstructed on the CPU, because {call.compute.name} failed: {error}")
            return reconstruct_job(call.job, iterate_gridding=iterate, compute=cpu(_threads(call.options)))
        finally:
            release_freed_memory()  # the other half may need it


def _check_plain(plain: npt.NDArray[np.float32], star: Path) -> None:
    """Refuse a reconstruction that is not finite: RELION would lose the whole next iteration to it, in silence."""
    bad = count_not_finite(plain)
    if bad:
        raise MapError(
            f"{star}: the reconstruction has {bad} of {plain.size} values that are NaN or infinite, because "
            "RELION's accumulators or its tau2 cannot be used. Look at them before you continue the refinement."
        )


def _needs_both_halves(call: Call) -> bool:
    """Tell whether the regularizer could not work on one map; if it cannot be loaded, that is told later."""
    try:
        choice, _ = foreign(lambda: load_regularizer(call))
    except Exception:  # noqa: BLE001  it will be told where it counts
        return False
    return choice.regularizer.needs_both_halves


def _publish_plain(call: Call, plain: npt.NDArray[np.float32]) -> None:
    call.write(call.job.result, plain)
    call.record.outcome = "plain"


def _check_regularizer_early(call: Call) -> None:
    """Say from the first iteration on that a regularizer could not be used, rather than days later."""
    if call.options.text("apply") == "never":
        return
    try:
        foreign(lambda: load_regularizer(call))
        call.record.warnings += foreign(
            lambda: check_choice(call.options, call.working_directory, call.job, call.state)
        )
    except Exception as error:
        if call.fails_loudly:
            raise
        told = f"the regularizer cannot be used when its time comes: {text_of(error)}"
        call.record.warnings.append(told)


def _regularize_and_publish(call: Call, plain: npt.NDArray[np.float32], decision: Decision) -> None:
    """Publish the plain map, then the regularized one in its place; whatever happens between, RELION can go on."""
    record, result, kept = call.record, call.job.result, call.beside("plain")
    reason = record.reason
    if not call.fails_loudly:
        call.write(result, plain)
    record.outcome = "unfinished"
    call.write_record()
    try:
        if call.fails_loudly:
            call.write(kept, plain)
        else:
            publishing.give_second_name(result, kept)
        density = foreign(lambda: regularize(call, plain))
        call.write(call.beside("regularized") if decision.joined else result, density)
    except Exception as error:
        if call.fails_loudly:
            raise
        record.outcome = "fallback"
        record.reason = f"{reason}; but {call.regularizer_name} failed: {text_of(error)}"
        record.error = {"text": text_of(error), "traceback": traceback.format_exc()}
        publishing.remove_if_possible(kept)
        return
    record.outcome = "plain" if decision.joined else "regularized"
    if decision.joined:
        if call.fails_loudly:
            publishing.give_second_name(kept, result)
        # RELION's result is the plain map itself: a second name for it would say nothing.
        publishing.remove_if_possible(kept)
        record.reason = f"{reason}; regularized beside it as {call.beside('regularized').name}"
