"""Object stores: S3, GCS, Azure. This version holds the names of the public interface and says what it lacks."""
