"""New plugins: a small distribution of each kind that works, passes its tests, and is there to be changed."""
