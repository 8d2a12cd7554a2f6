"""Who may show what: the holdings and accesses that signing decides by."""
