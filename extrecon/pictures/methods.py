"""A paragraph for a paper's methods section, from what a refinement's records tell, with its references."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from extrecon.fourier.resolution import GOLD_STANDARD
from extrecon.pictures.references import OF_REGULARIZERS, REFERENCES
from extrecon.relion import labels
from extrecon.relion.account import BODIES, HALF_SETS, Account
from extrecon.relion.telling import angstrom, call_order, fsc_limit

_BLENDS = {
    "all": "was scaled onto the half-map shell by shell",
    "half": "was averaged with the half-map shell by shell",
    "fsc": "was blended with the half-map, its weight in each Fourier shell being 1 − FSC",
    "confidence": "was blended with the half-map by its confidence in each voxel",
}
_OUR_WISHES = ("blend", "solvent", "beyond", "data")


class _Cited:
    """References in the order in which they are cited first."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    def __call__(self, *keys: str) -> str:
        """Return the numbers of references in brackets."""
        self.keys += [key for key in dict.fromkeys(keys) if key not in self.keys]
        return f"[{', '.join(str(self.keys.index(key) + 1) for key in keys)}]"


def methods(account: Account) -> tuple[str, list[str]]:
    """Return the paragraph, and the references that it cites, in order."""
    cite = _Cited()
    sentences = [_relion(account, cite)]
    if account.has_hook:
        sentences += _extrecon(account, cite)
    if account.is_finished:
        sentences.append(_resolution(account, cite))
    else:
        sentences.insert(0, "[The refinement has not come to its end.]")
    return " ".join(sentence for sentence in sentences if sentence), [REFERENCES[key] for key in cite.keys]


def _relion(account: Account, cite: _Cited) -> str:
    versions = list(dict.fromkeys(start.version for start in account.starts if start.version))
    major = versions[-1].partition(".")[0] if versions else ""
    papers = ["RELION", *([f"RELION {major}"] if f"RELION {major}" in REFERENCES else [])]
    told = f"{' and '.join(versions)} " if versions else ""
    facts = [f"symmetry {account.values[labels.SYMMETRY]}"] if labels.SYMMETRY in account.values else []
    diameter = account.number(labels.PARTICLE_DIAMETER)
    facts += [f"particle diameter {diameter:g} Å"] if diameter else []
    pixel = account.number(labels.PIXEL_SIZE)
    facts += [f"{pixel:g} Å per pixel"] if pixel else []
    inside = f" ({', '.join(facts)})" if facts else ""
    what = _WHAT_WAS_DONE.get(account.kind, f"Particles were classified ({account.kind})")
    gold = f" {cite('gold')}" if account.is_split else ""
    return f"{what}{gold} in RELION {told}{cite(*papers)}{inside}."


_WHAT_WAS_DONE = {
    HALF_SETS: "Particles were refined in two half sets that were kept apart",
    BODIES: "Bodies were refined in two half sets that were kept apart",
}


def _extrecon(account: Account, cite: _Cited) -> list[str]:
    calls = call_order(account.iterations)
    records = [record for _, _, record in calls]
    version = str(records[-1].get("extrecon") or "")
    each = ", each half set by itself" if account.is_split else ""
    told = [
        f"Maps were reconstructed from RELION's Fourier accumulators by extrecon {version} {cite('extrecon')} "
        f"through RELION's external reconstruction {cite('idea')}{each}."
    ]
    done = [(i.number, record) for i, call, record in calls if record.get("outcome") == "regularized"]
    if not done:
        return [*told, "No map that RELION went on with was regularized."]
    told += _regularized(done, cite)
    told += _treated([record for _, record in done])
    failed = [i.number for i, _, record in calls if record.get("outcome") == "fallback"]
    if failed:
        told.append(
            f"In {len(failed)} of {len(failed) + len(done)} calls the regularizer failed and RELION went on with "
            f"the plain map (iterations {spans(failed)})."
        )
    told += _crossed([record for _, record in done])
    masked = sorted({i.number for i, _, r in calls if "file" in _mapping(r.get("solvent_mask"))})
    if masked:
        told.append(
            f"In iterations {spans(masked)} the solvent mask, for which the FSC was corrected, was made anew from "
            "the iteration's two half-maps before any prior."
        )
    return told


def _crossed(done: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a sentence if a half's map depends on the other half's."""
    crossed = {str(_mapping(record["other_half"]).get("crossed")) for record in done if record.get("other_half")}
    if not crossed:
        return []
    if crossed == {"one number a shell"}:
        return ["Of the other half-map nothing but this number a shell was used."]
    return ["The regularizer had both half-maps: they are not independent of each other."]


def _regularized(done: Sequence[tuple[int, Mapping[str, Any]]], cite: _Cited) -> list[str]:
    """Return a sentence for each regularizer that was used."""
    told = []
    names = dict.fromkeys(str(_mapping(record.get("regularizer")).get("name")) for _, record in done)
    for name in names:
        own = [(n, r) for n, r in done if str(_mapping(r.get("regularizer")).get("name")) == name]
        last = own[-1][1]
        papers = [key for key in OF_REGULARIZERS.get(name, (name,)) if key in REFERENCES]
        local = str(_mapping(last.get("facts")).get("local_resolution", ""))
        papers += [local] if local in ("monores", "deepres") else []
        because = "" if _mapping(last.get("options")).get("apply") == "always" else _LOCAL
        order = last.get("local_healpix_order")
        because = because.format(order=order) if isinstance(order, int) else ""
        reference = f" {cite(*papers)}" if papers else ""
        told.append(
            f"In iterations {spans(n for n, _ in own)}{because}, maps were regularized with {name}{reference} "
            f"(version {_mapping(last.get('regularizer')).get('version')}; {_settings(last)}) "
            "before RELION aligned against them."
        )
    return told


_LOCAL = ", once orientations were searched locally (HEALPix order {order} or finer)"


def _settings(record: Mapping[str, Any]) -> str:
    """Return what the user set, and the weights, of a regularizer."""
    given = _mapping(_mapping(record.get("options")).get("set"))
    own = [f"{key} = {value}" for key, value in given.items() if key not in _OUR_WISHES]
    told = [", ".join(own) if own else "default settings"]
    weights = weights_of(record)
    return "; ".join([*told, *([f"weights sha256 {weights[:16]}…"] if weights else [])])


def weights_of(record: Mapping[str, Any]) -> str:
    """Return the sha256 of the weights that a regularizer read; "" if it told none."""
    found = _mapping(record.get("facts")).get("weights_sha256")
    return found if isinstance(found, str) else ""


def _treated(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what was done to the regularizer's density, by the last record."""
    last = records[-1]
    treatment, options = _mapping(last.get("treatment")), _mapping(last.get("options"))
    parts = [_BLENDS[blend]] if (blend := str(treatment.get("blend"))) in _BLENDS else []
    if treatment.get("solvent") == "flattened":
        mask = last.get("mask")
        parts.append(f"was flattened outside a mask ({mask})" if mask else "was flattened outside a mask")
    if treatment.get("amplitudes") == "by the other half":
        parts.append("was scaled in each Fourier shell to be nearest to the other half-map")
    elif options.get("shell_scale") is True:
        parts.append("was scaled onto the half-map in each Fourier shell by least squares")
    if options.get("fsc_cutoff") is True:
        parts.append("was cut off where the half-map FSC falls below 1/7")
    return [f"The regularized density {_listed(parts)}."] if parts else []


def _listed(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])}, and {parts[-1]}"


def _resolution(account: Account, cite: _Cited) -> str:
    """Return what the final map is, and its resolution."""
    last = account.iterations[-1]
    if not account.is_split:
        return "No resolution by half-maps can be told of a classification."
    plain = " and was not regularized" if account.has_hook else ""
    told = [f"The final map is of all particles{plain}"]
    relion = last.resolution_angstrom.get(None)
    if relion is not None:
        told.append(f"its resolution is {angstrom(relion)} as RELION tells it")
    if last.half_map_fsc:
        corrected = account.values.get(labels.SOLVENT_CORRECTED_FSC) == "1"
        how = "corrected for the solvent mask" if corrected else "without a mask"
        limit = angstrom(fsc_limit(last))
        told.append(f"the half-map FSC ({how}) stays above {GOLD_STANDARD} {cite('0.143')} up to {limit}")
    return "; ".join(told) + "."


def spans(numbers: Iterable[int]) -> str:
    """Return whole numbers as text, runs of them as a span: 4–7, 9."""
    found: list[list[int]] = []
    for number in sorted(set(numbers)):
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in found)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
