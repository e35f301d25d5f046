"""What memory a refinement's calls take, and whether both halves have it at once."""

from __future__ import annotations

from extrecon.call.memory import plain_map_bytes, regularizing_bytes
from extrecon.chain import load_chain
from extrecon.cli.disk import bytes_text
from extrecon.cli.finding import Finding
from extrecon.options.phases import read_phases
from extrecon.reconstruction import Geometry
from extrecon.system.memory import available_memory_bytes


def memory_finding(box: int, padding: float, names: str, threads: int, *, is_example: bool) -> Finding:
    """Compare what both halves of an iteration take with what there is.

    Parameters
    ----------
    names : what ``--regularizer`` names
    threads : of a call
    is_example : whether box and padding are no refinement's
    """
    available = available_memory_bytes()
    plain = plain_map_bytes(Geometry(box, box, padding), threads)
    regularizing = max(regularizing_bytes(load_chain(name), box) for name in read_phases(names).chains())
    example = " (an example: no refinement here)" if is_example else ""
    told = (
        f"{bytes_text(available)} free; a half takes, at box {box}, padding {padding:g}: {bytes_text(plain)} for "
        f"the half-map, {bytes_text(regularizing)} for {names}{example}"
    )
    most = max(plain, regularizing)
    if 2 * most <= available:
        return Finding("memory", "good", told + "; both halves at once")
    advice = "one half waits for the other"
    if regularizing > available:
        advice = "too little for the regularizer: RELION would get plain maps"
    if plain > available:
        advice = "too little for a half-map: the system would end the call, and RELION with it"
    is_bad = most > available and not is_example
    return Finding("memory", "bad" if is_bad else "note", told, advice)
