"""Train one seq-JEPA configuration, with or without Ray.

Layers, each importing only from those before it: ``config`` - ``data``, ``models``,
``losses``, ``probes`` - ``loop`` - ``task`` (a study's trial) - ``ray_worker`` (the only module that knows Ray),
``process_worker``.
"""
