"""AWS at the wire, on loopback: moto's server, and in front of it a CodeBuild that really builds and an ECR that behaves like ECR."""
