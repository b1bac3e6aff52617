"""ECR: repositories (kept by moto), images and layers (kept here and in docker-registry), tokens, and the registry protocol."""
