"""Small modules that everything else may lean on; each does one thing."""
