"""Read the records of a study and say what they show: tables, plots and plain sentences.

Layers, each importing only from those before it: ``study`` (records to data frames, with ``runs``, ``trials`` and
``chosen``), ``compare`` (statistics), ``differences`` (which arm against which), ``cost``, ``tables``, ``confirmation``
and ``pareto`` (all numbers), ``render``, the plots, ``searched``, ``verdict`` and ``bill`` (for people), ``report``
(all of it, written beside the study). Nothing here changes a record, and nothing needs torch or ray.
"""
