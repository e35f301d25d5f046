"""Whether this call's map is to be regularized, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from extrecon.fourier.resolution import cutoff_shell
from extrecon.options.phases import Phases
from extrecon.relion.job import Job
from extrecon.relion.search import SearchState

Apply = Literal["local-search", "always", "never"]

LOCAL_ALONE = Phases("", "any")
_LOW_PASS_EDGE_SHELLS = 2  # the starting reference fades out over so many shells


@dataclass(frozen=True)
class Decision:
    """What happens to the map that RELION gets back.

    Attributes
    ----------
    regularize : run the regularizer at all
    joined : the last iteration of a refinement, whose halves are joined: RELION gets the plain map, and a
        regularized one is only written beside it
    reason : one clause for the log and the record
    """

    regularize: bool
    joined: bool
    reason: str


def decide(job: Job, state: SearchState, apply: Apply, phases: Phases = LOCAL_ALONE) -> Decision:
    """Decide on one call.

    Without knowledge the answer is the plain map: it can do no harm.

    Parameters
    ----------
    phases : in which phases of the refinement there is a regularizer
    """
    if apply == "never":
        return Decision(False, _is_joined(job, state), "--apply never")
    if job.dimensions != 3:
        return Decision(False, False, "the reference is two-dimensional")
    if job.name is None:
        if apply == "always":
            return Decision(True, False, "--apply always")
        return Decision(False, False, "the file's name is not one of a refinement iteration's")
    if apply == "local-search" and job.tau2 is not None and job.half_map_fsc is None:
        # RELION then takes its expected signal from the map it is given: a damped one holds the resolution back.
        return Decision(False, False, "classification: no half-map FSC tells signal from noise")
    joined = _is_joined(job, state)
    wanted, reason = _search_decision(state, apply, phases)
    if wanted and apply == "local-search":
        doubt = _doubt_of_signal(job, state)
        wanted, reason = not doubt, doubt or reason
    return Decision(wanted, joined, f"joined iteration; {reason}" if joined else reason)


def _is_joined(job: Job, state: SearchState) -> bool:
    """Take a call without a half for the joined iteration, unless RELION is known not to split the particles."""
    return job.name is not None and job.name.half is None and state.split_halves is not False


def _doubt_of_signal(job: Job, state: SearchState) -> str:
    """Say why what the halves share may be no more than the reference that both began with; "" if it is more.

    Particles aligned to one reference show it in both halves, be they noise alone: what the halves share up to
    there is no evidence of signal, and a regularizer would carve it further.
    """
    pixel_size = job.pixel_size_angstrom or state.pixel_size_angstrom
    if job.half_map_fsc is None or pixel_size is None:
        return ""
    if not state.initial_low_pass_is_known:
        return (
            "the starting reference's low-pass is unknown: RELION was continued, and no earlier optimiser file "
            "tells --ini_high (with --apply always the map is regularized all the same)"
        )
    low_pass = state.initial_low_pass_angstrom
    if low_pass is None:
        return ""
    begun_alike = job.original_size * pixel_size / low_pass
    if cutoff_shell(job.half_map_fsc) > begun_alike + _LOW_PASS_EDGE_SHELLS:
        return ""
    return f"the half-maps agree no further than the starting reference went ({low_pass:g} Å)"


def _search_decision(state: SearchState, apply: Apply, phases: Phases) -> tuple[bool, str]:
    if apply == "always":
        return True, "--apply always"
    if state.is_local is None:
        problem = state.problems[0] if state.problems else "RELION's files do not tell."
        return False, f"the HEALPix order is unknown: {problem}"
    order, threshold = state.healpix_order, state.local_healpix_order
    if state.is_local:
        if not phases.in_local_search:
            return False, "no regularizer was given for local search"
        return True, f"local search: HEALPix order {order} has reached {threshold}"
    return bool(phases.in_global_search), f"global search: HEALPix order {order} is below {threshold}"
