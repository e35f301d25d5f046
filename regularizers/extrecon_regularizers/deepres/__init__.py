"""DeepRes: what resolution a region looks like (Ramírez-Aportela et al. 2019)."""
