"""The laboratory: namespaces, real peers, measurements; for demo, benches and system tests."""
