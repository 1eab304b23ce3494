"""seq-JEPA's modules. No module here knows about data sets, optimisers or Ray."""
