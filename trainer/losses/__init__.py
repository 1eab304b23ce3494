"""Loss terms and regularisers, each a function of named features."""
