variable "name" {
  description = "What the names here begin with."
  type        = string
}

variable "region" {
  description = "Region of the environment and its bucket."
  type        = string
}

variable "bucket" {
  description = "Name of the environment's bucket."
  type        = string
}

variable "logs" {
  description = "Bucket of the logs, where access to the environment's bucket is kept."
  type        = string
}

variable "image_version" {
  description = "Composer's image, as composer-3-airflow-2.11."
  type        = string
}

variable "policy" {
  description = "Whether runs follow the policy, and not the configuration's schedule."
  type        = bool
}

variable "network" {
  description = "The network that tasks reach, projects/PROJECT/global/networks/NAME; or null."
  type        = string
}

variable "subnetwork" {
  description = "A subnetwork of it, from which they do; or null."
  type        = string
}

variable "account_email" {
  description = "Address of the account of Airflow and of the pods."
  type        = string
}

variable "deployers" {
  description = "Who may replace the DAG and its plan, as IAM members."
  type        = map(string)
}

variable "deletion_protection" {
  description = "Whether a bucket with content cannot be destroyed."
  type        = bool
}
