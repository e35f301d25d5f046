"""RELION's external-reconstruction contract: file names, STAR files, accumulators, and the search state."""
