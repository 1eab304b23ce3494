"""Who executes a study's trials: Ray Tune, or plain processes on this machine. Nothing is decided here.

Each executor has the face of :class:`studies.executors.face.Executor`; :mod:`studies.running.conductor` is the only one
that uses it.
"""
