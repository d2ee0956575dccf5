"""The network of SPANet as published, and the reader of its checkpoints."""
