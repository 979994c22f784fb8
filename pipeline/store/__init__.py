"""The metadata store: where it is, how it is opened, and which root belongs to it."""
