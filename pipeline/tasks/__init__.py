"""The tasks of a KFP package that are no nodes of the pipeline."""
