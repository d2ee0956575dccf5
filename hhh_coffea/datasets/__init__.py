"""What a user writes about datasets: filesets and their metadata, validated."""
