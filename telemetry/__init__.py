"""What a running service reports of itself: call log, metrics. No numbers in clear."""
