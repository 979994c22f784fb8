# Where main is tried: each push is released, and a run starts at once.

provider "google" {
  project = var.project
  region  = var.region
  # Budgets are billed to a project that makes them, not to the one of gcloud.
  billing_project       = var.project
  user_project_override = true

  default_labels = {
    environment = "dev"
    managed-by  = "terraform"
  }
}

module "platform" {
  source = "../../modules/platform"

  project  = var.project
  region   = var.region
  name     = "flights"
  github   = var.github
  config   = "configs/flights-kubeflow.toml"
  kubeflow = var.kubeflow
  network  = var.network
  store    = var.store
  composer = var.composer
  emails   = var.emails
  budget   = var.budget

  machine_type = var.machine_type

  # Small, and easily thrown away.
  store_machine = {
    tier              = "db-g1-small"
    high_availability = false
    retained_backups  = 7
  }

  triggers            = ["push", "pull-request", "nightly", "new-data"]
  approval            = false
  run_on_deploy       = true
  nightly_cron        = "0 3 * * *"
  time_zone           = "America/New_York"
  new_data_marker     = "/_SUCCESS$"
  policy_cron         = "0 6 * * *"
  immutable_tags      = false
  deletion_protection = false
  keep_logs_days      = 30
  fresh_days          = 40
}
