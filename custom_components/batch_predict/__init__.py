"""Batch inference: files of raw rows in, the same rows with their predictions out."""
