"""From the event record to Higgs candidates: one file a method, one common result."""
