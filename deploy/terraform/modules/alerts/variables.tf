variable "name" {
  description = "What the names here begin with."
  type        = string
}

variable "region" {
  description = "Region of the workflow and of its schedule."
  type        = string
}

variable "project_number" {
  description = "Number of the project whose bill is watched."
  type        = string
}

variable "emails" {
  description = "Addresses that are told."
  type        = set(string)
}

variable "trigger_ids" {
  description = "The triggers whose builds are watched, projects/PROJECT/locations/REGION/triggers/ID."
  type        = map(string)
}

variable "serving_bucket" {
  description = "Bucket in which models are pushed."
  type        = string
}

variable "fresh_days" {
  description = "Days after which the newest model is no longer fresh."
  type        = number
}

variable "time_zone" {
  description = "Time zone of the daily look, as America/New_York."
  type        = string
}

variable "account_id" {
  description = "Account that looks, projects/PROJECT/serviceAccounts/ADDRESS."
  type        = string
}

variable "account_email" {
  description = "Address of the same account."
  type        = string
}

variable "budget" {
  description = "Whose bill, how much a month in whole units of which currency; null: no budget."
  type        = object({ billing_account = string, monthly = number, currency = string })
}
