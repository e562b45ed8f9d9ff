"""Manifests for Knative and for plain Kubernetes, from the one table of functions."""
