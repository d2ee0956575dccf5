"""From histograms to a measurement: templates, statistical model, fit, limits. Thin: pyhf, hist and scipy do the work."""
