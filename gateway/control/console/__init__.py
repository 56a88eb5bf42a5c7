"""The console: pages that a browser shows without scripts, and that live with them."""
