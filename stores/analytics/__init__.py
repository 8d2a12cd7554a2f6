"""What detection counted: kept over restarts, exchanged between processes."""
