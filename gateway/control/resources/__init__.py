"""The API's resources: their fields, their kinds, and how each is kept in the store. Pure."""
