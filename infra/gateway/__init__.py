"""The gateway: Envoy's configuration, and who keeps it told of issuers' keys."""
