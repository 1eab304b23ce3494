"""Studies: search, controls and confirmation on paired seeds, through Ray Tune.

``plan`` says what will run and imports neither torch nor ray; ``jobs`` decides what runs next and
``halving`` who is stopped, both from durable records; ``tune_adapters`` puts the two behind Ray Tune's
interfaces; ``driver`` runs it all.
"""
