"""STI-VS: check the token, then judge the call, then one verdict."""
