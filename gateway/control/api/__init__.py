"""The control plane's HTTP API: requests become calls of the registry, and answers."""
