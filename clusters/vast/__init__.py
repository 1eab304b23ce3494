"""Rented GPUs of Vast.ai as a Ray cluster of one machine that ends itself."""
