"""Nothing unreleased is even deployed: a validating webhook for Kubernetes."""
