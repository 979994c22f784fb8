"""What stands on one machine for the parts of continuous delivery: remote, trigger, cluster."""
