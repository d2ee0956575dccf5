"""Whole tasks, from validated options to files on disk; commands parse and call them."""
