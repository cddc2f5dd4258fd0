"""The bundle: one SavedModel with everything a host needs, and the manifest that describes it."""
