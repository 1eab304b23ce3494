"""Plain numbers in, plain numbers out: paired intervals, the family's adjusted decisions, power, what predicts what."""
