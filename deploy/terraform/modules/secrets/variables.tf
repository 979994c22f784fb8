variable "region" {
  description = "Region in which the values are kept."
  type        = string
}

variable "deletion_protection" {
  description = "Whether the secrets cannot be destroyed."
  type        = bool
}

variable "secrets" {
  description = "Who reads which secret: for each secret, IAM members by a name."
  type        = map(map(string))
}
