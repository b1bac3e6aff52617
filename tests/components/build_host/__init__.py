"""What a build of CodeBuild finds on its host besides an engine: the AWS command line, and docker with buildx."""
