"""Random faults by the thousand: calls of the hook that something happens to, and what must hold all the same."""
