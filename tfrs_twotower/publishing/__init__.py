"""Publishing: versions that appear all at once, and can be taken back."""
