terraform {
  required_version = ">= 1.6"
  required_providers {
    aws = {
      source = "hashicorp/aws"
      # The first line with exclusion filters of immutable tags.
      version = ">= 6.8"
    }
  }
}
