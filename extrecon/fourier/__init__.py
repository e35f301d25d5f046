"""Fourier-space building blocks: transforms on CPU or GPU, shells, filters, masks."""
