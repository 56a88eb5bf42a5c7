"""Gathers facts with the rights of whoever runs it; changes nothing."""
