"""What a run and a study leave on disk, how it is written and read, and who a run is."""
