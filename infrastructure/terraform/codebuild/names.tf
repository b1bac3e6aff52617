# Names and documents, without a resource: `terraform console` evaluates this file and variables.tf without a provider.
locals {
  tags      = { "app.kubernetes.io/managed-by" = "trainyard" }
  ready     = { "trainyard.dev/ready" = "true" }
  role      = "${var.project}-${local.region}"
  bucket    = coalesce(var.bucket, "trainyard-builds-${local.account}-${local.region}")
  log_group = "/aws/codebuild/${var.project}"
  arn = {
    project    = "arn:${local.partition}:codebuild:${local.region}:${local.account}:project/${var.project}"
    bucket     = "arn:${local.partition}:s3:::${local.bucket}"
    log_group  = "arn:${local.partition}:logs:${local.region}:${local.account}:log-group:${local.log_group}"
    repository = "arn:${local.partition}:ecr:${local.region}:${local.account}:repository"
  }

  buildspec = "version: 0.2\nphases:\n  build:\n    commands:\n      - echo 'This project is started by trainyard, which brings the buildspec.'\n      - exit 1\n"

  role_trust = {
    Version = "2012-10-17"
    Statement = [{
      Sid       = "CodeBuildForThisProjectOnly"
      Effect    = "Allow"
      Principal = { Service = "codebuild.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = local.arn.project }
      }
    }]
  }

  role_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "WriteItsLog"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${local.arn.log_group}:*"
      },
      {
        Sid      = "ReadSources"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource = "${local.arn.bucket}/source/*"
      },
      {
        Sid      = "FindTheBucket"
        Effect   = "Allow"
        Action   = ["s3:GetBucketAcl", "s3:GetBucketLocation"]
        Resource = local.arn.bucket
      },
      {
        Sid      = "SignInToTheRegistry"
        Effect   = "Allow"
        Action   = "ecr:GetAuthorizationToken"
        Resource = "*"
      },
      {
        Sid    = "PullAndPush"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:CompleteLayerUpload",
          "ecr:GetDownloadUrlForLayer",
          "ecr:InitiateLayerUpload",
          "ecr:PutImage",
          "ecr:UploadLayerPart",
        ]
        Resource = ["${local.arn.repository}/${var.repository}", "${local.arn.repository}/trainyard/*"]
      },
      {
        Sid      = "RetryByItself"
        Effect   = "Allow"
        Action   = "codebuild:RetryBuild"
        Resource = local.arn.project
      },
    ]
  }

  bucket_policy = {
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [local.arn.bucket, "${local.arn.bucket}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  }

  repository_lifecycle = {
    rules = [
      {
        rulePriority = 1
        description  = "images that were not promoted"
        selection    = { tagStatus = "tagged", tagPatternList = ["build-*"], countType = "sinceImagePushed", countUnit = "days", countNumber = 14 }
        action       = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "layer caches of builds"
        selection    = { tagStatus = "tagged", tagPatternList = ["cache-*"], countType = "sinceImagePushed", countUnit = "days", countNumber = 30 }
        action       = { type = "expire" }
      },
    ]
  }
}
