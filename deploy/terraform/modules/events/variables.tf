variable "name" {
  description = "What the names here begin with."
  type        = string
}

variable "region" {
  description = "Region of the workflow and of its trigger."
  type        = string
}

variable "bucket" {
  description = "Bucket in which data arrives."
  type        = string
}

variable "marker" {
  description = "Regular expression for the object that is written once a span is complete."
  type        = string
}

variable "trigger_id" {
  description = "The build's trigger, projects/PROJECT/locations/REGION/triggers/ID."
  type        = string
}

variable "account_id" {
  description = "Account of the workflow, projects/PROJECT/serviceAccounts/ADDRESS."
  type        = string
}

variable "account_email" {
  description = "Address of the same account."
  type        = string
}

variable "cron" {
  description = "When the clock has the policy decide: cron's five fields; null: new data alone does."
  type        = string
}

variable "time_zone" {
  description = "Time zone of the clock."
  type        = string
}
