# What the business uses: a tag v… is released once a person has approved its build.

provider "google" {
  project = var.project
  region  = var.region
  # Budgets are billed to a project that makes them, not to the one of gcloud.
  billing_project       = var.project
  user_project_override = true

  default_labels = {
    environment = "prod"
    managed-by  = "terraform"
  }
}

module "platform" {
  source = "../../modules/platform"

  project  = var.project
  region   = var.region
  name     = "flights"
  github   = var.github
  config   = "configs/flights-prod.toml"
  kubeflow = var.kubeflow
  network  = var.network
  store    = var.store
  composer = var.composer
  emails   = var.emails
  budget   = var.budget

  machine_type = var.machine_type

  # A standby in a second zone, and a month of backups.
  store_machine = {
    tier              = "db-custom-1-3840"
    high_availability = true
    retained_backups  = 30
  }

  triggers            = ["tag", "nightly", "new-data"]
  approval            = true
  run_on_deploy       = false
  nightly_cron        = "0 3 * * *"
  time_zone           = "America/New_York"
  new_data_marker     = "/_SUCCESS$"
  policy_cron         = "0 6 * * *"
  immutable_tags      = true
  deletion_protection = true
  keep_logs_days      = 365
  fresh_days          = 40
}
