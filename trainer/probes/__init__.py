"""Measurements on frozen features. They never touch the model's optimiser, gradients or statistics."""
