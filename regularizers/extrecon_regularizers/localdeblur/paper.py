"""LocalDeblur's iteration as published."""

from __future__ import annotations

import numpy as np

from extrecon.errors import RegularizerError
from extrecon.fourier.compute import Compute
from extrecon.fourier.filter_bank import FilterBank
from extrecon.maps.half_map import FloatArray
from extrecon.regularizer import Progress, no_progress
from extrecon_regularizers.localdeblur.deblur import Deblurred
from extrecon_regularizers.localdeblur.recycled import norm

STOP_PERCENT = 1.0


def deblur_paper(
    volume: FloatArray,
    bank: FilterBank,
    snr: float,
    *,
    rounds: int,
    compute: Compute,
    step_size: float = 0.0,
    stop_percent: float = STOP_PERCENT,
    progress: Progress = no_progress,
) -> Deblurred:
    """Deblur by steepest descent towards the Wiener solution (HᵀH + 1/SNR)⁻¹ Hᵀ v_obs.

    v ← v + λ (Hᵀ(v_obs − H v) − v / SNR) from v = v_obs, until v changes by less than 1 %
    (Ramírez-Aportela et al. 2020, section 2.1, equations 1 to 3). The descent converges for λ (‖H‖² + 1/SNR) < 2;
    a larger λ is lowered, with a warning.

    Parameters
    ----------
    volume : (n, n, n) array v_obs, axes z, y, x
    bank : H, built for the whole box
    snr : variance of the signal over that of the noise
    rounds : at most so many iterations
    compute : where to work
    step_size : λ; 0 for (‖v_obs‖ / ‖H v_obs‖) / 10
    stop_percent : 0 to never stop early
    progress : whom to tell
    """
    if not (np.isfinite(snr) and snr > 0):
        raise RegularizerError(f"The signal-to-noise ratio must be above 0 and finite, not {snr}; check the mask.")
    observed = compute.to_device(volume, bank.dtype)
    blurred = bank.apply(observed)
    size, size_blurred = norm(bank, observed), norm(bank, blurred)
    if size_blurred == 0:
        raise RegularizerError("The filter bank leaves nothing of the map: is it constant, or empty in the mask?")
    wanted = step_size or size / size_blurred / 10.0
    limit = 1.0 / (float(bank.errors[0]) ** 2 + 1.0 / snr)
    step = min(wanted, limit)
    warnings = []
    if step < wanted:
        warnings.append(f"λ was lowered from {wanted:.3g} to {step:.3g}: at an SNR of {snr:.3g} it would diverge.")
    deblurred, done, changed = observed, 0, np.inf
    for done in range(1, rounds + 1):
        progress("deblurring", (done - 1) / rounds)
        change = step * (bank.adjoint(observed - bank.apply(deblurred)) - deblurred / snr)
        changed = 100.0 * norm(bank, change) / max(norm(bank, deblurred), np.finfo(np.float64).tiny)
        deblurred = deblurred + change
        if changed < stop_percent:
            break
    progress("deblurring", 1.0)
    facts = {"bank_rank": bank.rank, "snr": snr, "last_change_percent": changed}
    return Deblurred(compute.to_numpy(deblurred), step, done, facts, warnings)
