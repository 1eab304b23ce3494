"""``python -m clusters.vast``: what is needed around ``ray up`` and ``ray down``."""
