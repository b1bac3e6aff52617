resource "aws_ecr_repository" "images" {
  #checkov:skip=CKV_AWS_136: encrypted with AES256; a key of your own can only be chosen when a repository is made
  #checkov:skip=CKV_AWS_51: tags are immutable but for latest, cache-* and build-*
  name                 = var.repository
  image_tag_mutability = "IMMUTABLE_WITH_EXCLUSION"
  tags                 = local.tags

  dynamic "image_tag_mutability_exclusion_filter" {
    for_each = ["latest", "cache-*", "build-*"]
    content {
      filter      = image_tag_mutability_exclusion_filter.value
      filter_type = "WILDCARD"
    }
  }

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "AES256"
  }
}

resource "aws_ecr_lifecycle_policy" "images" {
  repository = aws_ecr_repository.images.name
  policy     = jsonencode(local.repository_lifecycle)
}
