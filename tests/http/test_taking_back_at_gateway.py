"""Trust that is taken back while many call through the gateway, which knows nothing of it yet."""
