"""From the event record to what models are trained on: tables and arrays."""
