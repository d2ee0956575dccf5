"""Signals whose yields are polynomials in couplings: at any couplings, from weights or from several samples."""
