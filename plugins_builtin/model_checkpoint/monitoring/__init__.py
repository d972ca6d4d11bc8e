"""How long operations take, how many bytes they move, and how often they fail."""
