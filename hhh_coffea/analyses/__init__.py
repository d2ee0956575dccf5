"""What one family of physics analyses knows: its particles, its selection, its truth."""
