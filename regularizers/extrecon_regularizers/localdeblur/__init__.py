"""LocalDeblur (local-resolution-guided Wiener restoration) and the MonoRes local resolution it is guided by."""
