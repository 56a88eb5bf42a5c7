"""What facts mean: one small function for each check. Pure."""
