"""What a node and the control plane say to each other. Pure, and the same code at both ends."""
