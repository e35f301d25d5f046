"""Local amplitude scaling: by a reference map, by an atomic model, or by average profiles and no model at all."""
