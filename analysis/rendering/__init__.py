"""How numbers look, on a console and on paper."""
