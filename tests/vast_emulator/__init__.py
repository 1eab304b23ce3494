"""Vast.ai on this machine: its HTTP interface, and "instances" that are Linux namespaces with a real ssh."""
