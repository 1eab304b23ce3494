"""Results in an S3-compatible bucket: uploaded while a study runs, fetched where it goes on."""
