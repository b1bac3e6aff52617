variable "project" {
  description = "Name of the CodeBuild project; role and log group have names made of it."
  type        = string
  default     = "trainyard-image-builder"
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{1,38}$", var.project))
    error_message = "2 to 39 letters, digits, - and _."
  }
}

variable "bucket" {
  description = "Name of the bucket for sources; null for trainyard-builds-ACCOUNT-REGION."
  type        = string
  default     = null
}

variable "repository" {
  description = "ECR repository to make; builds may push to it and to trainyard/*."
  type        = string
  default     = "trainyard/training"
  validation {
    condition     = can(regex("^[a-z0-9]+([._/-]+[a-z0-9]+)*$", var.repository)) && length(var.repository) <= 256
    error_message = "Small letters and digits, with . _ - / between them."
  }
}
