variable "name" {
  description = "What the names here begin with."
  type        = string
}

variable "region" {
  description = "Region of the instance."
  type        = string
}

variable "network" {
  description = "The peered network, projects/PROJECT/global/networks/NAME."
  type        = string
}

variable "tier" {
  description = "Machine of the instance, as db-custom-1-3840: a core, 3,840 MB."
  type        = string
}

variable "high_availability" {
  description = "Whether a second zone has a standby."
  type        = bool
}

variable "retained_backups" {
  description = "How many daily backups are kept."
  type        = number
}

variable "deletion_protection" {
  description = "Whether the instance cannot be destroyed."
  type        = bool
}

variable "password_secret" {
  description = "Secret of the password of the user pipeline, projects/PROJECT/secrets/NAME."
  type        = string
}

variable "password_version" {
  description = "Version of that secret; a new one makes the user's password that."
  type        = number
}
