"""The commands that speak with the control plane, over its API alone."""
