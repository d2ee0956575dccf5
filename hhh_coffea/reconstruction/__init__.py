"""From the event record to candidates and what they got right, for any declared analysis."""
