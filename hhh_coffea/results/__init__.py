"""What a run leaves behind: histograms, summaries, the results directory, and what is printed of it."""
