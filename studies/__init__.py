"""Studies: search, controls and confirmation on paired seeds, through Ray Tune or in plain processes.

``plan`` says what will run and imports neither torch nor ray; ``jobs`` decides what runs next and
``halving`` who is stopped, both from durable records; ``conductor`` carries the jobs to one of the
``executors`` and back; ``driver`` runs it all.
"""
