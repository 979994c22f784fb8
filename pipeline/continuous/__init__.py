"""Retraining by itself: what is known of a span, what follows from it, and the loop that acts."""
