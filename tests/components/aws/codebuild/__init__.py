"""CodeBuild: projects, builds that run on this machine, and faults on demand."""
