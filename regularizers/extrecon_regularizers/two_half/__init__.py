"""The local signal-to-noise filter of two half-maps, after SIDESPLITTER (Ramlaul, Palmer & Aylett 2020)."""
