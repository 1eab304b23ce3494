"""seq-JEPA whose blocks learn from losses of their own."""
