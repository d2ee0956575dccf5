"""Detector files → the event record, the one form everything downstream works on."""
