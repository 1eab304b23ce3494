"""What a study says in words. Nothing here decides: words follow the decisions of ``analysis.statistics``."""
