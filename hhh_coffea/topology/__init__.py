"""The physics of an event, described: targets, daughters, symmetries. Read from event YAMLs, known to every room above."""
