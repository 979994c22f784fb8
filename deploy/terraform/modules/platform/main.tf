# All that a pipeline takes in one project, put together from the modules beside this one.

locals {
  services = toset([
    "artifactregistry.googleapis.com",
    "billingbudgets.googleapis.com",
    "cloudbuild.googleapis.com",
    "cloudresourcemanager.googleapis.com",
    "cloudscheduler.googleapis.com",
    "compute.googleapis.com",
    "eventarc.googleapis.com",
    "iam.googleapis.com",
    "iamcredentials.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
    "pubsub.googleapis.com",
    "secretmanager.googleapis.com",
    "servicenetworking.googleapis.com",
    "sqladmin.googleapis.com",
    "storage.googleapis.com",
    "sts.googleapis.com",
    "workflowexecutions.googleapis.com",
    "workflows.googleapis.com",
  ])

  # The folder of the bucket of logs that builds of pull requests write to.
  pull_requests = "pull-requests"

  # Google's own account, as which Cloud Build speaks with GitHub.
  cloud_build = "service-${data.google_project.this.number}@gcp-sa-cloudbuild.iam.gserviceaccount.com"

  vertex  = var.kubeflow == null
  airflow = var.composer == null ? {} : { composer = local.members["composer"] }
  members = module.identities.members

  # One decides: where Airflow does, neither new data nor the clock has the policy decide elsewhere.
  airflow_decides = var.composer == null ? false : var.composer.policy
  triggers        = local.airflow_decides ? setsubtract(var.triggers, ["new-data"]) : var.triggers
}

resource "google_project_service" "this" {
  for_each = setunion(
    local.services,
    local.vertex ? ["aiplatform.googleapis.com"] : [],
    var.composer == null ? [] : ["composer.googleapis.com"],
  )

  service = each.value
  # Others in the project may use it too.
  disable_on_destroy = false
}

data "google_project" "this" {}

module "identities" {
  source = "../identities"

  project              = var.project
  name                 = var.name
  vertex               = local.vertex
  composer             = var.composer != null
  iap                  = var.kubeflow != null ? var.kubeflow.iap : false
  github_repository_id = var.github.repository_id
  github_branch        = var.github.branch

  pods = var.kubeflow == null || !try(var.kubeflow.gke, false) ? {} : {
    pipeline = "${var.kubeflow.namespace}/pipeline-tasks"
    serving  = "${var.kubeflow.namespace}/model-server"
  }

  depends_on = [google_project_service.this]
}

module "registry" {
  source = "../registry"

  project        = var.project
  name           = var.name
  region         = var.region
  immutable_tags = var.immutable_tags
  keep_days      = 90
  writers        = { build = local.members["build"] }
  # The machines of a cluster pull images, not the pods.
  readers = merge(local.airflow, try(var.kubeflow.node_account, null) == null ? {} : {
    nodes = "serviceAccount:${var.kubeflow.node_account}"
  })

  depends_on = [google_project_service.this]
}

module "storage" {
  source = "../storage"

  prefix                = "${var.project}-${var.name}"
  region                = var.region
  deletion_protection   = var.deletion_protection
  keep_overwritten_days = 30
  keep_logs_days        = var.keep_logs_days
  data_readers          = merge(local.airflow, { pipeline = local.members["pipeline"] })
  root_writers          = merge(local.airflow, { pipeline = local.members["pipeline"] })
  serving_readers = {
    for account in ["serving", "scheduler"] : account => local.members[account]
  }

  log_writers = {
    build = { member = local.members["build"] }
    check = { member = local.members["check"], folder = local.pull_requests }
  }

  depends_on = [google_project_service.this]
}

module "secrets" {
  source = "../secrets"

  region              = var.region
  deletion_protection = var.deletion_protection

  secrets = {
    github-token = {
      cloud-build = "serviceAccount:${local.cloud_build}"
    }
    metadata-store = { for account in ["build", "pipeline"] : account => local.members[account] }
    webhook        = { pipeline = local.members["pipeline"] }
  }

  depends_on = [google_project_service.this]
}

module "peering" {
  source = "../peering"
  count  = var.network == null ? 0 : 1

  name    = var.name
  network = var.network

  depends_on = [google_project_service.this]
}

module "store" {
  source = "../store"
  count  = var.store == null ? 0 : 1

  name                = var.name
  region              = var.region
  network             = module.peering[0].network
  tier                = var.store_machine.tier
  high_availability   = var.store_machine.high_availability
  retained_backups    = var.store_machine.retained_backups
  password_secret     = module.secrets.ids["metadata-store"]
  password_version    = var.store.password_version
  deletion_protection = var.deletion_protection

  depends_on = [google_project_service.this]
}

module "composer" {
  source = "../composer"
  count  = var.composer == null ? 0 : 1

  name                = var.name
  region              = var.region
  bucket              = "${var.project}-${var.name}-airflow"
  logs                = module.storage.logs
  image_version       = var.composer.image_version
  policy              = var.composer.policy
  network             = var.network
  subnetwork          = var.composer.subnetwork
  account_email       = module.identities.emails["composer"]
  deployers           = { build = local.members["build"] }
  deletion_protection = var.deletion_protection

  # Its machines act as the account as soon as they are made.
  depends_on = [google_project_service.this, module.identities]
}

module "builds" {
  source = "../builds"

  name                = var.name
  region              = var.region
  github              = var.github
  github_token_secret = module.secrets.ids["github-token"]
  triggers            = local.triggers
  approval            = var.approval
  nightly             = { cron = var.nightly_cron, time_zone = var.time_zone }
  machine_type        = var.machine_type
  network             = one(module.peering[*].network)
  scheduler_email     = module.identities.emails["scheduler"]
  accounts            = module.identities.ids
  substitutions       = local.substitutions

  # The connection reads its token, and a trigger acts as its account, as soon as it is made.
  depends_on = [google_project_service.this, module.secrets, module.identities]
}

module "events" {
  source = "../events"
  count  = contains(local.triggers, "new-data") ? 1 : 0

  name          = var.name
  region        = var.region
  bucket        = module.storage.data
  marker        = var.new_data_marker
  trigger_id    = module.builds.trigger_ids["new-data"]
  cron          = var.policy_cron
  time_zone     = var.time_zone
  account_id    = module.identities.ids["scheduler"]
  account_email = module.identities.emails["scheduler"]

  depends_on = [google_project_service.this, module.identities]
}

module "alerts" {
  source = "../alerts"

  name           = var.name
  region         = var.region
  project_number = data.google_project.this.number
  emails         = var.emails
  # Whoever opened a pull request sees there how its build went.
  trigger_ids = {
    for name, id in module.builds.trigger_ids : name => id if name != "pull-request"
  }
  serving_bucket = module.storage.serving
  fresh_days     = var.fresh_days
  time_zone      = var.time_zone
  account_id     = module.identities.ids["scheduler"]
  account_email  = module.identities.emails["scheduler"]
  budget         = var.budget

  depends_on = [google_project_service.this, module.identities]
}
