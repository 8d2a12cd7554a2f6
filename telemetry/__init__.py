"""What a running service tells of itself: call log, metrics. No numbers in clear."""
