resource "aws_s3_bucket" "source" {
  #checkov:skip=CKV_AWS_18: who read a source that expires after 30 days is in CloudTrail; an access log wants a bucket of its own
  #checkov:skip=CKV_AWS_144: sources can be uploaded again
  #checkov:skip=CKV_AWS_145: encrypted with AES256
  #checkov:skip=CKV2_AWS_62: nobody waits for events
  bucket = local.bucket
  # Sources only: they are in every project folder.
  force_destroy = true
  tags          = merge(local.tags, local.ready)
}

resource "aws_s3_bucket_ownership_controls" "source" {
  bucket = aws_s3_bucket.source.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "source" {
  bucket                  = aws_s3_bucket.source.id
  block_public_acls       = true
  ignore_public_acls      = true
  block_public_policy     = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "source" {
  bucket = aws_s3_bucket.source.id
  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
    bucket_key_enabled = true
  }
}

resource "aws_s3_bucket_versioning" "source" {
  bucket = aws_s3_bucket.source.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "source" {
  bucket = aws_s3_bucket.source.id
  rule {
    id     = "trainyard-sources"
    status = "Enabled"
    filter {
      prefix = "source/"
    }
    expiration {
      days = 30
    }
    noncurrent_version_expiration {
      noncurrent_days = 7
    }
  }
  rule {
    id     = "trainyard-unfinished"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

resource "aws_s3_bucket_policy" "source" {
  bucket = aws_s3_bucket.source.id
  policy = jsonencode(local.bucket_policy)
}
