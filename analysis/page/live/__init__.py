"""The page while studies run: ``tail`` reads what was added, ``watch`` makes the parts that changed, ``server`` hands
them out to whoever holds the token. Nothing is written, and nothing but this machine can ask."""
