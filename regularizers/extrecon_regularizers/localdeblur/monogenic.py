"""The monogenic amplitude of a map, band by band, as MonoRes measures it.

Source: Vilas et al., Structure 2018, 26, 337. The monogenic amplitude is the length of (g, r_x, r_y, r_z), g being
the map without the frequencies below a limit and r_j its Riesz transforms, −i u_j / |u| times its spectrum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from extrecon.fourier.block_transform import BlockTransform, radial_table
from extrecon.fourier.compute import Array, Compute
from extrecon.fourier.edges import falling_edge
from extrecon.maps.half_map import FloatArray

EDGE_CYCLES = 0.02  # width of the raised-cosine edges, cycles per voxel
_GAUSSIAN_END = 1e-9  # gains of the smoothing Gaussian below this are taken as 0

Gain = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

PlanesOf = Callable[[int, slice], Array]
"""Takes a field's number and planes, and returns an array that may be overwritten."""


class Region:
    """Voxels to collect values from.

    Their number up to each plane is known, so that slabs can be read in any order.

    Parameters
    ----------
    compute : where the amplitudes are
    voxels : (n, n, n) boolean array
    """

    def __init__(self, compute: Compute, voxels: npt.NDArray[np.bool_]) -> None:
        self._voxels = compute.to_device(voxels)
        counts = np.count_nonzero(voxels, axis=(1, 2))
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self.size = int(self._starts[-1])

    def collect(self, slab: Array, planes: slice, values: Array) -> None:
        """Write the values of these planes that lie in the region into ``values``, in the order of the voxels."""
        start, stop = self._starts[planes.start], self._starts[planes.stop]
        if stop > start:
            values[int(start) : int(stop)] = slab[self._voxels[planes]]


class MonogenicAmplitude:
    """The smoothed monogenic amplitude of one map, at any limit of frequency.

    What a high-pass filter takes away holds low frequencies alone, and these take few one-dimensional transforms.
    So the unfiltered map and its Riesz transforms are kept, and what each limit takes away is subtracted. Along z
    the transforms in x and y differ by factors alone, so three half-spectra serve four fields.

    Memory: 6 volumes of the working type at first (the map, its three transforms, one spectrum, one half-spectrum);
    then 5 if the finest limit is half of Nyquist, 9 if it is Nyquist.

    Parameters
    ----------
    compute : where to work
    volume : (n, n, n) array, axes z, y, x
    dtype : float32 or float64
    finest_shell : the highest limit that `above` will be asked for, Fourier pixels
    """

    def __init__(self, compute: Compute, volume: FloatArray, dtype: npt.DTypeLike, finest_shell: int) -> None:
        self.compute, self.dtype, self.box = compute, np.dtype(dtype), volume.shape[0]
        self._kind = np.result_type(self.dtype, np.complex64)
        self._unfiltered = compute.to_device(np.empty((4, *volume.shape), self.dtype))
        self._unfiltered[0] = compute.to_device(volume, self.dtype)
        spectrum = self._transformed()
        self._fill_riesz(spectrum)
        band = BlockTransform(compute, self.box, band=finest_shell)
        rows = compute.to_device(band.signed_frequencies % self.box)
        self._spectrum = spectrum[:, rows, : band.band + 1][rows]

    def above(self, shell: int, keep_nyquist: bool, regions: Sequence[Region]) -> list[npt.NDArray[np.floating]]:
        """Return the amplitude of the map above a frequency, low-passed there, at the voxels of each region.

        Parameters
        ----------
        shell : the frequency f, Fourier pixels
        keep_nyquist : False: at f = 0.5 the values are NaN, as the reference program's are
        """
        frequency = shell / self.box
        if frequency >= 0.5 and not keep_nyquist:
            return [np.full(region.size, np.nan, self.dtype) for region in regions]
        low = BlockTransform(self.compute, self.box, band=shell)
        removed = self._fields(low, lambda u: 1.0 - high_pass(u, frequency))
        return self._sample(removed, lambda u: low_pass(u, frequency), regions)

    def broadband(self, sigma: float, regions: Sequence[Region]) -> list[npt.NDArray[np.floating]]:
        """Return the unfiltered map's amplitude, smoothed by exp(−π² σ² u²), at the voxels of each region."""
        return self._sample(None, lambda u: gaussian(u, sigma), regions)

    def _empty(self, *shape: int) -> Array:
        return self.compute.to_device(np.empty(shape, self._kind))

    def _transformed(self) -> Array:
        """Return the map's spectrum."""
        whole, volume = BlockTransform(self.compute, self.box), self._unfiltered[0]
        spectrum = self._empty(*whole.half_shape)

        def planes(part: slice) -> None:
            spectrum[part] = whole.forward_planes(volume[part])

        def columns(part: slice) -> None:
            spectrum[:, part] = whole.forward_columns(spectrum[:, part] + 0)

        self.compute.over_slabs(planes, self.box)
        self.compute.over_slabs(columns, self.box)
        return spectrum

    def _fill_riesz(self, spectrum: Array) -> None:
        """Make the map's Riesz transforms, through one half-spectrum after the other."""
        whole = BlockTransform(self.compute, self.box)
        half = self._empty(*whole.half_shape)
        along_z = self.compute.to_device(whole.signed_frequencies, self.dtype)[:, None, None]
        for factor, fields in ((-1j, (1, 2)), (-1j * along_z, (3,))):
            self._riesz_columns(whole, spectrum, factor, half)
            self._riesz_planes(whole, half, fields)

    def _riesz_columns(self, whole: BlockTransform, spectrum: Array, factor: Array, half: Array) -> None:
        gain = self._gains(np.ones_like)[1]

        def columns(part: slice) -> None:
            turned = whole.scaled(spectrum[:, part], gain[whole.squared_frequency(part)])
            half[:, part] = whole.inverse_columns(turned * factor)

        self.compute.over_slabs(columns, whole.half_shape[1])

    def _riesz_planes(self, whole: BlockTransform, half: Array, fields: Sequence[int]) -> None:
        factors = self._in_plane_factors(whole)

        def planes(part: slice) -> None:
            for field in fields:
                turned = half[part] * factors[field] if field in factors else half[part]
                self._unfiltered[field, part] = whole.inverse_planes(turned)

        self.compute.over_slabs(planes, self.box)

    def _in_plane_factors(self, transform: BlockTransform) -> dict[int, Array]:
        """Return what turns the common half-spectrum of the Riesz transforms in x (1) and y (2) into each."""
        signed = self.compute.to_device(transform.signed_frequencies, self.dtype)
        return {1: signed[: transform.band + 1], 2: signed[:, None]}

    def _gains(self, gain: Gain) -> Array:
        """Return (2, squared frequency): a radial gain, and that gain divided by the frequency."""
        table = radial_table(self.box, gain)
        length = np.sqrt(np.arange(len(table), dtype=np.float64))
        length[0] = np.inf  # the mean has no direction
        return self.compute.to_device(np.stack([table, table / length]), self.dtype)

    def _fields(self, transform: BlockTransform, gain: Gain) -> PlanesOf:
        """Return what gives planes of the map (0) or of a Riesz transform (x 1, y 2, z 3), after a radial gain."""
        compute, top = self.compute, transform.band + 1
        tables = self._gains(gain)
        rows = compute.to_device(transform.signed_frequencies % self._spectrum.shape[0])
        along_z = compute.to_device(transform.signed_frequencies, self.dtype)[:, None, None]
        halves = self._empty(3, *transform.half_shape)

        def columns(part: slice) -> None:
            spectrum = self._spectrum[rows[:, None], rows[None, part], :top]
            gains = tables[:, transform.squared_frequency(part)]
            turned = transform.scaled(spectrum, gains[1]) * -1j
            halves[0, :, part] = transform.inverse_columns(transform.scaled(spectrum, gains[0]))
            halves[2, :, part] = transform.inverse_columns(turned * along_z)
            halves[1, :, part] = transform.inverse_columns(turned)

        compute.over_slabs(columns, transform.half_shape[1])
        factors = self._in_plane_factors(transform)

        def planes_of(field: int, part: slice) -> Array:
            if field in factors:
                return transform.inverse_planes(halves[1, part] * factors[field])
            return transform.inverse_planes(halves[0 if field == 0 else 2, part])

        return planes_of

    def _sample(
        self, removed: PlanesOf | None, smoothing: Gain, regions: Sequence[Region]
    ) -> list[npt.NDArray[np.floating]]:
        """Return at each region's voxels the smoothed amplitude of the map less what was removed."""
        compute, xp = self.compute, self.compute.xp
        table = radial_table(self.box, smoothing)
        smooth = BlockTransform(compute, self.box, band=int(np.sqrt(np.flatnonzero(table)[-1])))
        gains = compute.to_device(table, self.dtype)
        half = self._empty(*smooth.half_shape)

        def amplitude(part: slice) -> None:
            squared = self._square(0, part, removed)
            for field in range(1, 4):  # one by one: a field's planes fit the cache
                squared += self._square(field, part, removed)
            half[part] = smooth.forward_planes(xp.sqrt(squared))

        def smoothed(part: slice) -> None:
            spectrum = smooth.forward_columns(half[:, part] + 0)
            spectrum = smooth.scaled(spectrum, gains[smooth.squared_frequency(part)])
            half[:, part] = smooth.inverse_columns(spectrum)

        values = [compute.to_device(np.empty(region.size, self.dtype)) for region in regions]

        def collect(part: slice) -> None:
            slab = smooth.inverse_planes(half[part])
            for region, found in zip(regions, values, strict=True):
                region.collect(slab, part, found)

        compute.over_slabs(amplitude, self.box)
        compute.over_slabs(smoothed, smooth.half_shape[1])
        compute.over_slabs(collect, self.box)
        return [compute.to_numpy(found) for found in values]

    def _square(self, field: int, part: slice, removed: PlanesOf | None) -> Array:
        if removed is None:
            return self._unfiltered[field, part] ** 2
        rest = removed(field, part)
        rest -= self._unfiltered[field, part]  # its sign is squared away
        rest *= rest
        return rest


def high_pass(u: npt.NDArray[np.float64], frequency: float) -> npt.NDArray[np.float64]:
    """Return the gain 0 below f − 0.02, a raised cosine up to f, 1 above."""
    return falling_edge((frequency - u) / EDGE_CYCLES)


def low_pass(u: npt.NDArray[np.float64], frequency: float) -> npt.NDArray[np.float64]:
    """Return the gain 1 up to f, a raised cosine to f + 0.02 or to 0.5 if that is lower, 0 above."""
    width = min(EDGE_CYCLES, 0.5 - frequency)
    if width <= 0:
        return np.where(u <= frequency, 1.0, 0.0)
    return falling_edge((u - frequency) / width)


def gaussian(u: npt.NDArray[np.float64], sigma: float) -> npt.NDArray[np.float64]:
    """Return exp(−π² σ² u²): the reference's "Gaussian of σ", whose standard deviation is σ / √2 voxels."""
    gain = np.exp(-((np.pi * sigma * u) ** 2))
    return np.where(gain > _GAUSSIAN_END, gain, 0.0)
