"""Sends what an evaluation found to a warehouse or a webhook, from a container of its own."""
