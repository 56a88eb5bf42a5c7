"""One module for each kind of device, named after it."""
