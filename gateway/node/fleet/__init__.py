"""The node's side of the control plane: registration, the wanted document, reports."""
