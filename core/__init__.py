"""What every room speaks: telephone numbers, reasons, errors. Pure values."""
