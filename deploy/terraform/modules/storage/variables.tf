variable "prefix" {
  description = "What the buckets' names begin with; they are unique in the world."
  type        = string
}

variable "region" {
  description = "Region of the buckets."
  type        = string
}

variable "deletion_protection" {
  description = "Whether a bucket that is not empty cannot be destroyed."
  type        = bool
}

variable "keep_overwritten_days" {
  description = "Days for which an object that was overwritten or deleted can be had back."
  type        = number
}

variable "keep_logs_days" {
  description = "Days after which logs are deleted."
  type        = number
}

variable "data_readers" {
  description = "Who reads the data: IAM members by a name."
  type        = map(string)
}

variable "root_writers" {
  description = "Who writes the root and pushes models: IAM members by a name."
  type        = map(string)
}

variable "serving_readers" {
  description = "Who reads the models that are served: IAM members by a name."
  type        = map(string)
}

variable "log_writers" {
  description = "Who writes logs and what builds leave behind, by a name; below which folder alone."
  type        = map(object({ member = string, folder = optional(string) }))
}
