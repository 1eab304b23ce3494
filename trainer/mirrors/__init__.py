"""A run's record shown elsewhere: W&B and TensorBoard. Losing a mirror loses nothing."""
