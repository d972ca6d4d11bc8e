"""Reading what other tools left behind. This version holds the names of the public interface and says what it lacks."""
