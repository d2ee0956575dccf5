"""Our network, architecture ``default``, and what networks take and return."""
