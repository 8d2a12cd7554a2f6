"""Real proxies and phones around the service: demonstration, tests and benchmark share them."""
