"""Train one seq-JEPA configuration, with or without Ray.

Layers, each importing only from those before it: ``config`` - ``data``, ``blocks``, ``losses``, ``probes``,
``subspace`` - ``families`` - ``step``, ``loop`` - ``workers`` (a study's trial; the only module that knows Ray).
``record`` and ``mirrors`` stand beside the loop, ``command`` above it.
"""
