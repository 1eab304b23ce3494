"""Everything on record as six tidy pandas frames with fixed columns and types: ``analysis.load``."""
