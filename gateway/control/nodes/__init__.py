"""The control plane's side of the nodes: who they are, what they are to do, what they report."""
