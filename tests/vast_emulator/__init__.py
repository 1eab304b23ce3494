"""Vast.ai on this machine: its HTTP interface, and "instances" that are containers of Linux namespaces with a real ssh."""
