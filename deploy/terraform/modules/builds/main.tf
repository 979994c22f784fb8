# The repository's connection to Cloud Build, what starts builds of it, and their machines.

locals {
  branch = "^${var.github.branch}$"

  # All that may start a build; var.triggers says which of them are there.
  triggers = {
    push = {
      description = "A push to ${var.github.branch}: test, build, release"
      file        = "cloudbuild.yaml"
      account     = var.accounts.build
      push        = { branch = local.branch, tag = null }
    }
    tag = {
      description = "A tag v…: test, build, release"
      file        = "cloudbuild.yaml"
      account     = var.accounts.build
      push        = { branch = null, tag = "^v[0-9].*$" }
    }
    pull-request = {
      description = "A pull request for ${var.github.branch}: test, and change nothing"
      file        = "deploy/cloudbuild/pull-request.yaml"
      account     = var.accounts.check
      push        = null
    }
  }

  # Those that no push starts: the clock does, or data that arrived.
  called = {
    nightly = {
      description = "Every night: all tests, and a scan of what is deployed"
      file        = "deploy/cloudbuild/nightly.yaml"
    }
    new-data = {
      description = "New data: the policy decides, in the version that is deployed"
      file        = "deploy/cloudbuild/new-data.yaml"
    }
  }
}

resource "google_cloudbuildv2_connection" "github" {
  name     = var.name
  location = var.region

  github_config {
    app_installation_id = var.github.app_installation_id

    authorizer_credential {
      oauth_token_secret_version = "${var.github_token_secret}/versions/latest"
    }
  }
}

resource "google_cloudbuildv2_repository" "this" {
  name              = var.github.name
  location          = var.region
  parent_connection = google_cloudbuildv2_connection.github.name
  remote_uri        = "https://github.com/${var.github.owner}/${var.github.name}.git"
}

resource "google_cloudbuild_worker_pool" "this" {
  #checkov:skip=CKV_GCP_86:builds fetch packages and images from the internet
  name     = var.name
  location = var.region

  worker_config {
    machine_type = var.machine_type
    disk_size_gb = 100
  }

  # So that builds reach a store and a Kubeflow with private addresses.
  dynamic "network_config" {
    for_each = var.network[*]

    content {
      peered_network = network_config.value
    }
  }
}

resource "google_cloudbuild_trigger" "pushed" {
  for_each = {
    for name, trigger in local.triggers : name => trigger if contains(var.triggers, name)
  }

  name               = "${var.name}-${each.key}"
  location           = var.region
  description        = each.value.description
  filename           = each.value.file
  service_account    = each.value.account
  include_build_logs = "INCLUDE_BUILD_LOGS_WITH_STATUS"
  substitutions      = var.substitutions[each.value.file]

  repository_event_config {
    repository = google_cloudbuildv2_repository.this.id

    dynamic "push" {
      for_each = each.value.push[*]

      content {
        branch = push.value.branch
        tag    = push.value.tag
      }
    }

    dynamic "pull_request" {
      for_each = each.value.push == null ? [local.branch] : []

      content {
        branch = pull_request.value
        # Somebody else's change runs once an owner has read it and says /gcbrun.
        comment_control = "COMMENTS_ENABLED_FOR_EXTERNAL_CONTRIBUTORS_ONLY"
      }
    }
  }

  approval_config {
    approval_required = var.approval && each.value.push != null
  }

  depends_on = [google_cloudbuild_worker_pool.this]
}

resource "google_cloudbuild_trigger" "called" {
  for_each = {
    for name, trigger in local.called : name => trigger if contains(var.triggers, name)
  }

  name            = "${var.name}-${each.key}"
  location        = var.region
  description     = each.value.description
  service_account = var.accounts.build
  substitutions   = var.substitutions[each.value.file]

  git_file_source {
    path       = each.value.file
    repository = google_cloudbuildv2_repository.this.id
    revision   = "refs/heads/${var.github.branch}"
    repo_type  = "GITHUB"
  }

  source_to_build {
    repository = google_cloudbuildv2_repository.this.id
    ref        = "refs/heads/${var.github.branch}"
    repo_type  = "GITHUB"
  }

  depends_on = [google_cloudbuild_worker_pool.this]
}

resource "google_cloud_scheduler_job" "nightly" {
  count = contains(var.triggers, "nightly") ? 1 : 0

  name             = "${var.name}-nightly"
  region           = var.region
  description      = "Starts the nightly build."
  schedule         = var.nightly.cron
  time_zone        = var.nightly.time_zone
  attempt_deadline = "180s"

  retry_config {
    retry_count = 3
  }

  http_target {
    http_method = "POST"
    uri         = "https://cloudbuild.googleapis.com/v1/${google_cloudbuild_trigger.called["nightly"].id}:run"
    body        = base64encode("{}")
    headers     = { "Content-Type" = "application/json" }

    oauth_token {
      service_account_email = var.scheduler_email
    }
  }
}
