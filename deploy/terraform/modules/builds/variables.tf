variable "name" {
  description = "What the names here begin with."
  type        = string
}

variable "region" {
  description = "Region of the connection and of the builds."
  type        = string
}

variable "github" {
  description = "The repository, its main branch, and the installation of Cloud Build's app there."
  type = object({
    owner               = string
    name                = string
    branch              = string
    app_installation_id = number
  })
}

variable "github_token_secret" {
  description = "Secret of the token that the app was given, projects/PROJECT/secrets/NAME."
  type        = string
}

variable "triggers" {
  description = "Which triggers there are: of push, tag, pull-request, nightly and new-data."
  type        = set(string)

  validation {
    condition = length(setsubtract(
      var.triggers, ["push", "tag", "pull-request", "nightly", "new-data"]
    )) == 0
    error_message = "A trigger is one of push, tag, pull-request, nightly and new-data."
  }
}

variable "approval" {
  description = "Whether a person has to approve a build that would release."
  type        = bool
}

variable "nightly" {
  description = "When the nightly build starts: cron's five fields, and in which time zone."
  type        = object({ cron = string, time_zone = string })
}

variable "machine_type" {
  description = "Machine of the builds."
  type        = string
}

variable "network" {
  description = "A peered network that builds reach, projects/PROJECT/global/networks/NAME; or null."
  type        = string
}

variable "accounts" {
  description = "The accounts that builds run as, projects/PROJECT/serviceAccounts/ADDRESS."
  type        = object({ build = string, check = string })
}

variable "scheduler_email" {
  description = "Address of the account that starts the nightly build."
  type        = string
}

variable "substitutions" {
  description = "For each cloudbuild file, what it is told of this environment."
  type        = map(map(string))
}
