"""From a request to the writes that carry it out, or to what is wrong with it. Pure."""
