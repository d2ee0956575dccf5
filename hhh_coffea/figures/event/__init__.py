"""Pictures of one event."""
