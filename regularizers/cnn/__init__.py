"""The CNN denoiser."""
