"""Real structures, their maps and realistic half-maps: what the denoiser is trained on."""
