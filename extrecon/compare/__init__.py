"""Real refinements side by side, each scored against the truth."""
