"""What a study left on record, read strictly: declaration, trials, arms, runs, and what was registered."""
