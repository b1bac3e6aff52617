# What builds of trainyard on AWS CodeBuild need; the same as infrastructure/aws-cli/setup-codebuild.sh makes.

resource "aws_iam_role" "build" {
  name               = local.role
  description        = "CodeBuild for trainyard"
  assume_role_policy = jsonencode(local.role_trust)
  # Statements of your own go with it.
  force_detach_policies = true
  tags                  = local.tags
}

resource "aws_iam_role_policy" "build" {
  name   = "trainyard-build"
  role   = aws_iam_role.build.id
  policy = jsonencode(local.role_policy)
}

resource "aws_cloudwatch_log_group" "build" {
  #checkov:skip=CKV_AWS_158: CloudWatch Logs encrypts it with a key of its own; a build's log holds no secrets
  #checkov:skip=CKV_AWS_338: the log of a build is of use for days, not for a year
  name              = local.log_group
  retention_in_days = 30
  tags              = local.tags
}

resource "aws_codebuild_project" "build" {
  #checkov:skip=CKV_AWS_147: no artifacts are kept; the log group and the bucket have their own encryption
  #checkov:skip=CKV_AWS_316: docker build needs privileged mode
  name           = var.project
  description    = "Builds and tests the images of trainyard; every build brings its own source, buildspec and compute type"
  service_role   = aws_iam_role.build.arn
  build_timeout  = 60
  queued_timeout = 30
  tags           = local.tags

  source {
    type      = "NO_SOURCE"
    buildspec = local.buildspec
  }

  artifacts {
    type = "NO_ARTIFACTS"
  }

  environment {
    type                        = "LINUX_CONTAINER"
    image                       = "aws/codebuild/standard:8.0"
    compute_type                = "BUILD_GENERAL1_MEDIUM"
    image_pull_credentials_type = "CODEBUILD"
    privileged_mode             = true
  }

  logs_config {
    cloudwatch_logs {
      status     = "ENABLED"
      group_name = aws_cloudwatch_log_group.build.name
    }
  }
}
