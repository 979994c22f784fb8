"""A local executor of Cloud Build's files: the steps of a push, tried without a cloud account."""
