"""Where studies run when this machine is too small."""
