"""From probabilities to one interpretation of the event."""
