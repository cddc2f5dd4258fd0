"""Features to layers to towers to the model that is trained."""
