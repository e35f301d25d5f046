"""One call of RELION, a file a stage: decide, mask, regularize, safeguard, publish, fall back."""
