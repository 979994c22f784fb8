"""From a commit to a pipeline at work: builds, compiles, releases, checks and takes back."""
