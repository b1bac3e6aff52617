"""HTTP: exchanges, passing them on, and the check of requests and answers against the service models of botocore."""
