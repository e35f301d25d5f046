"""Trained networks: their weights, and what runs them on a processor or on another device."""
