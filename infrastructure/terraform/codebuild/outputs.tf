output "project" {
  description = "For --project."
  value       = aws_codebuild_project.build.name
}

output "bucket" {
  description = "For --bucket, where it is not the default."
  value       = aws_s3_bucket.source.id
}

output "repository_uri" {
  description = "For --push."
  value       = aws_ecr_repository.images.repository_url
}
