"""From histograms to a measurement: templates, statistical model, fit, limits. Thin: pyhf, hist and scipy do the work.

``templates``, ``polynomial`` and ``moments`` need neither pyhf nor iminuit, which are in the extra ``stats``: a run that fills
histograms at any couplings does without them. Start at :func:`hhh_coffea.inference.fit.fit`.
"""
