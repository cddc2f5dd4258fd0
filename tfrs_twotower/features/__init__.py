"""Features: what a tower looks at, from a column to a vector."""
