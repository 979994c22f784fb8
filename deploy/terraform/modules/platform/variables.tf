variable "project" {
  description = "The project's id; best one for each environment."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project's id has 6 to 30 lower-case letters, digits and dashes, a letter first."
  }
}

variable "region" {
  description = "Region of all that has one."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region is written as us-central1."
  }
}

variable "name" {
  description = "The pipeline's name, with which all other names begin."
  type        = string

  validation {
    # An account's name, this one with -scheduler behind it, has at most 30 characters.
    condition     = can(regex("^[a-z][a-z0-9-]{2,18}[a-z0-9]$", var.name))
    error_message = "The name has 4 to 20 lower-case letters, digits and dashes, a letter first."
  }
}

variable "github" {
  description = <<-EOT
    The repository on GitHub: owner and name, its number (`gh api repos/OWNER/NAME --jq .id`), its
    main branch, and the number of the Cloud Build app's installation (the end of its page's address).
  EOT
  type = object({
    owner               = string
    name                = string
    repository_id       = string
    branch              = optional(string, "main")
    app_installation_id = number
  })

  validation {
    condition     = can(regex("^[0-9]+$", var.github.repository_id))
    error_message = "The repository_id is a number, not the repository's name."
  }

  validation {
    condition     = can(regex("^[A-Za-z0-9._/-]+$", var.github.branch))
    error_message = "The branch is a plain name, not a pattern."
  }
}

variable "config" {
  description = "The pipeline's configuration, a path in the repository."
  type        = string

  validation {
    condition     = can(regex("^configs/[\\w./-]+\\.toml$", var.config))
    error_message = "The configuration is a file configs/NAME.toml."
  }
}

variable "kubeflow" {
  description = <<-EOT
    The Kubeflow that runs are sent to: its address; its namespace; whether it is behind the
    Identity-Aware Proxy; whether it is on GKE in this project, with Workload Identity; the address
    of the account of its machines, which pull images. Null: runs are Vertex AI's.
  EOT
  type = object({
    host         = string
    namespace    = optional(string, "kubeflow")
    iap          = optional(bool, false)
    gke          = optional(bool, false)
    node_account = optional(string)
  })

  validation {
    condition     = var.kubeflow == null || can(regex("^https?://", var.kubeflow.host))
    error_message = "The host begins with http:// or https://."
  }
}

variable "network" {
  description = <<-EOT
    The network that tasks run in, peered with Google's services, so that builds reach what has a
    private address in it. Null: store and Kubeflow have public ones.
  EOT
  type        = string

  validation {
    condition = var.network == null || can(regex(
      "^projects/[^/]+/global/networks/[^/]+$", var.network
    ))
    error_message = "The network is written projects/PROJECT/global/networks/NAME."
  }
}

variable "store" {
  description = <<-EOT
    A PostgreSQL of Cloud SQL for the metadata store, in that network, and which version of its
    password. Null: the configuration names a store that is elsewhere.
  EOT
  type        = object({ password_version = optional(number, 1) })

  validation {
    condition     = var.store == null || var.network != null
    error_message = "The store has a private address: name the network from which it is reached."
  }
}

variable "store_machine" {
  description = "The machine of that PostgreSQL, a standby in a second zone, how many daily backups."
  type = object({
    tier              = string
    high_availability = bool
    retained_backups  = number
  })

  validation {
    condition     = var.store_machine.retained_backups >= 1 && var.store_machine.retained_backups <= 365
    error_message = "Between 1 and 365 daily backups are kept."
  }
}

variable "composer" {
  description = <<-EOT
    A Cloud Composer 3 environment that runs the pipeline by Airflow: its image; the subnetwork in
    that network; whether runs follow the policy ([continuous]) or the configuration's [schedule].
    With the policy there is no trigger new-data, and no policy_cron: one decides. Null: none.
  EOT
  type = object({
    image_version = optional(string, "composer-3-airflow-2.11")
    subnetwork    = optional(string)
    policy        = optional(bool, true)
  })
  default = null

  validation {
    condition     = var.composer == null || can(regex("^composer-3-airflow-(2[.]1[1-9]|3)\\b", var.composer.image_version))
    error_message = "The DAG takes Airflow 2.11 or 3: an image composer-3-airflow-2.11, or a later one."
  }

  validation {
    condition     = try(var.composer.subnetwork, null) == null || var.network != null
    error_message = "The subnetwork is one of the network: name that as well."
  }
}

variable "machine_type" {
  description = "The machine of the pool of workers, on which builds run."
  type        = string
  default     = "e2-highcpu-8"

  validation {
    condition     = can(regex("^[a-z][a-z0-9]+-[a-z]+-[0-9]+$", var.machine_type))
    error_message = "A machine type is written as e2-highcpu-8."
  }
}

variable "triggers" {
  description = "Which triggers there are: of push, tag, pull-request, nightly and new-data."
  type        = set(string)
}

variable "approval" {
  description = "Whether a person has to approve a build that would release."
  type        = bool
}

variable "run_on_deploy" {
  description = "Whether a release starts a run at once."
  type        = bool
}

variable "nightly_cron" {
  description = "When the nightly build starts: cron's five fields."
  type        = string

  validation {
    condition     = length(split(" ", var.nightly_cron)) == 5
    error_message = "Cron's five fields, as in 0 3 * * *."
  }
}

variable "time_zone" {
  description = "Time zone of what the clock starts, as America/New_York."
  type        = string

  validation {
    condition     = can(regex("^(UTC|[A-Z][A-Za-z_]+/[A-Za-z_/+-]+[0-9]*)$", var.time_zone))
    error_message = "A time zone is UTC, or written as America/New_York."
  }
}

variable "new_data_marker" {
  description = "Regular expression for the object that is written once a span of data is complete."
  type        = string

  validation {
    condition     = can(regexall(var.new_data_marker, ""))
    error_message = "That is no regular expression."
  }
}

variable "policy_cron" {
  description = <<-EOT
    When the policy decides beside when data arrives: cron's five fields; null: never. It takes the
    trigger new-data.
  EOT
  type        = string

  validation {
    condition     = var.policy_cron == null || can(regex("^\\S+( \\S+){4}$", var.policy_cron))
    error_message = "The policy's clock has cron's five fields, as in 0 6 * * *, or is null."
  }
}

variable "immutable_tags" {
  description = "Whether a tag stays with its image for good, which keeps the image for good."
  type        = bool
}

variable "deletion_protection" {
  description = "Whether buckets with content, secrets and the store cannot be destroyed."
  type        = bool
}

variable "keep_logs_days" {
  description = "Days after which logs are deleted."
  type        = number

  validation {
    condition     = var.keep_logs_days >= 1
    error_message = "At least one day."
  }
}

variable "emails" {
  description = "Addresses that are told of failures, drift, old models and the budget."
  type        = set(string)

  validation {
    condition     = alltrue([for email in var.emails : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", email))])
    error_message = "One of them is no address."
  }
}

variable "fresh_days" {
  description = "Days after which the newest model is no longer fresh."
  type        = number

  validation {
    condition     = var.fresh_days >= 1
    error_message = "At least one day."
  }
}

variable "budget" {
  description = "The billing account, how much a month, in whole units of which currency; null: none."
  type = object({
    billing_account = string
    monthly         = number
    currency        = optional(string, "USD")
  })

  validation {
    condition = var.budget == null || can(regex(
      "^[0-9A-F]{6}(-[0-9A-F]{6}){2}$", var.budget.billing_account
    ))
    error_message = "A billing account is written 012345-6789AB-CDEF01."
  }

  validation {
    condition     = var.budget == null || can(regex("^[1-9][0-9]*$", var.budget.monthly))
    error_message = "The budget is a whole number, one at least."
  }
}
