"""From a command line or a notebook to a plan, and what people see while it runs."""
