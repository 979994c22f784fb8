# Each is checked, and its parts are explained, in modules/platform/variables.tf.

variable "project" {
  description = "The project's id."
  type        = string
}

variable "region" {
  description = "Region of all that has one."
  type        = string
  default     = "us-central1"
}

variable "github" {
  description = "The repository on GitHub, and the installation of Cloud Build's app."
  type = object({
    owner               = string
    name                = string
    repository_id       = string
    branch              = optional(string)
    app_installation_id = number
  })
}

variable "kubeflow" {
  description = "The Kubeflow that runs are sent to; null: Vertex AI."
  type = object({
    host         = string
    namespace    = optional(string)
    iap          = optional(bool)
    gke          = optional(bool)
    node_account = optional(string)
  })
  default = null
}

variable "network" {
  description = "The network that tasks run in, where it has to be reached; or null."
  type        = string
  default     = null
}

variable "store" {
  description = "A PostgreSQL of Cloud SQL in it, and which version of its password; null: none."
  type        = object({ password_version = optional(number) })
  default     = null
}

variable "composer" {
  description = "A Cloud Composer environment that runs the pipeline by Airflow; null: none."
  type = object({
    image_version = optional(string)
    subnetwork    = optional(string)
    policy        = optional(bool)
  })
  default = null
}

variable "machine_type" {
  description = "The machine of the builds; what it costs grows with it."
  type        = string
  default     = "e2-highcpu-8"
}

variable "emails" {
  description = "Addresses that are told of failures, drift, old models and the budget."
  type        = set(string)
}

variable "budget" {
  description = "The billing account, and how much a month; null: no budget."
  type = object({
    billing_account = string
    monthly         = number
    currency        = optional(string)
  })
  default = null
}
