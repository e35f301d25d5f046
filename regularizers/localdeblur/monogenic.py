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
from extrecon.maps.half_map import FloatArray

EDGE_CYCLES = 0.02  # width of the raised-cosine edges, cycles per voxel
_GAUSSIAN_END = 1e-9  # gains of the smoothing Gaussian below this are taken as 0

Gain = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]


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

    Memory: 9 volumes of the working type (the map and its three transforms, three half-spectra at the highest
    limit, one spectrum, one half-spectrum).

    Parameters
    ----------
    compute : where to work
    volume : (n, n, n) array, axes z, y, x
    dtype : float32 or float64
    """

    def __init__(self, compute: Compute, volume: FloatArray, dtype: npt.DTypeLike) -> None:
        self.compute, self.dtype, self.box = compute, np.dtype(dtype), volume.shape[0]
        self._kind = np.result_type(self.dtype, np.complex64)
        whole = BlockTransform(compute, self.box)
        self._spectrum = compute.to_device(np.empty(whole.half_shape, self._kind))
        self._halves = compute.to_device(np.empty(3 * int(np.prod(whole.half_shape)), self._kind))
        self._smoothed = compute.to_device(np.empty(int(np.prod(whole.half_shape)), self._kind))
        self._unfiltered = compute.to_device(np.empty((4, *volume.shape), self.dtype))
        self._transform_volume(whole, compute.to_device(volume, self.dtype))
        self._fields(whole, np.ones_like)
        self.compute.over_slabs(self._fill_unfiltered(whole), self.box)

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
        self._fields(low, lambda u: 1.0 - high_pass(u, frequency))
        return self._sample(low, lambda u: low_pass(u, frequency), regions)

    def broadband(self, sigma: float, regions: Sequence[Region]) -> list[npt.NDArray[np.floating]]:
        """Return the unfiltered map's amplitude, smoothed by exp(−π² σ² u²), at the voxels of each region."""
        return self._sample(None, lambda u: gaussian(u, sigma), regions)

    def _transform_volume(self, whole: BlockTransform, volume: Array) -> None:
        spectrum = self._spectrum

        def planes(part: slice) -> None:
            spectrum[part] = whole.forward_planes(volume[part])

        def columns(part: slice) -> None:
            spectrum[:, part] = whole.forward_columns(spectrum[:, part] + 0)

        self.compute.over_slabs(planes, self.box)
        self.compute.over_slabs(columns, self.box)

    def _half_view(self, buffer: Array, lead: tuple[int, ...], transform: BlockTransform) -> Array:
        shape = (*lead, *transform.half_shape)
        return buffer[: int(np.prod(shape))].reshape(shape)

    def _fields(self, transform: BlockTransform, gain: Gain) -> None:
        """Fill the half-spectra of the map, of its Riesz transforms in x and y, and in z, through a radial gain."""
        compute, top = self.compute, transform.band + 1
        table = radial_table(self.box, gain)
        length = np.sqrt(np.arange(len(table), dtype=np.float64))
        length[0] = np.inf  # the mean has no direction
        tables = compute.to_device(np.stack([table, table / length]), self.dtype)
        along_z = compute.to_device(transform.signed_frequencies, self.dtype)[:, None, None]
        rows = compute.to_device(transform.signed_frequencies % self.box)
        halves = self._half_view(self._halves, (3,), transform)

        def columns(part: slice) -> None:
            spectrum = transform.cut_columns(self._spectrum[:, rows[part], :top])
            gains = tables[:, transform.squared_frequency(part)]
            turned = transform.scaled(spectrum, gains[1]) * -1j
            halves[0, :, part] = transform.inverse_columns(transform.scaled(spectrum, gains[0]))
            halves[2, :, part] = transform.inverse_columns(turned * along_z)
            halves[1, :, part] = transform.inverse_columns(turned)

        compute.over_slabs(columns, transform.half_shape[1])

    def _planes_of(self, transform: BlockTransform) -> Callable[[int, slice], Array]:
        """Return a function that gives planes of a field: 0 the map, 1 to 3 its Riesz transforms in x, y, z."""
        halves = self._half_view(self._halves, (3,), transform)
        signed = self.compute.to_device(transform.signed_frequencies, self.dtype)
        factors = {1: signed[: transform.band + 1], 2: signed[:, None]}

        def planes_of(field: int, part: slice) -> Array:
            if field in factors:
                return transform.inverse_planes(halves[1, part] * factors[field])
            return transform.inverse_planes(halves[0 if field == 0 else 2, part])

        return planes_of

    def _fill_unfiltered(self, whole: BlockTransform) -> Callable[[slice], None]:
        planes_of = self._planes_of(whole)

        def planes(part: slice) -> None:
            for field in range(4):
                self._unfiltered[field, part] = planes_of(field, part)

        return planes

    def _sample(
        self, removed: BlockTransform | None, smoothing: Gain, regions: Sequence[Region]
    ) -> list[npt.NDArray[np.floating]]:
        """Return at each region's voxels the smoothed amplitude of the map less what the half-spectra hold."""
        compute, xp = self.compute, self.compute.xp
        table = radial_table(self.box, smoothing)
        last = int(np.flatnonzero(table)[-1])
        smooth = BlockTransform(compute, self.box, band=int(np.sqrt(last)))
        gains = compute.to_device(table, self.dtype)
        half = self._half_view(self._smoothed, (), smooth)
        removed_planes = None if removed is None else self._planes_of(removed)

        def amplitude(part: slice) -> None:
            squared = None
            for field in range(4):  # one by one: a field's planes fit the cache
                if removed_planes is not None:
                    kept = removed_planes(field, part)
                    kept -= self._unfiltered[field, part]  # its sign is squared away
                    kept *= kept
                else:
                    kept = self._unfiltered[field, part] ** 2
                if squared is None:
                    squared = kept
                else:
                    squared += kept
            half[part] = smooth.forward_planes(xp.sqrt(squared))

        def smoothed(part: slice) -> None:
            spectrum = smooth.forward_columns(half[:, part] + 0)
            spectrum = smooth.scaled(spectrum, gains[smooth.squared_frequency(part)])
            half[:, part] = smooth.inverse_columns(spectrum)

        values = [compute.to_device(np.empty(region.size, self.dtype)) for region in regions]

        def collect(part: slice) -> None:
            slab = smooth.inverse_planes(half[part] + 0)
            for region, found in zip(regions, values, strict=True):
                region.collect(slab, part, found)

        compute.over_slabs(amplitude, self.box)
        compute.over_slabs(smoothed, smooth.half_shape[1])
        compute.over_slabs(collect, self.box)
        return [compute.to_numpy(found) for found in values]


def high_pass(u: npt.NDArray[np.float64], frequency: float) -> npt.NDArray[np.float64]:
    """Return the gain 0 below f − 0.02, a raised cosine up to f, 1 above."""
    edge = 0.5 * (1.0 + np.cos(np.pi * (u - frequency) / EDGE_CYCLES))
    return np.where(u >= frequency, 1.0, np.where(u >= frequency - EDGE_CYCLES, edge, 0.0))


def low_pass(u: npt.NDArray[np.float64], frequency: float) -> npt.NDArray[np.float64]:
    """Return the gain 1 up to f, a raised cosine to f + 0.02 or to 0.5 if that is lower, 0 above."""
    width = min(EDGE_CYCLES, 0.5 - frequency)
    if width <= 0:
        return np.where(u <= frequency, 1.0, 0.0)
    edge = 0.5 * (1.0 + np.cos(np.pi * (u - frequency) / width))
    return np.where(u <= frequency, 1.0, np.where(u <= frequency + width, edge, 0.0))


def gaussian(u: npt.NDArray[np.float64], sigma: float) -> npt.NDArray[np.float64]:
    """Return exp(−π² σ² u²): the reference's "Gaussian of σ", whose standard deviation is σ / √2 voxels."""
    gain = np.exp(-((np.pi * sigma * u) ** 2))
    return np.where(gain > _GAUSSIAN_END, gain, 0.0)
