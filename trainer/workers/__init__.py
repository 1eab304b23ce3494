"""The processes that train: a Ray worker, a plain one, and what both are told."""
