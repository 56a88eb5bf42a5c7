"""Benches: each prints a table and writes `--json FILE`, a flat object. `./run bench NAME`."""
