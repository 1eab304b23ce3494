"""Read the records of a study and say what they show: tables, plots and plain sentences.

Layers, each importing only from those before it: ``study`` (records to data frames), ``compare``
(statistics), ``differences`` and ``tables`` (which arm against which, all numbers), ``render``,
``plots`` and ``verdict`` (for people), ``report`` (all of it, written beside the study).
Nothing here changes a record, and nothing needs torch or ray.
"""
