"""Files on this machine and in buckets, for TFX and for the nodes."""
