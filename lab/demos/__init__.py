"""The demonstrations, one module each, and what they share."""
