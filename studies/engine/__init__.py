"""What a study decides, from a declaration and what is on record. Imports neither ray, torch, rich nor pandas, and
knows no setting by name."""
