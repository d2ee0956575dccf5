"""From histograms to a measurement: templates, statistical model, fit, limits. Thin: pyhf, hist and scipy do the work.

``templates``, ``couplings.polynomial`` and ``couplings.moments`` need neither pyhf nor iminuit, which are in the extra
``stats``: a run that fills histograms at any couplings does without them. Start at :func:`hhh_coffea.inference.fit.fit`.
"""
