"""From a structure to particles whose truth is known."""
