"""The regularizer's stages of one call: load it, find its mask and the other half, run it, and guard its result."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from extrecon.call import publishing
from extrecon.call.choice import Choice, choose_for_phase
from extrecon.call.current import Call
from extrecon.call.data_step import with_data
from extrecon.call.finer_shells import with_finer_shells
from extrecon.call.limits import FIRST_STAGE
from extrecon.call.masks import MASK_MADE, find_body_mask, find_mask
from extrecon.call.memory import require_room
from extrecon.call.other_half import (
    AMPLITUDES,
    WHOLE_MAP,
    FitOf,
    amplitudes_by,
    is_asked_for_amplitudes,
    other_half,
)
from extrecon.call.plugin import run_plugin
from extrecon.call.randomness import seed_of
from extrecon.call.safeguards import check_values, guard
from extrecon.call.treatment import Wishes, declared_treatment, treat
from extrecon.errors import RegularizerError
from extrecon.fourier.compute import cpu
from extrecon.maps import HalfMap
from extrecon.reconstruction import damping_of, data_of_job
from extrecon.record import Record
from extrecon.regularizer import Context, Regularized, Regularizer, Treatment
from extrecon.system.devices import free_device_memory
from extrecon.system.json_text import text_of

_AS_DECLARED = Wishes()


def load_regularizer(call: Call) -> tuple[Choice, Context]:
    """Return the chosen regularizer, named in the record, and what it may know without a mask and the other half.

    Raises
    ------
    UsageError, RegularizerError : as `choose`.
    """
    choice = choose_for_phase(call.options, call.regularizer_name)
    call.record.regularizer = choice.described()
    context = Context(
        settings=choice.settings,
        half_map_fsc=call.job.half_map_fsc,
        particle_diameter_angstrom=call.job.particle_diameter_angstrom or call.state.particle_diameter_angstrom,
        inside_refinement=True,
        point_group=_point_group(call),
        data=data_of_job(call.job),
        compute=call.compute,
        progress=call.progress,
    )
    return choice, context


def regularize(call: Call, plain: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the regularized density, safe to be handed to RELION; write the regularizer's own maps.

    Raises
    ------
    SafeguardError : the map was not safe.
    Exception : whatever the regularizer raised.
    """
    record = call.record
    with call.stage(FIRST_STAGE):
        choice, context = load_regularizer(call)
    regularizer = choice.regularizer
    if call.pixel_size_angstrom is None:
        raise RegularizerError("the pixel size is unknown: neither the STAR file nor the model file tells it.")
    half_map = HalfMap(plain, call.pixel_size_angstrom)
    if call.compute.on_host:
        require_room(call.regularizer_name, regularizer, half_map.box)
    if regularizer.uses_mask:
        with call.stage("mask"):
            mask, record.mask = _mask(call, half_map)
            context = replace(context, mask=mask, mask_is_made=record.mask == MASK_MADE)
    elif call.options.text("mask"):
        record.warnings.append(f"{call.regularizer_name} uses no mask: {call.options.text('mask')} was not read")
    if not (regularizer.needs_both_halves or _has_other_half(call, regularizer)):
        return _with_safeguards(call, half_map, choice, context)
    crosses = WHOLE_MAP if regularizer.needs_both_halves else AMPLITUDES
    with other_half(call, half_map, crosses) as other:
        if regularizer.needs_both_halves:
            context = replace(context, other_half=other())
        fit_of = amplitudes_by(call, half_map, other) if is_asked_for_amplitudes(call, regularizer) else None
        return _with_safeguards(call, half_map, choice, context, fit_of)


def _point_group(call: Call) -> str:
    """Return RELION's; a body of a multi-body refinement has none."""
    return "C1" if _is_body(call) else call.state.point_group or "C1"


def _is_body(call: Call) -> bool:
    return call.job.name is not None and call.job.name.kind == "body"


def _mask(call: Call, half_map: HalfMap) -> tuple[npt.NDArray[np.float32], str]:
    given, warn, name = call.options.text("mask"), call.record.warnings.append, call.job.name
    if name is not None and name.kind == "body":
        if given:
            warn(f"--mask {given} was not read: a body has a mask of its own")
        return find_body_mask(name, half_map, call.state, warn=warn)
    rescale = call.options.flag("rescale_mask")
    return find_mask(given, half_map, call.state, call.working_directory, warn=warn, rescale=rescale)


def _has_other_half(call: Call, regularizer: Regularizer) -> bool:
    """Tell whether the other half can be asked, and should be, for the amplitudes alone."""
    has_other = call.record.half is not None and not call.state.sequential_halves
    return has_other and is_asked_for_amplitudes(call, regularizer)


def _with_safeguards(
    call: Call, half_map: HalfMap, choice: Choice, context: Context, fit_of: FitOf | None = None
) -> npt.NDArray[np.float32]:
    call.progress(f"regularize with {call.regularizer_name}", 0.0)

    def run() -> Regularized:
        done = regularize_safely(
            half_map,
            choice.regularizer,
            replace(context, compute=call.compute),
            choice.wishes,
            shell_scale=call.options.flag("shell_scale"),
            fsc_cutoff=call.options.flag("fsc_cutoff"),
            seed=seed_of(call.job.stem.name),
            record=call.record,
            fit_of=fit_of,
            of_body=_is_body(call),
        )
        if not call.record.joined:
            return done
        with call.stage("finer shells"):
            return with_finer_shells(done, half_map.density, call.record, call.compute)

    told_before = list(call.record.warnings)
    try:
        outcome = run()
    except RuntimeError as error:  # what torch raises when the device's memory is full
        if call.compute.on_host or "out of memory" not in str(error):
            raise
        told = f"regularized on the CPU, because {call.compute.name} failed: {text_of(error)}"
        call.record.warnings = [*told_before, told]
        call.compute = cpu(call.compute.threads)
        call.record.device = call.compute.name
        outcome = None
    if outcome is None:  # not in the handler: its traceback keeps what lies on the device
        free_device_memory()
        outcome = run()
    names, warnings = publishing.write_plugin_maps(call.job.stem, outcome.maps, call.write)
    call.record.maps += names
    call.record.warnings += warnings
    return np.asarray(outcome.density, dtype=np.float32)


def regularize_safely(
    half_map: HalfMap,
    regularizer: Regularizer,
    context: Context,
    wishes: Wishes = _AS_DECLARED,
    *,
    shell_scale: bool,
    fsc_cutoff: bool,
    seed: int,
    record: Record,
    fit_of: FitOf | None = None,
    of_body: bool = False,
) -> Regularized:
    """Run a regularizer, treat its density, and have the safeguards judge; tell the record what they did.

    Parameters
    ----------
    wishes : what the user wants done with the density, by default what the regularizer declares
    shell_scale, fsc_cutoff : see `guard`
    seed : of the regularizer's random numbers
    fit_of : tells the factor of each shell, where ``shell_scale`` is on; by default that of least squares
    of_body : the half-map is of one body of a multi-body refinement

    Raises
    ------
    SafeguardError : the map was not safe.
    Exception : whatever the regularizer raised.
    """
    regularized = regularize_and_treat(half_map, regularizer, context, wishes, seed=seed, record=record)
    with record.stage("safeguards"):
        if np.array_equal(regularized.density, half_map.density):
            record.safeguards = {"unchanged": True}
            return regularized
    fit = None if fit_of is None else fit_of(regularized.density)
    if fit is not None:
        record.treatment["amplitudes"] = "by the other half"
    with record.stage("safeguards"):
        guarded = guard(
            regularized.density,
            half_map.density,
            mask=regularized.mask,
            masked_by_relion=of_body,
            half_map_fsc=context.half_map_fsc,
            damping=_damping(context),
            shell_scale=shell_scale if fit is None else fit.scale,
            fsc_cutoff=fsc_cutoff,
            bound_gain=context.inside_refinement,
            compute=context.compute,
        )
    record.safeguards = guarded.facts
    record.warnings += guarded.warnings
    density = guarded.density
    if wishes.over(_declared(regularizer, context)).data == "consistent":
        with record.stage("data"):
            density = with_data(density, half_map, context, fit, cut_off=guarded.facts["fsc_cutoff"], record=record)
    return replace(regularized, density=density)


def _damping(context: Context) -> npt.NDArray[np.float64] | None:
    """Return what the MAP term has left of each shell, where no FSC tells signal from noise."""
    if context.half_map_fsc is not None or context.data is None or context.data.tau2 is None:
        return None
    return damping_of(context.data, context.compute)


def _declared(regularizer: Regularizer, context: Context) -> Treatment:
    return declared_treatment(regularizer, inside_refinement=context.inside_refinement)


def regularize_and_treat(
    half_map: HalfMap,
    regularizer: Regularizer,
    context: Context,
    wishes: Wishes = _AS_DECLARED,
    *,
    seed: int,
    record: Record,
) -> Regularized:
    """Run a regularizer and blend its density with the half-map, flatten its solvent; tell the record.

    The result's ``mask`` is the one outside of which the solvent was flattened, None if it was kept.

    Raises
    ------
    SafeguardError : the density has another shape, or values that are not finite.
    Exception : whatever the regularizer raised.
    """
    record.seed = seed
    with record.stage("regularize"):
        regularized = run_plugin(regularizer, half_map, context, seed)
    record.facts = dict(regularized.facts)
    record.warnings += regularized.warnings
    check_values(regularized.density, half_map.density)
    confidence = regularized.confidence()
    if confidence is not None:
        regularized = replace(regularized, maps={"confidence": confidence, **regularized.maps})
    wanted = wishes.over(_declared(regularizer, context))
    with record.stage("treatment"):
        density, record.treatment, mask = treat(regularized, half_map, context, wanted)
    return replace(regularized, density=density, mask=mask)
