"""Figures of expected events, fits and scans."""
