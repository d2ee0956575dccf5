"""Measuring the top-quark mass and the jet energy scale with templates of reconstructed masses."""
