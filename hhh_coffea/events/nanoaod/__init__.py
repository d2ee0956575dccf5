"""CMS NanoAOD (versions 9, 12, 15) → the event record."""
