"""RELION's side: names, STAR files and labels, calls, accumulators, search state, history, particles, watching."""
