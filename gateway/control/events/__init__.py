"""The events of all nodes and of the control plane, kept in the store for some time."""
