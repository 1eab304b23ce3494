"""A plan carried out on the machines at hand, resumable whatever happens. No torch, no ray."""
