"""Replay: recorded full-length learning curves through the study's own decision code, at no training cost.

``runs`` and ``curves`` read the records; ``trials`` draws an arrival order of them; ``schedulers`` are the
strategies compared (rules are those of :mod:`studies.engine.stopping` themselves); ``simulate`` runs one order on a
number of workers; ``compare`` repeats that over many orders; ``rungs`` asks whether the ranking at an early epoch is
that of the end; ``report`` prints. ``recorded/`` holds curves to try it on. Nothing here imports torch or ray.
"""
